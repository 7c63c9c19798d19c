import { createHash, randomBytes } from 'node:crypto'
import { createSecureServer } from 'node:http2'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import { pinnedPool, type TlsKey } from '../../src/controller/pinned-pool.ts'
import { type Party, party } from './worker-pool/fake-worker.ts'

/** Connections share what OpenSSL keeps for a key; what each of them proves is its own. */

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of closing.splice(0).reverse()) await stop()
})

interface Serving {
  readonly server: Server
  readonly url: string
  /** Of each request: whether its connection resumed an earlier one, and the key that its client showed. */
  readonly seen: { readonly resumed: boolean; readonly shown: string | null }[]
}

/** It gives every client tickets, whoever it is at the moment. */
async function serve(own: Party): Promise<Serving> {
  const seen: Serving['seen'] = []
  const server = createServer({ ...own, ticketKeys: randomBytes(48), requestCert: true, rejectUnauthorized: false }, (request, response) => {
    const socket = request.socket as TLSSocket
    const { raw } = socket.getPeerCertificate() as { readonly raw?: Buffer }
    seen.push({ resumed: socket.isSessionReused(), shown: raw === undefined ? null : createHash('sha256').update(raw).digest('hex') })
    response.setHeader('connection', 'close').end('x')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => new Promise((resolve) => server.close(resolve)))
  return { server, url: `https://localhost:${(server.address() as AddressInfo).port}`, seen }
}

/** Connections to it, one for each question. */
function asking(url: string, spki: string, own: TlsKey | null): () => Promise<string> {
  const pool = pinnedPool(url, spki, 1, own)
  closing.push(() => pool.destroy())
  return async () => (await pool.request({ method: 'GET', path: '/' })).body.text()
}

test('each connection shows its key and none is resumed, also where the next one at an address has the tickets of the last', async () => {
  const [worker, other, controller] = [await party(), await party(), await party()]
  const { server, url, seen } = await serve(worker)
  const [first, second] = [asking(url, worker.spki, controller), asking(url, other.spki, controller)]
  for (let i = 0; i < 3; i++) expect(await first()).toBe('x')
  await expect(second()).rejects.toMatchObject({ code: 'channel_mismatch' })
  server.setSecureContext(other)
  await expect(first()).rejects.toMatchObject({ code: 'channel_mismatch' })
  for (let i = 0; i < 3; i++) expect(await second()).toBe('x')
  await expect(first()).rejects.toMatchObject({ code: 'channel_mismatch' })
  expect(seen.map(({ resumed }) => resumed)).toEqual(Array(6).fill(false))
})

test('whoever connects shows the key it was given, and none where it has none', async () => {
  const [worker, one, renewed] = [await party(), await party(), await party()]
  const { url, seen } = await serve(worker)
  for (const own of [one, null, renewed, one, null]) await asking(url, worker.spki, own)()
  const [first, , second] = seen.map(({ shown }) => shown)
  expect(first).not.toBe(second)
  expect(seen.map(({ shown }) => shown)).toEqual([first, null, second, first, null])
})

test('who is no worker and would rather speak HTTP/2 is spoken to in HTTP/1.1', async () => {
  const own = await party()
  const server = createSecureServer({ ...own, allowHTTP1: true }, (request, response) => void response.end(request.httpVersion))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => new Promise((resolve) => server.close(resolve)))
  const { port } = server.address() as AddressInfo
  expect(await asking(`https://localhost:${port}`, own.spki, null)()).toBe('1.1')
})

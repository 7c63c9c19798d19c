import { generateKeyPairSync, sign } from 'node:crypto'
import { connect as connectSocket, createServer, type Server, type Socket } from 'node:net'
import tls from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { certificatePem, issueSelfSignedTls } from '../../src/attestation/pki/issue.ts'
import { nodeTransport } from '../../src/client/index.ts'

/** Who ends the TLS connection, at each connection, whatever came before. */

interface Key {
  readonly key: string
  readonly cert: string
  readonly spki: string
}

async function tlsKey(): Promise<Key> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const { certificate, spkiSha256 } = await issueSelfSignedTls({
    publicKey: new Uint8Array(spki.subarray(-64)),
    sign: (message) => new Uint8Array(sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
  })
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), cert: certificatePem(certificate), spki: spkiSha256 }
}

/** A TLS server that counts the bytes it was told and answers every request with its name. */
async function server(key: Key, name: string): Promise<{ port: number; told: () => number; close(): void }> {
  let told = 0
  const sockets = new Set<Socket>()
  const listening = tls.createServer({ key: key.key, cert: key.cert, minVersion: 'TLSv1.3' }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('data', (part) => {
      told += part.length
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${name.length}\r\nconnection: close\r\n\r\n${name}`)
      socket.end()
    })
  })
  const ready = Promise.withResolvers<void>()
  listening.listen(0, '127.0.0.1', ready.resolve)
  await ready.promise
  const address = listening.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    told: () => told,
    close: () => {
      for (const socket of sockets) socket.destroy()
      listening.close()
    },
  }
}

/** One port that leads to one of several servers, as whoever owns the wire decides, connection by connection. */
async function wire(choose: (connection: number) => number): Promise<{ url: string; close(): void }> {
  let connections = 0
  const listening: Server = createServer((inner) => {
    const outer = connectSocket(choose(connections++), '127.0.0.1')
    inner.on('error', () => outer.destroy()).pipe(outer)
    outer.on('error', () => inner.destroy()).pipe(inner)
  })
  const ready = Promise.withResolvers<void>()
  listening.listen(0, '127.0.0.1', ready.resolve)
  await ready.promise
  const address = listening.address()
  return { url: `https://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`, close: () => listening.close() }
}

let attested: Key
let foreign: Key
let genuine: Awaited<ReturnType<typeof server>>
let impostor: Awaited<ReturnType<typeof server>>
beforeAll(async () => {
  attested = await tlsKey()
  foreign = await tlsKey()
  genuine = await server(attested, 'genuine')
  impostor = await server(foreign, 'impostor')
})
afterAll(() => {
  genuine.close()
  impostor.close()
})

async function answer(transport: ReturnType<typeof nodeTransport>): Promise<string> {
  const { body } = await transport.send({ method: 'POST', path: '/', body: new TextEncoder().encode('a prompt') })
  const parts: Uint8Array[] = []
  for await (const part of body) parts.push(part)
  return Buffer.concat(parts).toString()
}

test('S8: a later connection that ends elsewhere is refused before a byte of a request is written', async () => {
  const { url, close } = await wire((connection) => (connection === 0 ? genuine.port : impostor.port))
  const transport = nodeTransport(url)
  expect(await answer(transport)).toBe('genuine')
  expect(transport.spki).toBe(attested.spki)
  const before = impostor.told()
  await expect(answer(transport)).rejects.toMatchObject({ code: 'channel_mismatch' })
  expect(impostor.told()).toBe(before)
  expect(transport.spki).toBe(attested.spki)
  transport.close()
  close()
})

test('of first connections opened at once, all end in one key: the one that is reported', async () => {
  const { url, close } = await wire((connection) => (connection % 2 === 0 ? genuine.port : impostor.port))
  const transport = nodeTransport(url)
  const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => answer(transport)))
  const names = new Set(outcomes.filter((outcome) => outcome.status === 'fulfilled').map(({ value }) => value))
  expect(names.size).toBe(1)
  expect(transport.spki).toBe(names.has('genuine') ? attested.spki : foreign.spki)
  for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'channel_mismatch' })
  expect(outcomes.some(({ status }) => status === 'rejected')).toBe(true)
  transport.close()
  close()
})

test('a pinned key holds from the first connection on', async () => {
  const before = impostor.told()
  const transport = nodeTransport(`https://127.0.0.1:${impostor.port}`, attested.spki)
  await expect(answer(transport)).rejects.toMatchObject({ code: 'channel_mismatch' })
  expect(impostor.told()).toBe(before)
  transport.close()
})

test('an abort, and a close, end a request whose connection never came to be', async () => {
  const silent = createServer(() => undefined)
  const ready = Promise.withResolvers<void>()
  silent.listen(0, '127.0.0.1', ready.resolve)
  await ready.promise
  const address = silent.address()
  const url = `https://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
  const transport = nodeTransport(url)
  const abort = new AbortController()
  const aborted = transport.send({ method: 'GET', path: '/', signal: abort.signal })
  const closed = transport.send({ method: 'GET', path: '/' })
  setTimeout(() => abort.abort(), 50)
  await expect(aborted).rejects.toMatchObject({ code: 'service_unavailable' })
  transport.close()
  await expect(closed).rejects.toMatchObject({ code: 'service_unavailable' })
  silent.close()
})

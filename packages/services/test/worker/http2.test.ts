import { createHash, randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants, type SecureClientSessionOptions } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { concatAll } from 'veritee/bytes'
import { ehbpKeyOf, openResponse, sealRequest } from 'veritee/ehbp'
import { eventOf, parseReceipt, parseReport, verifyReport } from 'veritee/receipt'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { admit, type RunningWorker, startWorker } from '../../src/demo/system.ts'
import { ofStrangers, ofTrusted } from '../../src/http/http2/limits.ts'
import { receiptOfTrailers } from '../../src/http/receipt-trailer.ts'
import { type Network, now, startNetwork } from '../e2e/network.ts'
import { chatBody, chatPath } from '../ehbp/sealing-client.ts'

/** A whole worker, asked by a client that speaks HTTP/2. */

let network: Network
beforeAll(async () => {
  network = await startNetwork()
}, 60_000)
afterAll(() => network.close())

const sessions: ClientHttp2Session[] = []
afterEach(() => {
  for (const session of sessions.splice(0)) session.destroy()
})

function sessionWith({ server }: RunningWorker, options: SecureClientSessionOptions = {}): ClientHttp2Session {
  const session = connect(server.url, { rejectUnauthorized: false, ...options })
  session.on('error', () => undefined)
  sessions.push(session)
  return session
}

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  readonly trailers: IncomingHttpHeaders
}

function begin(session: ClientHttp2Session, path: string, headers: { readonly [name: string]: string }, body: Uint8Array | null): ClientHttp2Stream {
  const stream = session.request({ ':method': body === null ? 'GET' : 'POST', ':path': path, ...headers }, { endStream: body === null })
  if (body !== null) stream.end(body)
  return stream
}

async function ask(
  session: ClientHttp2Session,
  path: string,
  { headers = {}, body = null }: { readonly headers?: { readonly [name: string]: string }; readonly body?: Uint8Array | null } = {},
): Promise<Answer> {
  const stream = begin(session, path, headers, body)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const parts: Buffer[] = []
  let got: IncomingHttpHeaders & { ':status'?: number | undefined } = {}
  let trailers: IncomingHttpHeaders = {}
  stream.once('response', (fields) => {
    got = fields
  })
  stream.once('trailers', (fields) => {
    trailers = fields
  })
  stream.on('data', (part: Buffer) => parts.push(part))
  stream.once('error', reject)
  stream.once('close', resolve)
  await promise
  if (stream.rstCode !== constants.NGHTTP2_NO_ERROR) throw new Error(`reset: ${stream.rstCode}`)
  return { status: got[':status'] ?? 0, headers: got, body: Buffer.concat(parts), trailers }
}

const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const long = Buffer.from(
  JSON.stringify({ model: 'veritee-demo', stream: true, max_tokens: 400, messages: [{ role: 'user', content: 'Tell me a long story.' }] }),
)

describe('a worker over HTTP/2', () => {
  test('S2: shows evidence that binds the key of the connection, under the names of all answers', async () => {
    const session = sessionWith(network.worker)
    const nonce = randomBytes(32).toString('hex')
    const { status, headers, body } = await ask(session, `/v1/aci/attestation?nonce=${nonce}`)
    const report = await verifyReport(parseReport(body.toString()), nonce, network.machine.trust, now())
    const spki = (session.socket as TLSSocket).getPeerX509Certificate()?.publicKey.export({ type: 'spki', format: 'der' })
    expect(report.keyset.tls_public_keys.map((key) => key.spki_sha256)).toEqual([
      createHash('sha256')
        .update(spki ?? '')
        .digest('hex'),
    ])
    expect([status, headers['x-aci-keyset-digest'], headers['x-aci-version']]).toEqual([200, report.keysetDigest, 'aci/1'])
  })

  test.for([
    ['plain', chatBody(false)],
    ['a stream', chatBody(true)],
  ] as const)('S10: answers, %s, with a receipt over the bytes, as a trailer and when it is fetched', async ([, body]) => {
    const session = sessionWith(network.worker)
    const answer = await ask(session, chatPath, { headers: { te: 'trailers', authorization: 'Bearer somebody' }, body })
    expect(answer.status).toBe(200)
    const offered = receiptOfTrailers(answer.trailers)
    const fetched = await ask(session, `/v1/aci/receipts/${String(answer.headers['x-receipt-id'])}`, {
      headers: { authorization: 'Bearer somebody' },
    })
    const text = fetched.body.toString()
    expect(fetched.status).toBe(200)
    expect(offered).toEqual(offered !== null && 'digest' in offered ? { digest: digestOf(fetched.body) } : { text })
    const receipt = parseReceipt(text)
    expect(eventOf(receipt, 'response.returned')?.body_hash).toBe(digestOf(answer.body))
    expect(eventOf(receipt, 'request.received')?.body_hash).toBe(digestOf(body))
  })

  test('S4: opens a body that is encrypted to it, answers encrypted, once for each byte, and without a trailer', async () => {
    const session = sessionWith(network.worker)
    const nonce = randomBytes(32).toString('hex')
    const { body } = await ask(session, `/v1/aci/attestation?nonce=${nonce}`)
    const key = ehbpKeyOf(await verifyReport(parseReport(body.toString()), nonce, network.machine.trust, now()))
    const cases = [
      ['veritee-demo', chatBody(false), 200, 'Tokyo'],
      ['veritee-demo', chatBody(true), 200, 'data: [DONE]'],
      // What fails behind the first frame is encrypted too.
      ['none', Buffer.from('{"model":"none","messages":[]}'), 400, '"error"'],
    ] as const
    for (const [model, text, status, told] of cases) {
      const request = await sealRequest(key, { method: 'POST', model, path: chatPath, session_id: null }, text)
      const answer = await ask(session, chatPath, { headers: { ...request.headers, te: 'trailers' }, body: request.body })
      const opened = await openResponse(request, answer.status, answer.headers as { [name: string]: string })
      const plain = Buffer.from(concatAll(await opened.frames.push(answer.body)))
      opened.frames.end()
      expect([answer.status, plain.includes(told), answer.body.includes(told)]).toEqual([status, true, false])
      expect([answer.trailers, answer.headers.trailer]).toEqual([{}, undefined])
    }
  })

  test.for(['its stream', 'the connection'] as const)(
    'S9: who leaves a stream by ending %s stops the engine, and the receipt says so',
    async (what) => {
      const session = sessionWith(network.worker)
      const stream = begin(session, chatPath, { authorization: 'Bearer somebody' }, long)
      const begun = Promise.withResolvers<string>()
      stream.once('response', (headers) => stream.once('data', () => begun.resolve(String(headers['x-receipt-id']))))
      stream.on('error', () => undefined)
      const id = await begun.promise
      if (what === 'its stream') stream.close(constants.NGHTTP2_CANCEL)
      else session.destroy()
      const other = sessionWith(network.worker)
      const fetched = (): Promise<Answer> => ask(other, `/v1/aci/receipts/${id}`, { headers: { authorization: 'Bearer somebody' } })
      await expect.poll(async () => (await fetched()).status, { timeout: 20_000 }).toBe(200)
      expect(eventOf(parseReceipt((await fetched()).body.toString()), 'veritee.inference')?.outcome).toBe('aborted')
    },
  )

  test('errors have their form, whoever makes them', async () => {
    const session = sessionWith(network.worker)
    const cases: readonly (readonly [path: string, options: Parameters<typeof ask>[2], status: number])[] = [
      ['/nowhere', {}, 404],
      ['/v1/aci/receipts/rcpt-none', {}, 404],
      [chatPath, { body: Buffer.from('{') }, 400],
      [chatPath, { body: Buffer.from('{"model":"none","messages":[]}') }, 400],
      [chatPath, { headers: { 'ehbp-encapsulated-key': '00' }, body: Buffer.from('x') }, 400],
    ]
    for (const [path, options, status] of cases) {
      const answer = await ask(session, path, options)
      expect([path, answer.status, answer.headers['x-aci-version']]).toEqual([
        path,
        status === 404 && path === chatPath ? answer.status : status,
        'aci/1',
      ])
      expect(JSON.parse(answer.body.toString())).toHaveProperty('error.type')
    }
    expect((await ask(session, '/healthz')).status).toBe(200)
  })

  test('S13: serves controllers that it has verified only, by the key of the connection; those have many streams', async () => {
    const worker = await startWorker(network.machine, [network.model.served], 0, now, network.policy)
    try {
      const { tls } = network.controller.controller.identity
      const early = sessionWith(worker, { ...tls })
      const stranger = sessionWith(worker)
      for (const session of [early, stranger]) {
        const refused = await ask(session, chatPath, { body: chatBody(false) })
        expect([refused.status, refused.headers['x-veritee-unverified']]).toEqual([403, '1'])
        expect(session.remoteSettings.maxConcurrentStreams).toBe(ofStrangers.maxConcurrentStreams)
      }
      await admit(network.controller, worker)
      const answers = await Promise.all([1, 2, 3].map(() => ask(early, chatPath, { body: chatBody(false) })))
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
      await expect.poll(() => early.remoteSettings.maxConcurrentStreams).toBe(ofTrusted.maxConcurrentStreams)
      const late = sessionWith(worker, { ...tls })
      expect((await ask(late, chatPath, { body: chatBody(false) })).status).toBe(200)
      expect(late.remoteSettings.maxConcurrentStreams).toBe(ofTrusted.maxConcurrentStreams)
      expect((await ask(stranger, chatPath, { body: chatBody(false) })).status).toBe(403)
    } finally {
      await worker.server.close()
    }
  })

  test('S25: a connection stays under the keys that it was opened with', async () => {
    const worker = await startWorker(network.machine, [network.model.served], 0, now)
    try {
      const before = worker.worker.identity.keysetDigest
      const standing = sessionWith(worker)
      expect((await ask(standing, '/healthz')).headers['x-aci-keyset-digest']).toBe(before)
      await worker.worker.renew()
      worker.server.renewTls(worker.worker.identity.tls)
      const after = worker.worker.identity.keysetDigest
      expect(after).not.toBe(before)
      expect((await ask(standing, '/healthz')).headers['x-aci-keyset-digest']).toBe(before)
      expect((await ask(sessionWith(worker), '/healthz')).headers['x-aci-keyset-digest']).toBe(after)
    } finally {
      await worker.server.close()
    }
  })
})

import { generateKeyPairSync, sign as nodeSign } from 'node:crypto'
import type { IncomingHttpHeaders, OutgoingHttpHeaders, RequestListener } from 'node:http'
import { type ClientHttp2Session, connect } from 'node:http2'
import { Agent, request as httpsRequest } from 'node:https'
import { certificatePem, issueSelfSignedTls } from 'veritee/attestation/issue'
import type { Trusts } from '../../../src/http/http2/sessions.ts'
import { type Listening, type ListenLimits, listen } from '../../../src/http/listen.ts'

export const digest = `sha256:${'ab'.repeat(32)}`

const closing = new Set<() => unknown>()

/** Later ones first. */
export async function closeAll(): Promise<void> {
  for (const close of [...closing].reverse()) await close()
  closing.clear()
}

/** Gives what forgets it, where it has been closed before. */
export function atEnd(close: () => unknown): () => void {
  closing.add(close)
  return () => closing.delete(close)
}

/** Times of a minute: no test waits for them, and none ends by them. */
export const longLimits: ListenLimits = { connections: 100, headersMs: 60_000, requestMs: 60_000 }

export interface TlsKey {
  readonly key: string
  readonly cert: string
  readonly spkiSha256: string
}

export async function tlsKey(): Promise<TlsKey> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { certificate, spkiSha256 } = await issueSelfSignedTls({
    publicKey: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }).subarray(-64)),
    sign: (message) => new Uint8Array(nodeSign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    notBefore: new Date(Date.now() - 300_000),
    notAfter: new Date(Date.now() + 3_600_000),
  })
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), cert: certificatePem(certificate), spkiSha256 }
}

export interface ServiceOptions {
  readonly trusts?: Trusts
  /** As a controller's API has it, and not a worker. */
  readonly requesters?: boolean
  readonly limits?: Partial<ListenLimits>
  readonly tls?: { readonly key: string; readonly cert: string }
}

export async function startService(
  handler: RequestListener,
  { trusts = () => false, requesters = false, limits, tls }: ServiceOptions = {},
): Promise<Listening> {
  const http2 = requesters ? 'requesters' : { trusts }
  const bind = {
    host: '127.0.0.1',
    port: 0,
    tls: tls ?? (await tlsKey()),
    asksClientKey: !requesters,
    simulated: true,
    apiKeys: false,
    http2,
  } as const
  const service = await listen(bind, handler, () => digest, { ...longLimits, ...limits })
  atEnd(() => service.close())
  return service
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly trailers: IncomingHttpHeaders
}

export interface Question {
  readonly method?: string
  readonly path?: string
  readonly headers?: OutgoingHttpHeaders
  readonly body?: string | Uint8Array
  /** The request stays open behind its body. */
  readonly unended?: boolean
}

export type Protocol = 'HTTP/1.1' | 'HTTP/2'
export const protocols: readonly Protocol[] = ['HTTP/1.1', 'HTTP/2']

/** A request that is under way. */
export interface Asked {
  readonly answer: Promise<Answer>
  /** What has come of the body. */
  readonly seen: () => string
  leave(): void
}

/** One requester, with connections of its own. */
export interface Client {
  ask(question?: Question): Asked
  /** Where it is one connection. */
  readonly session: ClientHttp2Session | null
  close(): void
}

export function clientOf(protocol: Protocol, { port }: Pick<Listening, 'port'>): Client {
  const client = protocol === 'HTTP/2' ? overHttp2(port) : overHttp1(port)
  atEnd(() => client.close())
  return client
}

function overHttp1(port: number): Client {
  const agent = new Agent({ keepAlive: true, rejectUnauthorized: false })
  const ask = ({ method = 'GET', path = '/', headers = {}, body, unended = false }: Question = {}): Asked => {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    let text = ''
    const asked = httpsRequest({ host: '127.0.0.1', port, agent, method, path, headers, rejectUnauthorized: false }, (response) => {
      response.setEncoding('utf8')
      response.on('data', (part: string) => {
        text += part
      })
      response.once('error', reject)
      response.once('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text, trailers: response.trailers }))
    })
    asked.once('error', reject)
    if (body !== undefined) asked.write(body)
    if (!unended) asked.end()
    promise.catch(() => undefined)
    return { answer: promise, seen: () => text, leave: () => asked.destroy() }
  }
  return { ask, session: null, close: () => agent.destroy() }
}

function overHttp2(port: number): Client {
  const session = connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false })
  session.on('error', () => undefined)
  const ask = ({ method = 'GET', path = '/', headers = {}, body, unended = false }: Question = {}): Asked => {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    const { host, ...rest } = headers
    const authority = host === undefined ? {} : { ':authority': String(host) }
    const stream = session.request({ ':method': method, ':path': path, ...authority, ...rest }, { endStream: body === undefined && !unended })
    let got: IncomingHttpHeaders & { ':status'?: number | undefined } = {}
    let trailers: IncomingHttpHeaders = {}
    let text = ''
    stream.setEncoding('utf8')
    stream.on('data', (part: string) => {
      text += part
    })
    stream.once('response', (fields) => {
      got = fields
    })
    stream.once('trailers', (fields) => {
      trailers = fields
    })
    stream.once('error', reject)
    stream.once('close', () => {
      if (stream.rstCode === 0 && got[':status'] !== undefined) resolve({ status: got[':status'], headers: got, body: text, trailers })
      else reject(new Error(`the stream was reset: ${stream.rstCode}`))
    })
    if (body !== undefined) stream.write(body)
    if (!unended && body !== undefined) stream.end()
    promise.catch(() => undefined)
    return { answer: promise, seen: () => text, leave: () => stream.close(8) }
  }
  return { ask, session, close: () => session.destroy() }
}

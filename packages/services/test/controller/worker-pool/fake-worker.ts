import { generateKeyPairSync, hash, sign } from 'node:crypto'
import { createSecureServer, type Http2SecureServer, type Http2Session, type SecureServerOptions, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import { certificatePem, issueSelfSignedTls } from 'veritee/attestation/issue'
import { Cancellation } from '../../../src/controller/cancellation.ts'
import { keyedConnector, type TlsKey } from '../../../src/controller/pinned-pool.ts'
import { callWorker, readWhole, type WorkerAnswer, type WorkerRequest } from '../../../src/controller/worker-answer.ts'
import { type ConnectionLimits, usualConnection } from '../../../src/controller/worker-pool/connection.ts'
import { type WorkerConnections, WorkerPool } from '../../../src/controller/worker-pool/pool.ts'

export interface Party extends TlsKey {
  readonly spki: string
}

export async function party(): Promise<Party> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const { certificate } = await issueSelfSignedTls({
    publicKey: new Uint8Array(spki.subarray(-64)),
    sign: (message) => new Uint8Array(sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    notBefore: new Date('2020-01-01'),
    notAfter: new Date('2100-01-01'),
  })
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), cert: certificatePem(certificate), spki: hash('sha256', spki, 'hex') }
}

const closing: (() => unknown)[] = []

/** After each test. */
export async function closeAll(): Promise<void> {
  for (const stop of closing.splice(0).reverse()) await stop()
}

export interface Serving {
  readonly url: string
  readonly own: Party
  /** TLS connections so far, and those that are open. */
  readonly sockets: { all: number; readonly open: Set<TLSSocket> }
}

async function listening(server: Server | Http2SecureServer, own: Party): Promise<Serving> {
  const sockets = { all: 0, open: new Set<TLSSocket>() }
  server.on('secureConnection', (socket: TLSSocket) => {
    sockets.all++
    sockets.open.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.open.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 4096, resolve))
  closing.push(async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of sockets.open) socket.destroy()
    await closed
  })
  return { url: `https://localhost:${(server.address() as AddressInfo).port}`, own, sockets }
}

/** A worker that speaks HTTP/2, by Node. */
export async function serveHttp2(
  answer: (stream: ServerHttp2Stream, path: string) => void,
  options: SecureServerOptions = {},
  begun: (session: Http2Session) => void = () => undefined,
): Promise<Serving & { readonly server: Http2SecureServer }> {
  const own = await party()
  const server = createSecureServer({ ...own, ...options })
  server.on('session', begun)
  server.on('sessionError', () => undefined)
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined)
    answer(stream, String(headers[':path']))
  })
  return { ...(await listening(server, own)), server }
}

/** Whoever it is that speaks TLS, with those protocols. */
export async function serveTls(ALPNProtocols: readonly string[] | undefined, speak: (socket: TLSSocket) => void): Promise<Serving> {
  const own = await party()
  const server = createServer({ ...own, ...(ALPNProtocols === undefined ? {} : { ALPNProtocols: [...ALPNProtocols] }) }, speak)
  return listening(server, own)
}

export function poolTo({ url, own }: Pick<Serving, 'url' | 'own'>, most = 64, limits: Partial<ConnectionLimits> = {}): WorkerPool {
  const pool = new WorkerPool(url, most, (http2) => keyedConnector(null, () => own.spki, http2), { ...usualConnection, ...limits })
  closing.push(() => pool.destroy())
  return pool
}

export const get = (path: string, more: Partial<WorkerRequest> = {}): WorkerRequest => ({ method: 'GET', path, headers: {}, body: null, ...more })
export const post = (path: string, body: Uint8Array = Buffer.from('{}'), more: Partial<WorkerRequest> = {}): WorkerRequest => ({
  method: 'POST',
  path,
  headers: { te: 'trailers' },
  body,
  ...more,
})

export function begin(pool: WorkerConnections, request: WorkerRequest, signal = new Cancellation()): Promise<WorkerAnswer> {
  return callWorker(pool, request, signal)
}

/** Text and trailers of a whole answer. */
export async function ask(
  pool: WorkerConnections,
  request: WorkerRequest,
): Promise<{ status: number; text: string; trailers: Record<string, unknown> }> {
  const answer = await begin(pool, request)
  const { bytes, trailers } = await readWhole(answer, 1 << 26)
  return { status: answer.statusCode, text: bytes.toString('latin1'), trailers: Object.fromEntries(Object.entries(trailers)) }
}

/** Of HTTP/2, as RFC 9113 section 4.1 has it. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array | string = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.from(payload as Uint8Array)
  const head = Buffer.alloc(9)
  head.writeUIntBE(bytes.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, bytes])
}

export const types = { data: 0, headers: 1, reset: 3, settings: 4, push: 5, ping: 6, goaway: 7, window: 8, continuation: 9 } as const
export const flags = { end: 1, ack: 1, endHeaders: 4 } as const
/** `:status: 200`, by HPACK's table. */
export const ok = Buffer.from([0x88])

/** A header that is not kept in the table: its name and its value are short. */
export function field(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0x00, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)])
}

const preface = 24

/** A worker that sends frames as it likes: `asked` is called with each stream on which a request has ended, `begun` with each connection. It confirms SETTINGS unless told not to. */
export async function serveFrames(
  asked: (socket: TLSSocket, stream: number) => void,
  begun: (socket: TLSSocket) => void = (socket) => socket.write(frame(types.settings, 0, 0)),
  confirms = true,
): Promise<Serving> {
  return serveTls(['h2'], (socket) => {
    let held = Buffer.alloc(0)
    let skipped = false
    begun(socket)
    socket.on('data', (part: Buffer) => {
      held = Buffer.concat([held, part])
      if (!skipped && held.length < preface) return
      if (!skipped) held = held.subarray(preface)
      skipped = true
      while (held.length >= 9) {
        const length = held.readUIntBE(0, 3)
        if (held.length < 9 + length) return
        const [, , , type, flag] = held
        const stream = held.readUInt32BE(5)
        held = held.subarray(9 + length)
        if (type === types.settings && flag === 0 && confirms) socket.write(frame(types.settings, flags.ack, 0))
        else if ((type === types.headers || type === types.data) && ((flag ?? 0) & flags.end) !== 0) asked(socket, stream)
      }
    })
  })
}

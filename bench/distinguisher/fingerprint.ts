import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import http2 from 'node:http2'
import https from 'node:https'
import net, { type AddressInfo } from 'node:net'
import { connect } from 'veritee/client'
import { openPath } from '../../packages/services/src/validator/audit/path.ts'
import { now, startNetwork } from '../../packages/services/test/e2e/network.ts'

/** How a client begins a TLS connection. */
export interface Hello {
  readonly name: string
  /** Versions, ciphers, extensions with groups, signature algorithms and ALPN: as offered, in their order, without what is random. */
  readonly tls: string
}

/**
 * The first message of TLS connections to one attested worker: of a probe, of users of the library, and of clients that are neither. By it alone, whoever ends the
 * connection tells one of these stacks from another.
 */
export async function fingerprints(): Promise<readonly Hello[]> {
  const network = await startNetwork()
  const { policy, machine, worker } = network
  const target = new URL(worker.server.url)
  const hellos: Buffer[] = []
  const proxy = net.createServer((socket) => {
    const up = net.connect(Number(target.port), target.hostname)
    socket.once('data', (first) => void hellos.push(first))
    socket.on('error', () => up.destroy()).on('close', () => up.destroy())
    up.on('error', () => socket.destroy()).on('close', () => socket.destroy())
    socket.pipe(up)
    up.pipe(socket)
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  const url = `https://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  const found: Hello[] = []
  const see = async (name: string, run: () => Promise<unknown>): Promise<void> => {
    const before = hellos.length
    await run()
    const hello = hellos[before]
    if (hello !== undefined) found.push({ name, tls: described(hello) })
  }
  try {
    const library = { policy, trust: machine.trust, now }
    await see('a probe', async () => (await openPath(url, { ...library, operators: [], encryptTo: 'none', apiKey: null })).connection.close())
    await see('a user of the library', async () => (await connect(url, { ...library, role: 'worker' })).close())
    await see('a user of the library, sealed', async () => (await connect(url, { ...library, role: 'worker', encryptTo: 'worker' })).close())
    await see('fetch of Node', () => fetch(url).catch(() => undefined))
    await see('https of Node', () => asked((done) => https.get(url, { rejectUnauthorized: false }, done).on('error', done)))
    await see('http2 of Node', () => asked((done) => http2.connect(url, { rejectUnauthorized: false }, done).on('error', done)))
    await see('curl', () => asked((done) => execFile('curl', ['-sk', '--max-time', '5', url], done)))
    return found
  } finally {
    proxy.close()
    await network.close()
  }
}

/** Whatever comes of it: the first message is what counts. */
const asked = (run: (done: () => void) => unknown): Promise<void> => new Promise((resolve) => void run(resolve))

/** RFC 8446, 4.1.2; values reserved by RFC 8701 are left out, as they are random. */
export function described(hello: Buffer): string {
  let at = 5 + 4
  const take = (length: number): Buffer => {
    const part = hello.subarray(at, at + length)
    at += length
    return part
  }
  const vector = (bytes: 1 | 2): Buffer => take(take(bytes).readUIntBE(0, bytes))
  const pairs = (bytes: Buffer): string[] =>
    Array.from({ length: bytes.length >> 1 }, (_, i) => bytes.readUInt16BE(2 * i))
      .filter(isNamed)
      .map(hex)
  const version = hex(take(2).readUInt16BE(0))
  take(32)
  vector(1)
  const ciphers = pairs(vector(2))
  vector(1)
  const extensions: string[] = []
  for (const end = take(2).readUInt16BE(0) + at; at < end; ) {
    const type = take(2).readUInt16BE(0)
    const body = vector(2)
    if (isNamed(type))
      extensions.push(
        `${type}${tellsMore.has(type) ? `(${type === 43 ? pairs(body.subarray(1)) : type === 16 ? alpn(body) : pairs(body.subarray(2))})` : ''}`,
      )
  }
  const text = `${version} ${ciphers} ${extensions}`
  return `${createHash('sha256').update(text).digest('hex').slice(0, 12)} (${ciphers.length} ciphers, extensions ${extensions.map((one) => one.split('(')[0]).join(' ')})`
}

/** Groups, signature algorithms, ALPN, versions. */
const tellsMore: ReadonlySet<number> = new Set([10, 13, 16, 43])
const isNamed = (value: number): boolean => (value & 0x0f0f) !== 0x0a0a
const hex = (value: number): string => value.toString(16).padStart(4, '0')
const alpn = (body: Buffer): string =>
  body
    .subarray(2)
    .toString('latin1')
    .replace(/[^ -~]/g, '|')

import { connect, type TLSSocket } from 'node:tls'
import type { Listening } from '../../../src/http/listen.ts'
import { atEnd } from './service.ts'

export const type = { data: 0, headers: 1, priority: 2, reset: 3, settings: 4, push: 5, ping: 6, goaway: 7, window: 8, continuation: 9 } as const
export const flag = { none: 0, endStream: 1, ack: 1, endHeaders: 4 } as const

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

export function frame(kind: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = kind
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

export function number32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** SETTINGS of an id and a value each. */
export function settings(...pairs: readonly (readonly [id: number, value: number])[]): Buffer {
  const payload = pairs.map(([id, value]) => Buffer.concat([Buffer.from([id >> 8, id & 0xff]), number32(value)]))
  return frame(type.settings, flag.none, 0, Buffer.concat(payload))
}

function hpackInteger(value: number, prefixBits: number, first: number): number[] {
  const most = (1 << prefixBits) - 1
  if (value < most) return [first | value]
  const bytes = [first | most]
  let rest = value - most
  for (; rest >= 128; rest >>= 7) bytes.push((rest & 0x7f) | 0x80)
  return [...bytes, rest]
}

/** A field as a literal (RFC 7541, section 6.2), kept in the dynamic table where `indexed`. */
export function field(name: string, value: string, indexed = false): Buffer {
  const text = (part: string): Buffer => Buffer.concat([Buffer.from(hpackInteger(part.length, 7, 0)), Buffer.from(part, 'latin1')])
  return Buffer.concat([Buffer.from([indexed ? 0x40 : 0x00]), text(name), text(value)])
}

/** The newest entry of the dynamic table. */
export const newestField: Buffer = Buffer.from([0x80 | 62])

export function fields(...pairs: readonly (readonly [name: string, value: string])[]): Buffer {
  return Buffer.concat(pairs.map(([name, value]) => field(name, value)))
}

export const getFields: Buffer = fields([':method', 'GET'], [':scheme', 'https'], [':path', '/'], [':authority', 'localhost'])
export const postFields: Buffer = fields([':method', 'POST'], [':scheme', 'https'], [':path', '/'], [':authority', 'localhost'])

export const preface: Buffer = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

/** A connection that sends whatever it is told to, and does nothing by itself: no acknowledgement, no window. */
export interface RawConnection {
  readonly socket: TLSSocket
  readonly frames: Frame[]
  send(...parts: readonly Uint8Array[]): void
  /** Sends until the other side ends it or takes no more. */
  sendUntilEnd(part: Uint8Array): Promise<number>
  closed: boolean
  of(kind: number): Frame[]
  /** The code of the GOAWAY that came. */
  goaway(): number | null
  resets(): { readonly stream: number; readonly code: number }[]
}

/** Gives each frame once all of it has come; so many bytes before the first are none. */
export function splitter(came: (one: Frame) => void, before = 0): (part: Buffer) => void {
  let skip = before
  let rest = Buffer.alloc(0)
  return (part) => {
    rest = Buffer.concat([rest, part])
    if (rest.length < skip) return
    rest = rest.subarray(skip)
    skip = 0
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const end = 9 + rest.readUIntBE(0, 3)
      came({ type: rest[3] ?? 0, flags: rest[4] ?? 0, stream: rest.readUInt32BE(5), payload: Buffer.from(rest.subarray(9, end)) })
      rest = rest.subarray(end)
    }
  }
}

function roomOrEnd(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done).off('close', done)
      resolve()
    }
    socket.once('drain', done).once('close', done)
  })
}

export interface RawOptions {
  /** Sends the preface and empty SETTINGS first. */
  readonly begun?: boolean
  readonly first?: Buffer
  /** Where it comes from, of the addresses of loopback. */
  readonly from?: string
  /** Sent with the end of the handshake. */
  readonly withHandshake?: Buffer
}

export async function rawConnection(
  { port }: Pick<Listening, 'port'>,
  { begun = true, first = settings(), from, withHandshake }: RawOptions = {},
): Promise<RawConnection> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const local = from === undefined ? {} : { localAddress: from }
  const socket = connect({ port, host: '127.0.0.1', ALPNProtocols: ['h2'], rejectUnauthorized: false, ...local }, resolve)
  socket.once(
    'close',
    atEnd(() => socket.destroy()),
  )
  if (withHandshake !== undefined) socket.write(withHandshake)
  const frames: Frame[] = []
  socket.on(
    'data',
    splitter((one) => frames.push(one)),
  )
  const connection: RawConnection = {
    socket,
    frames,
    closed: false,
    send: (...parts) => void socket.write(Buffer.concat(parts)),
    sendUntilEnd: async (part) => {
      for (let sent = 0; ; sent++) {
        if (connection.closed) return sent
        if (!socket.write(part)) await roomOrEnd(socket)
      }
    },
    of: (kind) => frames.filter((one) => one.type === kind),
    goaway: () => frames.find((one) => one.type === type.goaway)?.payload.readUInt32BE(4) ?? null,
    resets: () => frames.filter((one) => one.type === type.reset).map(({ stream, payload }) => ({ stream, code: payload.readUInt32BE(0) })),
  }
  socket.on('error', () => undefined)
  socket.once('close', () => {
    connection.closed = true
    reject(new Error('closed'))
  })
  await promise
  if (begun) connection.send(preface, first)
  return connection
}

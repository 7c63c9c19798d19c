// The requesters, in a process of their own, on bare sockets where they have a connection each. They do not verify anything: what is measured is the gateway. They do check that each answer
// is whole, and that its stream has as many events as were asked for.
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { fromHex } from 'veritee/bytes'
import { openResponse, type SealedRequest, sealRequest } from 'veritee/ehbp'
import { openLanes } from './load-http2.ts'

export type LoadOrder =
  | {
      readonly order: 'open'
      readonly port: number
      readonly tls: boolean
      readonly connections: number
      /** They share so many of HTTP/2; null: each is one of HTTP/1.1. */
      readonly sessions: number | null
      readonly headers: Readonly<Record<string, string>>
      readonly ehbp: string | null
    }
  /** Asks `requests` times in all, over the first `concurrency` connections. */
  | { readonly order: 'run'; readonly body: string; readonly requests: number; readonly concurrency: number; readonly events: number }
  /** Opens connections, begins a stream on each at once (a gateway closes those that ask nothing), and leaves them open. */
  | { readonly order: 'hold'; readonly open: Extract<LoadOrder, { readonly order: 'open' }>; readonly body: string }
  | { readonly order: 'close' }

export interface LoadDone {
  readonly latencyMs: readonly number[]
  readonly wallMs: number
  readonly failure: string | null
}

/** One request at a time. */
export interface Connection {
  /** Gives the whole answer. */
  ask(sending: Sending): Promise<Buffer>
  /** Resolves with the first event of a stream. */
  begin(sending: Sending): Promise<void>
  close(): void
}

let connections: Connection[] = []
let requestHeaders: Readonly<Record<string, string>> = {}
let requestHead = ''
let recipient: string | null = null

process.on('disconnect', () => process.exit())
process.on('message', (order: LoadOrder) => {
  const start = performance.now()
  perform(order).then(
    (latencyMs) => process.send?.({ latencyMs, wallMs: performance.now() - start, failure: null } satisfies LoadDone),
    (error: unknown) => process.send?.({ latencyMs: [], wallMs: 0, failure: String(error) } satisfies LoadDone),
  )
})

async function perform(order: LoadOrder): Promise<number[]> {
  switch (order.order) {
    case 'close':
      for (const connection of connections) connection.close()
      connections = []
      return []
    case 'open':
      await openAll(order, () => Promise.resolve())
      return []
    case 'run':
      return run(order.body, order.requests, order.concurrency, order.events)
    case 'hold':
      await openAll(order.open, async (connection) => connection.begin(await requestOf(order.body)))
      return []
  }
}

async function openAll(order: Extract<LoadOrder, { order: 'open' }>, first: (connection: Connection) => Promise<void>): Promise<void> {
  requestHeaders = order.headers
  const lines = Object.entries({ host: `127.0.0.1:${order.port}`, ...order.headers }).map(([name, value]) => `${name}: ${value}\r\n`)
  requestHead = `POST /v1/chat/completions HTTP/1.1\r\n${lines.join('')}`
  recipient = order.ehbp
  const lanes = order.sessions === null ? [] : await openLanes(order.port, order.connections, order.sessions)
  // Not all at once: a backlog that overflows costs a second.
  while (connections.length < order.connections) {
    const more = Math.min(25, order.connections - connections.length)
    const opened =
      order.sessions === null ? await Promise.all(Array.from({ length: more }, () => open(order.port, order.tls))) : lanes.splice(0, more)
    connections.push(...opened)
    await Promise.all(opened.map(first))
  }
}

function open(port: number, tls: boolean): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const options = { port, host: '127.0.0.1' }
    const socket: Socket = tls ? connectTls({ ...options, rejectUnauthorized: false }) : connect(options)
    const connection = new OwnConnection(socket, reject)
    socket.once(tls ? 'secureConnect' : 'connect', () => resolve(connection))
  })
}

export interface Sending {
  /** Beside those that every request has. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
  /** All of it over HTTP/1.1. */
  readonly bytes: Buffer
  /** What opens the answer; null where it comes in clear. */
  readonly sealed: SealedRequest | null
}

/** Each body that is encrypted is so once, as a client does it; in clear they are all the same. */
async function requestOf(body: string): Promise<Sending> {
  const plain = Buffer.from(body)
  if (recipient === null) return sending({}, plain, null)
  const binding = { method: 'POST', model: 'bench', path: '/v1/chat/completions', session_id: null }
  const sealed = await sealRequest({ publicKey: fromHex(recipient), keysetDigest: '' }, binding, plain)
  return sending(sealed.headers, sealed.body, sealed)
}

function sending(more: Readonly<Record<string, string>>, body: Uint8Array, sealed: SealedRequest | null): Sending {
  const lines = Object.entries(more).map(([name, value]) => `${name}: ${value}\r\n`)
  const head = `${requestHead}${lines.join('')}content-length: ${body.length}\r\n\r\n`
  const headers = { ...requestHeaders, ...more, 'content-length': String(body.length) }
  return { headers, body, bytes: Buffer.concat([Buffer.from(head), body]), sealed }
}

/** The answer with its body in clear. */
async function opened(answer: Buffer, sealed: SealedRequest | null): Promise<string> {
  const text = answer.toString('latin1')
  if (sealed === null || !text.startsWith('HTTP/1.1 200 ')) return text
  const end = text.indexOf('\r\n\r\n') + 4
  const head = text.slice(0, end)
  const headers = Object.fromEntries([...head.matchAll(/\r\n([^:\r]+): ([^\r]*)/g)].map(([, name = '', value = '']) => [name.toLowerCase(), value]))
  const { frames } = await openResponse(sealed, 200, headers)
  const body = /\r\ntransfer-encoding: chunked/i.test(head) ? chunks(answer.subarray(end)) : [answer.subarray(end)]
  const plain: Uint8Array[] = []
  for (const part of body) plain.push(...(await frames.push(part)))
  return head + Buffer.concat(plain).toString('latin1')
}

function chunks(body: Buffer): Buffer[] {
  const found: Buffer[] = []
  for (let at = 0; ; ) {
    const line = body.indexOf('\r\n', at)
    const size = Number.parseInt(body.toString('latin1', at, line), 16)
    if (!(size > 0)) return found
    found.push(body.subarray(line + 2, line + 2 + size))
    at = line + 4 + size
  }
}

async function run(body: string, requests: number, concurrency: number, events: number): Promise<number[]> {
  const same = recipient === null ? await requestOf(body) : null
  const latencies: number[] = []
  let left = requests
  await Promise.all(
    connections.slice(0, concurrency).map(async (connection) => {
      while (left > 0) {
        left--
        const asked = same ?? (await requestOf(body))
        const start = performance.now()
        const answer = await connection.ask(asked)
        latencies.push(performance.now() - start)
        check(await opened(answer, asked.sealed), events)
      }
    }),
  )
  return latencies
}

function check(answer: string, events: number): void {
  if (!answer.startsWith('HTTP/1.1 200 ')) throw new Error(`expected an answer, found ${answer.slice(0, 1000)}`)
  const found = answer.split('data: {"id"').length - 1
  if (found !== events) throw new Error(`expected ${events} events, found ${found}`)
  if (events > 0 && !answer.includes('data: [DONE]')) throw new Error('expected the end of a stream, found none')
}

/** A connection of HTTP/1.1. */
class OwnConnection implements Connection {
  readonly #socket: Socket
  #heard: (part: Buffer) => void = () => undefined
  #failed: (error: Error) => void

  constructor(socket: Socket, failed: (error: Error) => void) {
    this.#socket = socket
    this.#failed = failed
    socket.setNoDelay(true)
    socket.on('data', (part: Buffer) => this.#heard(part))
    socket.on('error', (error) => this.#failed(error))
    socket.on('close', () => this.#failed(new Error('the gateway closed a connection')))
  }

  ask({ bytes }: Sending): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const parts: Buffer[] = []
      let whole: (tail: Buffer) => boolean = () => false
      let length = 0
      let headed = false
      this.#failed = reject
      this.#heard = (part) => {
        parts.push(part)
        length += part.length
        if (!headed) {
          const text = Buffer.concat(parts).toString('latin1')
          const end = text.indexOf('\r\n\r\n')
          if (end < 0) return
          headed = true
          const size = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, end))?.[1]
          // The body of a chunked answer ends with an empty chunk, perhaps with trailers, which none of these gateways sends on.
          whole = size === undefined ? (tail) => tail.toString('latin1').endsWith('\r\n0\r\n\r\n') : () => length >= end + 4 + Number(size)
        }
        const tail = part.length >= 7 ? part.subarray(-7) : Buffer.concat(parts.slice(-8)).subarray(-7)
        if (whole(tail)) resolve(Buffer.concat(parts))
      }
      this.#socket.write(bytes)
    })
  }

  begin({ bytes, sealed }: Sending): Promise<void> {
    return new Promise((resolve, reject) => {
      let text = ''
      this.#failed = reject
      this.#heard = (part) => {
        text += part.toString('latin1')
        // Encrypted, an event shows only in that there is something behind the headers.
        if (sealed === null ? !text.includes('data: ') : !/\r\n\r\n./s.test(text)) return
        this.#heard = () => undefined
        resolve()
      }
      this.#socket.write(bytes)
    })
  }

  close(): void {
    this.#failed = () => undefined
    this.#socket.destroy()
  }
}

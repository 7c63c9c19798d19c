import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { EngineFailure } from './failure.ts'

/** Where an engine listens: on this machine, always. */
export type EngineAddress =
  | { readonly transport: 'unix'; readonly socketPath: string }
  | { readonly transport: 'loopback'; readonly host: string; readonly port: number }

export interface EngineTimes {
  /** Until the connection stands. */
  readonly connectMs: number
  /** Until the headers are there: for a plain answer that is the whole evaluation. */
  readonly headersMs: number
  /** Between two pieces of the body, while this side waits for one. */
  readonly idleMs: number
  /** For everything. */
  readonly totalMs: number
}

export interface EngineRequest {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly accept: 'application/json' | 'text/event-stream'
  readonly body: Uint8Array | null
  readonly times: EngineTimes
  readonly signal?: AbortSignal
}

export interface EngineResponse {
  readonly status: number
  readonly contentType: string
  /** Pieces of the body, read as fast as they are taken. Throws {@link EngineFailure}; leaving the loop closes the connection. */
  readonly body: AsyncIterable<Uint8Array>
  /** Closes the connection: an engine stops working for nobody. */
  close(): void
}

/**
 * One request to an engine. Each has a connection of its own: bytes that an engine sends beyond an answer can then never begin the next one, and on one
 * machine a connection costs little. Nothing of the client's headers goes along. Redirects are not followed, nothing is decompressed.
 *
 * Throws {@link EngineFailure} where no answer comes, and `signal.reason` on an abort.
 */
export async function askEngine(address: EngineAddress, asked: EngineRequest): Promise<EngineResponse> {
  const { method, path, accept, body, times, signal } = asked
  signal?.throwIfAborted()
  const outgoing = request({
    ...(address.transport === 'unix' ? { socketPath: address.socketPath } : { host: address.host, port: address.port }),
    agent: false,
    method,
    path,
    maxHeaderSize: 16_384,
    headers: {
      host: 'localhost',
      accept,
      'accept-encoding': 'identity',
      ...(body !== null && { 'content-type': 'application/json', 'content-length': body.length }),
    },
  })
  const stop = (error: Error): void => void outgoing.destroy(error)
  const total = setTimeout(() => stop(new EngineFailure('timeout', 'the engine took too long')), times.totalMs)
  const onAbort = (): void => stop(signal?.reason instanceof Error ? signal.reason : new Error('aborted'))
  signal?.addEventListener('abort', onAbort, { once: true })
  outgoing.once('close', () => {
    clearTimeout(total)
    signal?.removeEventListener('abort', onAbort)
  })
  const incoming = await headersOf(outgoing, body, times)
  const close = (): void => {
    incoming.destroy()
    outgoing.destroy()
  }
  if ((incoming.headers['content-encoding'] ?? 'identity') !== 'identity') {
    close()
    throw new EngineFailure('failed', 'the engine sent a compressed answer, which nobody asked for')
  }
  return {
    status: incoming.statusCode ?? 0,
    contentType: (incoming.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '',
    body: piecesOf(incoming, outgoing, times.idleMs),
    close,
  }
}

function headersOf(outgoing: ClientRequest, body: Uint8Array | null, times: EngineTimes): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const late = (what: string): EngineFailure => new EngineFailure('timeout', `the engine ${what}`)
  let timer = setTimeout(() => outgoing.destroy(new EngineFailure('unreachable', 'the engine cannot be reached')), times.connectMs)
  outgoing.once('socket', (socket) =>
    socket.once('connect', () => {
      clearTimeout(timer)
      timer = setTimeout(() => outgoing.destroy(late('did not answer in time')), times.headersMs)
    }),
  )
  outgoing.once('response', (incoming) => {
    clearTimeout(timer)
    resolve(incoming)
  })
  // Stays: an error after the headers is told by the body, and an error nobody listens to would end the process.
  outgoing.on('error', (error: NodeJS.ErrnoException) => {
    clearTimeout(timer)
    reject(failureOf(error))
  })
  outgoing.once('upgrade', (_incoming, socket) => {
    clearTimeout(timer)
    // The request has let go of it: nobody else closes it, or tells of it.
    socket.destroy()
    reject(new EngineFailure('failed', 'the engine speaks another protocol'))
  })
  outgoing.end(body ?? undefined)
  return promise
}

async function* piecesOf(incoming: IncomingMessage, outgoing: ClientRequest, idleMs: number): AsyncGenerator<Uint8Array> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const wait = (): void => {
    timer = setTimeout(() => outgoing.destroy(new EngineFailure('timeout', 'the engine went silent within its answer')), idleMs)
  }
  let why: unknown
  outgoing.once('error', (error) => {
    why = error
  })
  try {
    wait()
    for await (const piece of incoming as AsyncIterable<Buffer>) {
      clearTimeout(timer)
      yield piece
      wait()
    }
    if (!incoming.complete) throw new EngineFailure('failed', 'the engine broke off its answer')
  } catch (error) {
    throw failureOf(why ?? error)
  } finally {
    clearTimeout(timer)
    incoming.destroy()
    outgoing.destroy()
  }
}

function failureOf(error: unknown): unknown {
  if (error instanceof EngineFailure) return error
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (typeof code !== 'string') return error
  if (['ECONNREFUSED', 'ENOENT', 'EACCES', 'EADDRNOTAVAIL', 'EAGAIN'].includes(code))
    return new EngineFailure('unreachable', 'the engine cannot be reached', { cause: error })
  return new EngineFailure('failed', 'the engine broke off its answer', { cause: error })
}

/** The whole body as text, bounded. Throws {@link EngineFailure} beyond `maxBytes` and for what is no UTF-8. */
export async function readText(response: EngineResponse, maxBytes: number): Promise<string> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const piece of response.body) {
    length += piece.length
    if (length > maxBytes) throw new EngineFailure('failed', 'the engine sent an answer that is too large')
    parts.push(piece)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts))
  } catch (cause) {
    throw new EngineFailure('failed', 'the engine sent an answer that is no UTF-8', { cause })
  }
}

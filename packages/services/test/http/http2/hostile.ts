import type { RequestListener } from 'node:http'
import { constants } from 'node:http2'
import { expect } from 'vitest'
import { readRequestBody, sendError, sendJson } from '../../../src/http/body.ts'
import { ofRequesters, ofStrangers, requestersResets, strangersResets } from '../../../src/http/http2/limits.ts'
import type { Listening } from '../../../src/http/listen.ts'
import { Gate } from '../../../src/process/gate.ts'
import { fields, flag, frame, number32, postFields, type RawConnection, type } from './frames.ts'
import { clientOf, protocols, startService } from './service.ts'

/** Listeners with strangers on the other side, and what a connection of one has. */
export const listeners = [
  { where: 'at a worker', options: { requesters: false }, settings: ofStrangers, resets: strangersResets },
  { where: 'at a controller', options: { requesters: true }, settings: ofRequesters, resets: requestersResets },
] as const

export const code = {
  none: constants.NGHTTP2_NO_ERROR,
  protocol: constants.NGHTTP2_PROTOCOL_ERROR,
  flowControl: constants.NGHTTP2_FLOW_CONTROL_ERROR,
  frameSize: constants.NGHTTP2_FRAME_SIZE_ERROR,
  refused: constants.NGHTTP2_REFUSED_STREAM,
  cancel: constants.NGHTTP2_CANCEL,
  calm: constants.NGHTTP2_ENHANCE_YOUR_CALM,
}
export const headersOf = (stream: number, block: Uint8Array, more: number = flag.endStream): Buffer =>
  frame(type.headers, flag.endHeaders | more, stream, block)
export const settingsAck = frame(type.settings, flag.ack, 0)
export const ping = frame(type.ping, flag.none, 0, Buffer.alloc(8))
export const now = fields([':method', 'GET'], [':scheme', 'https'], [':path', '/now'], [':authority', 'localhost'])
export const odd = (index: number): number => 2 * index + 1

export const resetOf = (index: number): Buffer => frame(type.reset, flag.none, odd(index), number32(code.cancel))

/** Node has nothing to send behind the answer to it, and calls no such stream aborted. */
export const head = fields([':method', 'HEAD'], [':scheme', 'https'], [':path', '/'], [':authority', 'localhost'])

export const openedAndReset = (count: number, from = 0, block = postFields): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => [headersOf(odd(from + i), block, flag.none), resetOf(from + i)]).flat())

export interface Held {
  readonly service: Listening
  readonly gate: Gate
  /** Requests that reached the handler. */
  begun: number
  /** Answers those that wait. */
  readonly answers: (() => void)[]
}

/** Reads the body of each request and answers when it is let; `/now` is answered at once. */
export async function holding(options: Parameters<typeof startService>[1] = {}): Promise<Held> {
  const gate = new Gate()
  const answers: (() => void)[] = []
  const handle: RequestListener = (request, response) => {
    if (request.url === '/now') return sendJson(response, '{}')
    held.begun++
    readRequestBody(request, 1 << 20).then(
      () => answers.push(() => sendJson(response, '{}')),
      (error: unknown) => sendError(response, error),
    )
  }
  const service = await startService(
    gate.wrap(handle, ({ url }) => url !== '/now'),
    options,
  )
  const held: Held = { service, gate, begun: 0, answers }
  return held
}

/** That everybody else is answered, over both protocols. */
export async function expectOthersServed(service: Listening): Promise<void> {
  for (const protocol of protocols) expect(await clientOf(protocol, service).ask({ path: '/now' }).answer).toMatchObject({ status: 200 })
}

export async function expectEnded(connection: RawConnection, reasons: readonly number[]): Promise<void> {
  await expect.poll(() => connection.closed, { timeout: 10_000 }).toBe(true)
  // One that still sends may find the connection reset before it has read why.
  expect([...reasons, null]).toContain(connection.goaway())
}

export function sent({ socket }: RawConnection, part: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('close', done)
      resolve()
    }
    socket.once('close', done)
    socket.write(part, done)
  })
}

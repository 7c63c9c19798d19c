import type { IncomingMessage, ServerResponse } from 'node:http'
import { answered } from './http2/messages.ts'
import { streamOf } from './http2/streams.ts'

/**
 * Tells when an exchange begins and when it ceases to wait for its requester: while the request is coming, and over HTTP/2 from the end of the answer until it is taken. There a window of
 * nothing holds back an answer of any length; over HTTP/1.1 what is short is gone. `over` is told once, when the response is closed.
 */
export function followWaiting(request: IncomingMessage, response: ServerResponse, told: (waits: boolean) => void, over: () => void): void {
  let waits = false
  let closed = false
  const become = (does: boolean): void => {
    // Who left may be answered all the same.
    if (does === waits || closed) return
    waits = does
    told(does)
  }
  const came = (): void => become(false)
  if (isComing(request)) {
    become(true)
    request.once('end', came)
  }
  if (streamOf(request) !== null)
    response.once(answered, () => {
      request.off('end', came)
      become(true)
    })
  // One listener for both: Node warns of more than ten.
  response.once('close', () => {
    over()
    came()
    closed = true
  })
}

function isComing(request: IncomingMessage): boolean {
  const stream = streamOf(request)
  if (stream !== null) return !stream.endAfterHeaders
  const { 'content-length': length = '0', 'transfer-encoding': coding } = request.headers
  return length !== '0' || coding !== undefined
}

import type { IncomingMessage, ServerResponse } from 'node:http'
import { sendError } from '../../http/body.ts'
import { sealedReceiptsPath } from '../../http/chat-request.ts'
import { HttpError } from '../../http/errors.ts'
import { Cancellation } from '../cancellation.ts'
import type { ForwardDeps } from '../forward.ts'
import { readWhole } from '../worker-answer.ts'
import { opaqueHead, readOpaque, sendOpaque } from './send.ts'

/** A receipt with its frames; proofs are shorter. */
const maxAnswerBytes = 1 << 19

/** A question for the receipt of an encrypted exchange, encrypted itself: to the worker and back, unread. Runs nothing, and has no receipt. Never throws. */
export async function passQuestion({ registry, access }: ForwardDeps, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const cancellation = new Cancellation()
  response.once('close', () => cancellation.abort(new HttpError(499, 'invalid_request_error', 'the requester went away')))
  try {
    const refusal = (await access?.authenticate?.(incoming)) ?? null
    if (refusal !== null) throw refusal
    const sent = await sendOpaque(registry, await readOpaque(sealedReceiptsPath, incoming), cancellation)
    if (sent instanceof HttpError) throw sent
    const { bytes: body } = await readWhole(sent.answer, maxAnswerBytes).finally(sent.end)
    const { status, headers } = opaqueHead(sent.answer)
    response.writeHead(status, { ...headers, 'content-length': body.length, 'cache-control': 'no-store' }).end(body)
  } catch (error) {
    sendError(response, error)
  }
}

import type { IncomingMessage } from 'node:http'
import { type ReceiptEvent, requestLimits, type SplicedRequest, spliceConstraints } from 'veritee/receipt'
import { transportEvents } from '../../enclave/runtime/ehbp/exchange.ts'
import { readRequestBody } from '../../http/body.ts'
import { embeddingsEndpoint, nonceHeader } from '../../http/chat-request.ts'
import { checkExchangeModel } from '../../http/ehbp/open-body.ts'
import { HttpError } from '../../http/errors.ts'
import { type Span, spanOf, traceparentFor } from '../../http/trace-context.ts'
import { bodyHash } from '../relay.ts'

/** What is kept of a request that runs a model until its answer is over. It leads to nothing of its content, which may be long. */
export interface InferenceRequest {
  /** One of those that run a model. */
  readonly endpoint: string
  readonly model: string
  readonly clientNonce: string | null
  /** Of the body as it came. */
  readonly bytes: number
  /** What every receipt of this request begins with. */
  readonly events: readonly ReceiptEvent[]
  readonly forwardedHash: string
  readonly forwardedBytes: number
  /** The header for the worker; null where there is no trace. */
  readonly traceparent: string | null
  /** Told of the session that the request goes to; there only where requests are logged. */
  readonly span: Span | undefined
}

/** A request that was read and not yet routed, with its content. */
export interface ReadRequest {
  readonly request: InferenceRequest
  readonly content: SplicedRequest
}

/** The most that an answer may have, of one choice, as the request says; null where it does not. */
export function maximumOf({ request, content }: ReadRequest): number | null {
  if (request.endpoint === embeddingsEndpoint) return 0
  const { max_tokens: old, max_completion_tokens: chat = old, max_output_tokens: most = chat } = content.value
  return typeof most === 'number' && most >= 0 ? most : null
}

/** The same of all choices together. */
export function answerTokensOf(read: ReadRequest): number | null {
  const most = maximumOf(read)
  const { n, best_of: of = n } = read.content.value
  return most === null ? null : most * Math.max(1, typeof n === 'number' ? n : 1, typeof of === 'number' ? of : 1)
}

/** Reads and bounds a request. Throws 400 and 413 as {@link HttpError}, and what the splice throws. */
export async function readRequest(endpoint: string, incoming: IncomingMessage): Promise<ReadRequest> {
  const clientNonce = nonceHeader(incoming)
  const body = await readRequestBody(incoming, requestLimits.maxLength)
  const content = spliceConstraints(body, requestLimits)
  const { forwarded } = content
  const { model } = content.value
  if (typeof model !== 'string' || model.length > 256)
    throw new HttpError(400, 'invalid_request_error', 'model: expected the name of a model', { param: 'model' })
  checkExchangeModel(incoming, model)
  const receivedHash = bodyHash(body)
  const request = {
    endpoint,
    // A string that was cut out of the body's text would keep all of that.
    model: Buffer.from(model).toString(),
    clientNonce,
    bytes: body.length,
    // Where nothing was cut out, the bytes are the same.
    forwardedHash: forwarded === body ? receivedHash : bodyHash(forwarded),
    forwardedBytes: forwarded.length,
    traceparent: traceparentFor(incoming),
    span: spanOf(incoming),
    events: [
      { type: 'request.received', body_hash: receivedHash },
      { type: 'veritee.request', client_nonce: clientNonce },
      ...transportEvents(incoming, clientNonce),
    ],
  } satisfies InferenceRequest
  return { request, content }
}

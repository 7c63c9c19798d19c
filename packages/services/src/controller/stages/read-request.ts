import type { IncomingMessage } from 'node:http'
import { type ReceiptEvent, requestLimits, type SplicedRequest, spliceConstraints } from 'veritee/receipt'
import { transportEvents } from '../../enclave/runtime/ehbp/exchange.ts'
import { readRequestBody } from '../../http/body.ts'
import { chatEndpoint, completionsEndpoint, embeddingsEndpoint, nonceHeader, responsesEndpoint } from '../../http/chat-request.ts'
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

/**
 * Members by which a request bounds its answer, where workers or their engines heed them: what one endpoint knows is a word without meaning at another, and an engine may go by any of
 * several (llama.cpp by `n_predict` before all others).
 */
const maxima: { readonly [endpoint: string]: readonly string[] } = {
  [chatEndpoint]: ['max_completion_tokens', 'max_tokens', 'n_predict'],
  [completionsEndpoint]: ['max_tokens', 'n_predict'],
  [responsesEndpoint]: ['max_output_tokens', 'n_predict'],
}

/** The most that an answer may have, of one choice: the largest that the request says; null where it says nothing, or something that is no bound. `null` counts as absent. */
export function maximumOf({ request, content }: ReadRequest): number | null {
  if (request.endpoint === embeddingsEndpoint) return 0
  let most: number | null = null
  for (const name of maxima[request.endpoint] ?? []) {
    const stated = content.value[name] ?? null
    if (stated === null) continue
    if (typeof stated !== 'number' || !(stated >= 0)) return null
    most = most === null ? stated : Math.max(most, stated)
  }
  return most
}

/** The same of all choices together, and of all prompts where there are several, as engines of unattested workers take them. */
export function answerTokensOf(read: ReadRequest): number | null {
  const most = maximumOf(read)
  const { n, best_of: of = n, prompt } = read.content.value
  const prompts = Array.isArray(prompt) && typeof prompt[0] !== 'number' ? prompt.length : 1
  return most === null ? null : most * prompts * Math.max(1, typeof n === 'number' ? n : 1, typeof of === 'number' ? of : 1)
}

/** Reads and bounds a request. Throws 400 and 413 as {@link HttpError}, and what the splice throws. */
export async function readRequest(endpoint: string, incoming: IncomingMessage): Promise<ReadRequest> {
  const clientNonce = nonceHeader(incoming)
  return requestOf(endpoint, incoming, clientNonce, await readRequestBody(incoming, requestLimits.maxLength))
}

function requestOf(endpoint: string, incoming: IncomingMessage, clientNonce: string | null, body: Uint8Array): ReadRequest {
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

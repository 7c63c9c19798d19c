import { fromUtf8, parseJson } from 'veritee/bytes'
import { readBody, type Transport } from 'veritee/client'
import { fail } from 'veritee/errors'

/** One answer of the protocol: its status, its JSON, and the cookies it sets. */
export interface Answer {
  readonly status: number
  /** Null where an error came without JSON. */
  readonly value: unknown
  readonly setCookie: string
  /** Seconds, where the other side asks to come again later; null where it does not. */
  readonly retryAfter: number | null
}

/** Bytes of the largest answer: a resource of 64 KiB in base64, or a token. */
const maxAnswerBytes = 131_072

/**
 * One step over `node:http` or `node:https` (no redirect is followed, no proxy asked). Throws `service_unavailable`, `channel_mismatch`,
 * `response_too_large`, and `kbs_answer_malformed` for a success that is not strict JSON.
 */
export async function exchangeJson(
  transport: Transport,
  step: string,
  request: { readonly path: string; readonly body: Uint8Array | null; readonly cookie: string | null; readonly signal: AbortSignal },
): Promise<Answer> {
  const { path, body, cookie, signal } = request
  const response = await transport.send({
    method: body === null ? 'GET' : 'POST',
    path,
    headers: {
      accept: 'application/json',
      ...(body === null ? {} : { 'content-type': 'application/json' }),
      ...(cookie === null ? {} : { cookie }),
    },
    ...(body === null ? {} : { body }),
    signal,
  })
  const bytes = await readBody(response, maxAnswerBytes)
  const later = response.status === 429 || response.status === 503 ? /^[0-9]{1,4}$/.exec(response.headers['retry-after'] ?? '') : null
  const answer = { status: response.status, setCookie: response.headers['set-cookie'] ?? '', retryAfter: later === null ? null : Number(later[0]) }
  try {
    return { ...answer, value: parseJson(fromUtf8(bytes), { maxLength: maxAnswerBytes, maxDepth: 8 }) }
  } catch (cause) {
    if (response.status === 200) throw fail('kbs_answer_malformed', `${step}: expected strict JSON`, cause)
    return { ...answer, value: null }
  }
}

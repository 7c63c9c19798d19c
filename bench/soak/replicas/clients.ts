import { createHash, randomBytes } from 'node:crypto'
import { type Agent, request } from 'undici'
import { chatBody } from 'veritee/client'

/** One answer that was read to its end: its receipt was acknowledged. */
export interface Acknowledged {
  readonly receiptId: string
  readonly keysetDigest: string
  readonly nonce: string
  readonly requestHash: string
  readonly responseHash: string
}

/** What one attempt came to. `again`: the client may try once more, at any replica; `wrong`: it may not, and should not have had to. */
type Attempt = { readonly kind: 'whole'; readonly answer: Acknowledged } | { readonly kind: 'again' | 'wrong'; readonly detail: string }

const done = 'data: [DONE]\n\n'
/** What OpenAI's clients try again. */
const retriable = new Set([408, 409, 429, 500, 502, 503, 504])

/**
 * One request, plain or streamed. A status that clients retry, a connection that is refused or breaks, and a stream without its last event are errors that
 * a client can repeat. Never throws.
 */
export async function attempt(agent: Agent, base: string, key: string, number: number): Promise<Attempt> {
  const stream = number % 2 === 0
  const body = Buffer.from(chatBody('veritee-demo', `Why? ${number}`, { stream, maxTokens: 6, temperature: 0 }))
  const nonce = randomBytes(32).toString('hex')
  try {
    const answer = await request(`${base}/v1/chat/completions`, {
      method: 'POST',
      dispatcher: agent,
      headers: { 'content-type': 'application/json', 'x-veritee-nonce': nonce, authorization: `Bearer ${key}` },
      body,
    })
    const bytes = Buffer.from(await answer.body.arrayBuffer())
    if (answer.statusCode !== 200) {
      const detail = `status ${answer.statusCode}: ${bytes.toString().slice(0, 200)}`
      return { kind: retriable.has(answer.statusCode) ? 'again' : 'wrong', detail }
    }
    if (stream && !bytes.toString().endsWith(done)) return { kind: 'again', detail: 'the stream ended without its last event' }
    const [receiptId, keysetDigest] = [answer.headers['x-receipt-id'], answer.headers['x-aci-keyset-digest']]
    if (typeof receiptId !== 'string' || typeof keysetDigest !== 'string') return { kind: 'wrong', detail: 'an answer without a receipt' }
    return { kind: 'whole', answer: { receiptId, keysetDigest, nonce, requestHash: digest(body), responseHash: digest(bytes) } }
  } catch (error) {
    return { kind: 'again', detail: error instanceof Error && 'code' in error ? String(error.code) : 'broken off' }
  }
}

function digest(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

import { sha256Digest } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import {
  checkReceiptKey,
  eventOf,
  type InferenceEvent,
  type ModelEvent,
  type Outcome,
  parseReceipt,
  type Receipt,
  requestLimits,
  spliceConstraints,
} from 'veritee/receipt'
import { withExactSeed } from '../enclave/worker/engine/index.ts'
import { responsesEndpoint } from '../http/chat-request.ts'
import { type Answer, parseAnswers } from './answer.ts'
import { type Asked, readAsked } from './asked.ts'
import { Ended, type ReplayCheck } from './report.ts'
import { parseResponse } from './response.ts'
import { checkSignature, type Signer } from './signature.ts'

/** One exchange as its requester kept it. */
export interface ExchangeRecord {
  /** The worker's receipt, as served. */
  readonly receipt: string
  /** Request body, byte for byte: as sent, or as the controller forwarded it. */
  readonly request: Uint8Array
  /** Response body, byte for byte. */
  readonly response: Uint8Array
  /** `X-Veritee-Receipt-Key`, 32 bytes; null where it was not kept. */
  readonly receiptKey: Uint8Array | null
  /** The worker's report; null where it was not kept, and the signature is then not checked. */
  readonly signer: Signer | null
}

/** One exchange whose receipt is over exactly its bytes. */
export interface Exchange {
  readonly receipt: Receipt
  readonly inference: InferenceEvent
  readonly model: ModelEvent
  /** The parsed request. */
  readonly body: unknown
  readonly response: Uint8Array
  readonly receiptKey: Uint8Array | null
}

/** What the receipt of an answer claims, and the bytes that it claims it of. */
export interface Claim extends Exchange {
  readonly asked: Asked
  /** As many as the request asked for. */
  readonly choices: readonly ClaimedChoice[]
}

/** One answer: what the receipt counts, and what the response holds. */
export interface ClaimedChoice {
  readonly tokens: number
  readonly hmac: string
  readonly outcome: Outcome
  readonly answer: Answer
}

/**
 * Reads a record and compares its bytes with the receipt: request (as it is, or after its constraints are cut out) and response.
 * The receipt's signature comes first, under the keyset of the worker's report where there is one.
 * Throws `receipt_malformed`, {@link Ended}.
 */
export async function readExchange(record: ExchangeRecord, checks: ReplayCheck[]): Promise<Exchange> {
  const receipt = parseReceipt(record.receipt)
  await checkSignature(receipt, record.signer, checks)
  const inference = eventOf(receipt, 'veritee.inference')
  const model = eventOf(receipt, 'veritee.model')
  if (inference === undefined || model === undefined)
    throw new Ended(
      'no_inference',
      'replay.receipt',
      "expected a worker's receipt over its own engine; a controller's cites it, and serves it under /v1/veritee/receipts/{id}/upstream",
    )
  const body = await checkRequest(record.request, eventOf(receipt, 'request.received')?.body_hash)
  checks.push({ id: 'replay.request', status: 'pass', detail: 'over exactly these request bytes' })
  const returned = eventOf(receipt, 'response.returned')?.body_hash
  const found = await sha256Digest(record.response)
  if (found !== returned) throw new Ended('response_differs', 'replay.response', `expected ${returned}, found ${found}`)
  checks.push({ id: 'replay.response', status: 'pass', detail: 'over exactly these response bytes' })
  if (record.receiptKey !== null) await checkKey(receipt, record.receiptKey)
  return { receipt, inference, model, body, response: record.response, receiptKey: record.receiptKey }
}

/** A key that the receipt does not commit to shows nothing: whoever passed it on may have changed it (rule S5). Throws {@link Ended}. */
async function checkKey(receipt: Receipt, key: Uint8Array): Promise<void> {
  try {
    await checkReceiptKey(receipt, key)
  } catch (error) {
    if (!(error instanceof VeriteeError)) throw error
    throw new Ended('key_missing', 'replay.receipt', 'the receipt key is not the one that the receipt commits to')
  }
}

/** The answers of an exchange. Throws {@link Ended}. */
export function readClaim(exchange: Exchange): Claim {
  const { receipt, inference, body, response } = exchange
  const asked = readAsked(receipt.endpoint, body)
  const counted = countedChoices(receipt, inference, asked.request.n)
  const answers = readAnswers(response, asked, inference)
  const choices = counted.flatMap((choice, i) => answers.slice(i, i + 1).map((answer) => ({ ...choice, answer })))
  return { ...exchange, asked, choices }
}

/** What the receipt counts of each answer: `veritee.choices` where there are several. Throws {@link Ended}. */
function countedChoices(receipt: Receipt, inference: InferenceEvent, n: number): Omit<ClaimedChoice, 'answer'>[] {
  const { outcome, completion_tokens: tokens, completion_tokens_hmac: hmac } = inference
  const listed = eventOf(receipt, 'veritee.choices')?.choices
  const counted =
    n === 1
      ? [{ tokens, hmac, outcome }]
      : (listed ?? []).map((one) => ({ tokens: one.completion_tokens, hmac: one.completion_tokens_hmac, outcome: one.outcome }))
  if (counted.length !== n || (n === 1 && listed !== undefined) || counted.reduce((sum, one) => sum + one.tokens, 0) !== tokens)
    throw new Ended('outcome_differs', 'replay.receipt', `expected a receipt over ${n} answers, each with its tokens counted`)
  if (outcome === 'error' || outcome === 'refused' || counted.some((one) => one.tokens === 0))
    throw new Ended('no_answer', 'replay.outcome', `the outcome is ${outcome} after ${counted.map((one) => one.tokens).join(', ')} tokens`)
  return counted
}

async function checkRequest(bytes: Uint8Array, received: string | undefined): Promise<unknown> {
  const digest = await sha256Digest(bytes)
  try {
    const { forwarded, value } = spliceConstraints(bytes, requestLimits)
    if (received === digest || received === (await sha256Digest(forwarded))) return withExactSeed(value, bytes)
  } catch (error) {
    if (!(error instanceof VeriteeError)) throw error
    if (received === digest) throw new Ended('request_unknown', 'replay.request', `the request cannot be read: ${error.code}`)
  }
  throw new Ended('request_differs', 'replay.request', `expected ${received}, found ${digest}`)
}

function readAnswers(response: Uint8Array, { endpoint, request: { stream, n } }: Asked, inference: InferenceEvent): Answer[] {
  // A plain answer that was aborted has no bytes at all: its tokens are compared by their digest only.
  if (inference.outcome === 'aborted' && response.length === 0)
    return Array.from({ length: n }, () => ({ text: '', calls: [], finishReason: null, tokens: null }))
  try {
    return endpoint === responsesEndpoint ? [parseResponse(response, stream)] : parseAnswers(response, endpoint, stream, n)
  } catch (error) {
    if (error instanceof VeriteeError || error instanceof TypeError)
      throw new Ended('text_differs', 'replay.text', `the response is no completion with ${n} choices`)
    throw error
  }
}

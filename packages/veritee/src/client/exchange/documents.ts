import type { Collateral } from '../../attestation/index.ts'
import { fail } from '../../errors.ts'
import {
  type Exchange,
  type ExchangeRecords,
  eventOf,
  maxReceiptBytes,
  maxSessionBytes,
  parseReceipt,
  parseSession,
  upstreamOf,
  type VerifiedExchange,
  verifyExchange,
} from '../../receipt/index.ts'
import type { Service } from '../establish.ts'

/** Fetches one document of a service. Throws `receipt_missing`, `service_unavailable`, `response_too_large`. */
export type GetDocument = (path: string, maxBytes: number) => Promise<string>

/** Sessions by id, so that each is fetched once: its id is its hash, which is recomputed at every use. */
export class SessionTexts {
  readonly #texts = new Map<string, string>()
  readonly #max = 64

  async get(id: string, fetch: () => Promise<string>): Promise<string> {
    const known = this.#texts.get(id)
    if (known !== undefined) return known
    const text = await fetch()
    const oldest = this.#texts.keys().next().value
    if (this.#texts.size >= this.#max && oldest !== undefined) this.#texts.delete(oldest)
    this.#texts.set(id, text)
    return text
  }

  drop(id: string): void {
    this.#texts.delete(id)
  }
}

/** The documents of one exchange, for keeping. */
export interface Records {
  readonly receipt: string
  readonly session: string | null
  readonly workerReceipt: string | null
}

const receiptIdPattern = /^[\w-]{1,128}$/

/** The receipt that an answer names. Throws `receipt_missing`. */
export function receiptIdOf(headers: { readonly [name: string]: string }, name = 'x-receipt-id'): string {
  const id = headers[name]
  if (id === undefined || !receiptIdPattern.test(id)) throw fail('receipt_missing', 'expected the answer to name a receipt, found none')
  return id
}

/**
 * Fetches what proves an answer and verifies it (`verifyExchange`): the receipt, the session it cites, the worker's receipt, and, for a part of a stream, the proofs
 * that it is a prefix. Nothing of them is believed for having come over this or another connection.
 *
 * Throws the codes of `get` and of `verifyExchange`.
 */
export async function proveExchange(
  get: GetDocument,
  receiptId: string,
  exchange: Exchange,
  service: Service,
  sessions: SessionTexts = new SessionTexts(),
): Promise<{ readonly records: Records; readonly proof: VerifiedExchange }> {
  const prefix = exchange.complete || exchange.stream === null ? null : exchange.stream.leaves.length
  const path = `/v1/aci/receipts/${receiptId}`
  const workerPath = `/v1/veritee/receipts/${receiptId}/upstream`
  const proofOf = (of: string): Promise<string | null> => (prefix === null ? Promise.resolve(null) : get(`${of}?prefix=${prefix}`, maxReceiptBytes))
  // All at once: which of them are needed, the first one says. A failure of another is thrown where it is needed.
  const aggregator = service.report.serving === 'aggregator'
  const early = aggregator ? [settled(get(workerPath, maxReceiptBytes)), settled(proofOf(workerPath))] : []
  const [receipt, prefixProof] = await Promise.all([get(path, maxReceiptBytes), proofOf(path)])
  const stated = parseReceipt(receipt)
  const upstream = upstreamOf(stated)
  const verified = aggregator && upstream?.result === 'verified' ? upstream : null
  // Where the controller itself says that the worker's receipt did not match, there is none to fetch, and verification says so.
  const cited = verified !== null && eventOf(stated, 'veritee.upstream_receipt')?.result === 'match'
  const fetchSession = (id: string): Promise<string> => sessions.get(id, () => get(`/v1/aci/sessions/${id}`, maxSessionBytes))
  const session = verified === null ? null : { id: verified.session_id, text: await fetchSession(verified.session_id) }
  const [workerReceipt = null, workerPrefixProof = null] = cited ? await Promise.all(early.map((outcome) => outcome())) : []
  const records: ExchangeRecords = { receipt, prefixProof, session, workerReceipt, workerPrefixProof }
  const { policy, trust, now, verifierCache, collateral } = service.options
  try {
    const workerCollateral = collateral === undefined || session === null ? null : await ownCollateral(session, collateral)
    const proof = await verifyExchange(exchange, records, service.report, policy, trust, now(), {
      ...(verifierCache === undefined ? {} : { cache: verifierCache }),
      ...(workerCollateral === null ? {} : { workerCollateral }),
    })
    return { records: { receipt, session: session?.text ?? null, workerReceipt }, proof }
  } catch (error) {
    // What came as that session may not have been it.
    if (session !== null) sessions.drop(session.id)
    throw error
  }
}

async function ownCollateral(
  session: { readonly id: string; readonly text: string },
  source: (quote: Uint8Array) => Promise<Collateral>,
): Promise<Collateral> {
  return source((await parseSession(session.text, session.id)).report.quote)
}

/** The outcome of something begun, to be asked for later or never. */
function settled<T>(begun: Promise<T>): () => Promise<T> {
  const outcome = begun.then(
    (value) => ({ value }) as const,
    (error: unknown) => ({ error }) as const,
  )
  return async () => {
    const found = await outcome
    if ('error' in found) throw found.error
    return found.value
  }
}

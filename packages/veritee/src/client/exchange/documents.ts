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
  type Session,
  upstreamOf,
  type VerifiedExchange,
  verifyExchange,
} from '../../receipt/index.ts'
import type { CollateralSource, Service } from '../establish.ts'

/** Fetches one document of a service. Throws `receipt_missing`, `service_unavailable`, `response_too_large`. */
export type GetDocument = (path: string, maxBytes: number) => Promise<string>

/**
 * Sessions by id, so that each is fetched and read once: a session is its hash, which is recomputed when it is read. What follows from it at a later time, the judgment of
 * the worker's evidence above all, is made anew for every answer.
 */
export class KnownSessions {
  readonly #known = new Map<string, { readonly text: string; readonly session: Promise<Session> }>()
  readonly #max = 64

  /** The text, from memory or as fetched. */
  async text(id: string, fetch: () => Promise<string>): Promise<string> {
    return this.#known.get(id)?.text ?? fetch()
  }

  /** As `parseSession`. What does not read is not remembered. */
  readonly read = async (text: string, id: string): Promise<Session> => {
    const known = this.#known.get(id)
    if (known?.text === text) return known.session
    const session = parseSession(text, id)
    await session
    const oldest = this.#known.keys().next().value
    if (this.#known.size >= this.#max && oldest !== undefined) this.#known.delete(oldest)
    this.#known.set(id, { text, session })
    return session
  }
}

/** The documents of one exchange, for keeping. */
export interface Records {
  readonly receipt: string
  readonly session: string | null
  readonly workerReceipt: string | null
}

/** What came of an exchange, whatever it is worth; null for what did not come, or was not asked for. */
export interface SeenDocuments {
  readonly receipt: string | null
  readonly session: string | null
  readonly workerReceipt: string | null
  /** The worker's report over `nonce`, which this machine drew: where the body was sealed to a worker. */
  readonly worker: { readonly report: string; readonly nonce: string } | null
  /** `X-Veritee-Receipt-Key`, opened where it was sealed. */
  readonly receiptKey: Uint8Array | null
}

/** {@link SeenDocuments} while they come. */
export type Seeing = { -readonly [N in keyof SeenDocuments]: SeenDocuments[N] }

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
 * What comes is put into `seen`, before anything is made of it. Throws the codes of `get` and of `verifyExchange`.
 */
export async function proveExchange(
  get: GetDocument,
  receiptId: string,
  exchange: Exchange,
  service: Service,
  sessions: KnownSessions = new KnownSessions(),
  seen: Partial<Seeing> = {},
): Promise<{ readonly records: Records; readonly proof: VerifiedExchange }> {
  const prefix = exchange.complete || exchange.stream === null ? null : exchange.stream.events
  const path = `/v1/aci/receipts/${receiptId}`
  const workerPath = `/v1/veritee/receipts/${receiptId}/upstream`
  const proofOf = (of: string): Promise<string | null> => (prefix === null ? Promise.resolve(null) : get(`${of}?prefix=${prefix}`, maxReceiptBytes))
  // All at once: which of them are needed, the first one says. A failure of another is thrown where it is needed.
  const aggregator = service.report.serving === 'aggregator'
  const noted = async (name: 'receipt' | 'session' | 'workerReceipt', came: Promise<string>): Promise<string> => {
    const text = await came
    seen[name] = text
    return text
  }
  const early = aggregator ? [settled(noted('workerReceipt', get(workerPath, maxReceiptBytes))), settled(proofOf(workerPath))] : []
  const [receipt, prefixProof] = await Promise.all([noted('receipt', get(path, maxReceiptBytes)), proofOf(path)])
  const stated = parseReceipt(receipt)
  const upstream = upstreamOf(stated)
  const verified = aggregator && upstream?.result === 'verified' ? upstream : null
  // Where the controller itself says that the worker's receipt did not match, there is none to fetch, and verification says so.
  const cited = verified !== null && eventOf(stated, 'veritee.upstream_receipt')?.result === 'match'
  const fetchSession = (id: string): Promise<string> => sessions.text(id, () => get(`/v1/aci/sessions/${id}`, maxSessionBytes))
  const session = verified === null ? null : { id: verified.session_id, text: await noted('session', fetchSession(verified.session_id)) }
  const [workerReceipt = null, workerPrefixProof = null] = cited ? await Promise.all(early.map((outcome) => outcome())) : []
  const records: ExchangeRecords = { receipt, prefixProof, session, workerReceipt, workerPrefixProof }
  const { policy, trust, now, verifierCache, collateral } = service.options
  const workerCollateral = collateral === undefined || session === null ? null : await ownCollateral(session, collateral, sessions)
  const proof = await verifyExchange(exchange, records, service.report, policy, trust, now(), {
    readSession: sessions.read,
    ...(verifierCache === undefined ? {} : { cache: verifierCache }),
    ...(workerCollateral === null ? {} : { workerCollateral }),
  })
  return { records: { receipt, session: session?.text ?? null, workerReceipt }, proof }
}

async function ownCollateral(
  session: { readonly id: string; readonly text: string },
  source: CollateralSource,
  sessions: KnownSessions,
): Promise<Collateral> {
  return source((await sessions.read(session.text, session.id)).report.quote)
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

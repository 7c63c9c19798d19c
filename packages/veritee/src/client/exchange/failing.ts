import type { Check } from '../../attestation/claims.ts'
import type { sha256Digest } from '../../bytes/digest.ts'
import type { fail } from '../../errors.ts'
import type { eventOf, parseReceipt, Receipt, upstreamOf, verifyReceipt } from '../../receipt/receipt.ts'
import type { checkTransport, SealedTransport } from '../../receipt/sealed/transport.ts'
import type { GetDocument, KnownSessions, Seeing } from './documents.ts'
import type { Receiving } from './receiving.ts'
import type { Sent } from './sending.ts'

/** What is used here of what every client has loaded: a module that is read late and imports nothing leaves the others in one file, which is smaller; so is a list without names. */
export type Tools = readonly [
  typeof fail,
  typeof sha256Digest,
  typeof parseReceipt,
  typeof upstreamOf,
  typeof eventOf,
  typeof verifyReceipt,
  typeof checkTransport,
  maxBytes: number,
]

/** An exchange without an answer that verified. */
export interface Failing {
  readonly sent: Sent
  readonly receiving: Receiving
  readonly complete: boolean
  readonly transport: SealedTransport | null
  readonly get: GetDocument
  readonly sessions: KnownSessions
  /** Filled with what comes. */
  readonly seen: Seeing
  /** Why nothing verified; undefined for a refusal, which may have been signed. */
  readonly error: unknown
}

/** What came of it. */
export interface Failed {
  /** By which the service signed that it refused; null where it did not, and where there was an answer. */
  readonly refusal: Receipt | null
  readonly checks: readonly Check[]
  readonly error: unknown
}

const isOurs = (error: unknown): boolean => error instanceof Error && 'kind' in error

/**
 * What there is to know of an exchange without an answer that verified. Everybody's client asks for it, so that whoever has to say whose fault it is finds it in the evidence, and is not known by asking
 * (rule S20). Never throws for what others did.
 */
export async function failedBy(failing: Failing, tools: Tools): Promise<Failed> {
  await gather(failing, tools)
  return failing.error === undefined ? refusalOf(failing, tools) : { refusal: null, checks: [], error: failing.error }
}

/** Fetches what is not in `seen`: the receipt, the session that it cites, the worker's receipt. */
async function gather({ sent: { service, sealed, response }, get, sessions, seen }: Failing, tools: Tools): Promise<void> {
  const [, , parseReceipt, upstreamOf, eventOf, , , maxBytes] = tools
  const id = response.headers['x-receipt-id'] ?? ''
  if (!/^[\w-]{1,128}$/.test(id)) return
  try {
    seen.receipt ??= await get(`/v1/aci/receipts/${id}`, maxBytes)
    // A worker that the body was sealed to was verified before, and gives its receipt under that seal only.
    if (service.report.serving !== 'aggregator' || (sealed !== null && sealed.worker !== null)) return
    const stated = parseReceipt(seen.receipt)
    const upstream = upstreamOf(stated)
    if (upstream?.result !== 'verified') return
    const session = upstream.session_id
    seen.session ??= await sessions.text(session, () => get(`/v1/aci/sessions/${session}`, maxBytes))
    // Where the controller says that it has none, there is none to fetch.
    if (eventOf(stated, 'veritee.upstream_receipt')?.result !== 'absent')
      seen.workerReceipt ??= await get(`/v1/veritee/receipts/${id}/upstream`, maxBytes)
  } catch (error) {
    if (!isOurs(error)) throw error
  }
}

async function refusalOf(failing: Failing, tools: Tools): Promise<Failed> {
  const [fail] = tools
  const { service, response } = failing.sent
  try {
    const refusal = await verifyRefusal(failing, tools)
    return {
      refusal,
      checks: [{ id: 'receipt', status: 'pass', detail: 'signed by the service over exactly this refusal' }],
      error: fail('service_refused', `${service.transport.origin} answered ${response.status}, and signed that`),
    }
  } catch (error) {
    if (!isOurs(error)) throw error
    return { refusal: null, checks: [], error }
  }
}

/**
 * Verifies that the service signed a refusal: its receipt is over exactly the request, the nonce and the words that came, and says that no answer was given. A body that was encrypted to a worker is refused
 * by its encrypted bytes. Throws the codes of `verifyReceipt`, `receipt_missing`, `receipt_transport_mismatch`, `service_unavailable`.
 */
async function verifyRefusal(
  { sent: { service, requestBody, clientNonce, sealed }, receiving, complete, transport, seen }: Failing,
  [fail, sha256Digest, parseReceipt, , eventOf, verifyReceipt, checkTransport]: Tools,
): Promise<Receipt> {
  const { keyset, keysetDigest } = service.report
  if (!complete) throw fail('service_unavailable', `the refusal broke off after ${receiving.length} bytes`)
  if (seen.receipt === null) throw fail('receipt_missing', 'expected the receipt that the refusal names, found none')
  const opaque = sealed === null || sealed.worker === null ? null : sealed
  const receipt = await verifyReceipt(parseReceipt(seen.receipt), keyset, keysetDigest, {
    requestHash: opaque === null ? await sha256Digest(requestBody) : opaque.wireRequestHash,
    responseHash: opaque === null ? await receiving.digest() : await opaque.opening.wireDigest(),
    clientNonce,
  })
  if (opaque === null) checkTransport(receipt, transport, clientNonce)
  const outcome = eventOf(receipt, 'veritee.outcome')?.outcome ?? 'nothing'
  if (outcome !== 'refused' && outcome !== 'error')
    throw fail('receipt_response_mismatch', `expected a receipt of a refusal, found one that says ${outcome}`)
  return receipt
}

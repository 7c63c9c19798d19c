import type { Check } from '../../attestation/claims.ts'
import type { Trust, VerifyOptions } from '../../attestation/index.ts'
import { sha256Digest } from '../../bytes/digest.ts'
import { fail } from '../../errors.ts'
import { checkSessionBinding, citedSession } from '../cited-session.ts'
import { spliceConstraints } from '../constraints.ts'
import { requestLimits } from '../exchange.ts'
import { compareReceipt, eventOf, type Receipt, receiptDigest, verifyReceipt } from '../receipt.ts'
import { type VerifiedReport, verifyReport } from '../report.ts'
import type { OpaqueEvent } from '../sealed/event.ts'
import type { Session } from '../session.ts'
import type { BundledExchange } from './bundle.ts'

/** What the receipts of a bundle prove. Whether it is wanted is the policy's question. */
export interface VerifiedBundledExchange {
  readonly receipt: Receipt
  /** Over which the receipt of whoever ran the model is; null where the bundle holds none. */
  readonly requestBody: Uint8Array | null
  /** Behind a controller: the worker whose evidence the bundle holds; null where it holds none. */
  readonly worker: { readonly session: Session; readonly report: VerifiedReport; readonly receipt: Receipt | null } | null
}

/** Runs one check and records it; a failure is recorded and thrown on by the caller's recorder. */
export type Take = <T>(id: string, run: () => Promise<T>, check: (value: T) => Omit<Check, 'id'>) => Promise<T>

const pass = (detail: string): Omit<Check, 'id'> => ({ status: 'pass', detail })
const waive = (detail: string): Omit<Check, 'id'> => ({ status: 'waived', detail })

/**
 * Verifies the receipts of a bundle against a service verified before. In order: the service's receipt under the attested keyset, over the bodies
 * that the bundle holds, with the caller's nonce where there is one; the session it cites; the worker's evidence in it; the worker's receipt, and that
 * both receipts speak of the same bytes.
 *
 * The same facts as `verifyExchange`, without a policy and for stored documents that may be incomplete: what is not there is a waived check.
 */
export async function verifyBundledExchange(
  exchange: BundledExchange,
  service: VerifiedReport,
  trust: Trust,
  at: Date,
  clientNonce: string | null,
  take: Take,
  options: VerifyOptions,
): Promise<VerifiedBundledExchange> {
  const { receipt, requestBody, responseBody } = exchange
  // A controller that passed a body on unread signed encrypted bytes, which no bundle holds: the bodies are held against the worker's receipt.
  const opaque = eventOf(receipt, 'veritee.opaque') !== undefined
  const requestHash = requestBody === null || opaque ? null : await sha256Digest(requestBody)
  const responseHash = responseBody === null || opaque ? null : await sha256Digest(responseBody)
  const missing = (what: string): string => (opaque ? 'over the encrypted bytes, which the bundle does not hold' : `the bundle holds no ${what}`)
  await take(
    'receipt.signature',
    () => verifyReceipt(receipt, service.keyset, service.keysetDigest, { requestHash: null, responseHash: null, clientNonce: null }),
    () => pass('signed by a key that the quote binds'),
  )
  const compared = (id: string, part: { requestHash?: string | null; responseHash?: string | null; clientNonce?: string | null }, reason: string) => {
    const expected = { requestHash: null, responseHash: null, clientNonce: null, ...part }
    const nothing = Object.values(expected).every((value) => value === null)
    return take(
      id,
      async () => compareReceipt(receipt, expected),
      () => (nothing ? waive(reason) : pass('as expected, byte for byte')),
    )
  }
  // Else any bodies could lie beside a genuine receipt, and nothing signed would be held against them.
  if (opaque && exchange.workerReceipt === null && (requestBody !== null || responseBody !== null))
    await take('receipt.request', bodiesOfNobody, () => pass(''))
  await compared('receipt.request', { requestHash }, missing('request'))
  await compared('receipt.response', { responseHash }, missing('response'))
  await compared('receipt.nonce', { clientNonce }, 'not compared: an older receipt over equal bytes would pass')

  const worker = service.serving === 'direct' ? await noWorker(exchange, take) : await verifyWorker(exchange, clientNonce, trust, at, take, options)
  return { receipt, requestBody, worker }
}

async function bodiesOfNobody(): Promise<never> {
  throw fail('receipt_missing', 'expected the receipt of the worker to which the body was sealed beside its bodies: no other one is over them')
}

async function noWorker(exchange: BundledExchange, take: Take): Promise<null> {
  if (exchange.session === null && exchange.workerReceipt === null) return null
  const refuse = async (): Promise<never> => {
    throw fail('session_mismatch', 'expected no session and no worker receipt beside the receipt of a direct service')
  }
  return take('session', refuse, () => pass(''))
}

async function verifyWorker(
  exchange: BundledExchange,
  clientNonce: string | null,
  trust: Trust,
  at: Date,
  take: Take,
  options: VerifyOptions,
): Promise<VerifiedBundledExchange['worker']> {
  const session = await take(
    'session',
    () => bundledSession(exchange),
    (found) => (found === null ? waive("the controller's word: the bundle holds no session") : pass(`content address ${found.id}`)),
  )
  if (session === null) return null
  const report = await take(
    'worker.evidence',
    async () => {
      const verified = await verifyReport(session.report, 'stated', trust, at, options)
      checkSessionBinding(session, verified)
      return verified
    },
    (found) => pass(`re-verified on this machine: ${found.keysetDigest}`),
  )
  const workerReceipt = await take(
    'worker.receipt',
    () => citedReceipt(exchange, clientNonce, session, report),
    (found) => (found === null ? waive("the controller's word: the bundle holds no worker receipt") : pass(workerDetail(exchange))),
  )
  return { session, report, receipt: workerReceipt }
}

async function bundledSession({ receipt, session, workerReceipt }: BundledExchange): Promise<Session | null> {
  if (session !== null) return citedSession(receipt, session)
  if (workerReceipt !== null) throw fail('session_mismatch', "expected the session beside a worker's receipt: it binds the key that signed it")
  return null
}

/**
 * The worker's receipt is the one that the controller's cites, signed by the worker's keyset, over the same bytes and the same nonce; what was
 * forwarded is what was sent, less the constraints (rule S10).
 */
async function citedReceipt(
  exchange: BundledExchange,
  clientNonce: string | null,
  session: Session,
  worker: VerifiedReport,
): Promise<Receipt | null> {
  const { receipt, workerReceipt, requestBody, responseBody } = exchange
  if (workerReceipt === null) return null
  const cited = eventOf(receipt, 'veritee.upstream_receipt')
  const digest = await receiptDigest(workerReceipt)
  if (cited?.result !== 'match' || cited.digest !== digest)
    throw fail(
      'receipt_upstream_mismatch',
      `expected the worker's receipt ${cited?.digest ?? 'none'} (${cited?.result ?? 'not cited'}), found ${digest}`,
    )
  const opaque = eventOf(receipt, 'veritee.opaque')
  if (opaque !== undefined) return openedReceipt(exchange, workerReceipt, opaque, clientNonce, session, worker)
  const stated = eventOf(receipt, 'request.forwarded')?.body_hash
  const forwarded = requestBody === null ? stated : await sha256Digest(spliceConstraints(requestBody, requestLimits).forwarded)
  if (stated === undefined || stated !== forwarded)
    throw fail('receipt_request_mismatch', `expected request.forwarded ${forwarded ?? 'in the receipt'}, found ${stated ?? 'none'}`)
  // Where an answer broke off, the two ends saw different parts of it.
  const outcome = eventOf(receipt, 'veritee.outcome')?.outcome
  const whole = responseBody !== null || (outcome !== 'aborted' && outcome !== 'error')
  return verifyReceipt(workerReceipt, worker.keyset, worker.keysetDigest, {
    requestHash: stated,
    responseHash: whole ? (eventOf(receipt, 'response.returned')?.body_hash ?? null) : null,
    clientNonce: eventOf(receipt, 'veritee.request')?.client_nonce ?? null,
  })
}

/**
 * The receipt of a worker to which the body was sealed: of the exchange that the controller's names by its encapsulated key, in the session that it names, over the opened
 * bytes, where the bundle holds them, and the requester's nonce (rule S4). Nothing of the content is in the controller's.
 */
async function openedReceipt(
  { receipt, requestBody, responseBody }: BundledExchange,
  workerReceipt: Receipt,
  opaque: OpaqueEvent,
  clientNonce: string | null,
  session: Session,
  worker: VerifiedReport,
): Promise<Receipt> {
  if (opaque.session_id !== session.id)
    throw fail('session_mismatch', `expected the session ${session.id} that was cited, found ${opaque.session_id}`)
  if (receipt.model !== null || eventOf(receipt, 'veritee.transport') !== undefined)
    throw fail('receipt_transport_mismatch', 'expected nothing of the content in the receipt of a controller that cannot read it')
  if (eventOf(receipt, 'request.forwarded')?.body_hash !== eventOf(receipt, 'request.received')?.body_hash)
    throw fail('receipt_request_mismatch', 'expected the encrypted bytes to have been forwarded unchanged')
  const nonce = clientNonce ?? eventOf(receipt, 'veritee.request')?.client_nonce ?? null
  const verified = await verifyReceipt(workerReceipt, worker.keyset, worker.keysetDigest, {
    requestHash: requestBody === null ? null : await sha256Digest(requestBody),
    responseHash: responseBody === null ? null : await sha256Digest(responseBody),
    clientNonce: nonce,
  })
  const transport = eventOf(verified, 'veritee.transport')
  if (transport?.enc !== opaque.enc || (nonce !== null && transport.client_nonce !== nonce))
    throw fail('receipt_transport_mismatch', `expected the worker to have opened the exchange ${opaque.enc}, found ${transport?.enc ?? 'none'}`)
  return verified
}

function workerDetail({ receipt, requestBody, responseBody }: BundledExchange): string {
  if (eventOf(receipt, 'veritee.opaque') === undefined) return 'signed by the worker over the same bytes'
  const bodies = requestBody !== null && responseBody !== null
  return `signed by the worker, to which the body was sealed${bodies ? ', over exactly these bytes' : ': the bundle does not hold both bodies'}`
}

import { sha256Digest } from '../../bytes/digest.ts'
import { isoTime } from '../../bytes/iso-time.ts'
import { fail } from '../../errors.ts'
import { policyFor } from '../../policy/index.ts'
import {
  checkReceiptKey,
  type Exchange,
  eventOf,
  maxReceiptBytes,
  parseReceipt,
  upstreamOf,
  type VerifiedExchange,
  verifyReceipt,
  verifySealedExchange,
} from '../../receipt/index.ts'
import { checkTransport, type SealedTransport } from '../../receipt/sealed/transport.ts'
import { ehbpKeyOf } from '../../seal/ehbp/index.ts'
import type { Service } from '../establish.ts'
import { receiptKeyOf, rememberPromises } from '../inclusion/promised.ts'
import { proofError } from '../proof/errors.ts'
import { checksOf, provenEnclave, provenModel, provenReceipt } from '../proof/facts.ts'
import type { Proof, ProofStatus, ProvenEnclave } from '../proof/proof.ts'
import { fetchSealedReceipt } from '../sealed/worker-receipt.ts'
import { type GetDocument, type KnownSessions, proveExchange, type Records, receiptIdOf, type Seeing, type SeenDocuments } from './documents.ts'
import type { Failed, Tools } from './failing.ts'
import type { Receiving } from './receiving.ts'
import type { Sent } from './sending.ts'

/** What proves an answer, for keeping: bodies byte for byte, and the documents as served. It holds the prompt and the answer. */
export interface ProofEvidence {
  readonly requestBody: Uint8Array
  readonly responseBody: Uint8Array
  /** Of the service that was asked, over `nonce`, which this machine drew. */
  readonly report: string
  readonly nonce: string
  /** Null where they were not fetched, or did not verify. */
  readonly records: Records | null
  /** The same and more as it came, also where it did not verify: for whoever has to say whose fault that is. */
  readonly seen: SeenDocuments
  /** Why there is no proof, as it was thrown; null where there is one. */
  readonly failure: { readonly error: unknown } | null
}

export interface Judged {
  readonly proof: Proof
  readonly evidence: ProofEvidence
  /** Why there is no proof; null where there is one. */
  readonly failure: { readonly error: unknown } | null
}

export interface Proving {
  readonly get: GetDocument
  readonly sessions: KnownSessions
  /** Ends the fetching of documents. */
  readonly signal: AbortSignal
  readonly authorization: { readonly [name: string]: string }
}

const tools: Tools = [fail, sha256Digest, parseReceipt, upstreamOf, eventOf, verifyReceipt, checkTransport, maxReceiptBytes]

/**
 * Verifies an answer that has been received, or that the service signed its refusal, and says what came of it. `fault` is why nothing of what came is judged, undefined for none; `fails` is told
 * at once why there is no proof, before what else there is to see of the exchange is fetched. Never throws for what is wrong with the answer.
 */
export async function judge(
  sent: Sent,
  receiving: Receiving,
  complete: boolean,
  proving: Proving,
  fault: unknown,
  fails: (error: unknown) => void,
): Promise<Judged> {
  const seen = seeing(sent)
  const { status } = sent.response
  const isAnswer = status >= 200 && status <= 299
  const get = documentsOf(sent, receiving, proving)
  const transport = transportOf(sent)
  let error = fault
  try {
    if (error === undefined && isAnswer) {
      if (!complete && !receiving.hasPrefix) throw fail('service_unavailable', `the answer broke off after ${receiving.length} bytes`)
      const { proof, records } = await verify(sent, receiving, complete, proving, get, transport, seen)
      if (seen.receiptKey !== null) await checkReceiptKey((proof.worker ?? proof).receipt, seen.receiptKey)
      return result(sent, receiving, complete, { proof, records, seen }, null)
    }
  } catch (thrown) {
    error = thrown
  }
  fails(error)
  // Read where there is no answer that verifies, and not before: browsers are spared the code otherwise.
  const { failedBy } = await import('./failing.ts')
  const failed = await failedBy({ sent, receiving, complete, transport, get, sessions: proving.sessions, seen, error }, tools)
  return result(sent, receiving, complete, { seen, failed }, failed)
}

async function verify(
  sent: Sent,
  receiving: Receiving,
  complete: boolean,
  { sessions, signal, authorization }: Proving,
  get: GetDocument,
  transport: SealedTransport | null,
  seen: Seeing,
): Promise<{ readonly proof: VerifiedExchange; readonly records: Records }> {
  const { service, sealed, requestBody, clientNonce, response } = sent
  const receiptId = receiptIdOf(response.headers)
  const exchange: Exchange = { requestBody, responseHash: await receiving.digest(), stream: receiving.stream, complete, clientNonce, transport }
  if (sealed === null || transport === null || sealed.worker === null) return proveExchange(get, receiptId, exchange, service, sessions, seen)
  const { worker } = sealed
  const question = { receiptId: receiptIdOf(response.headers, 'x-veritee-worker-receipt-id'), credential: sealed.opening.sealed.receiptCredential }
  const ask = (prefix: number | null): Promise<string> => fetchSealedReceipt(service, worker, { ...question, prefix }, authorization, signal)
  const noted = async (name: 'receipt' | 'workerReceipt', came: Promise<string>): Promise<string> => {
    const text = await came
    seen[name] = text
    return text
  }
  const [receipt, workerReceipt, workerPrefixProof] = await Promise.all([
    noted('receipt', get(`/v1/aci/receipts/${receiptId}`, maxReceiptBytes)),
    noted('workerReceipt', ask(null)),
    complete ? null : ask(eventsOf(receiving)),
  ])
  const proof = await verifySealedExchange(
    {
      ...exchange,
      transport,
      sessionId: worker.sessionId,
      path: sent.call.path,
      wire: { requestHash: sealed.wireRequestHash, responseHash: await sealed.opening.wireDigest() },
    },
    { receipt, session: { text: worker.sessionText }, workerReceipt, workerPrefixProof },
    service.report,
    worker.worker,
    service.options.now(),
    policyFor(service.options.policy, service.options.role),
  )
  return { proof, records: { receipt, session: worker.sessionText, workerReceipt } }
}

/** What a service that opened an encrypted body says of that in its receipt; null where nothing was encrypted. */
function transportOf({ sealed }: Sent): SealedTransport | null {
  return sealed === null ? null : { enc: sealed.request.enc, responseNonce: sealed.opening.sealed.responseNonce }
}

/** A worker that opened a body itself gives the receipt of that exchange to whoever knows its secret. */
function documentsOf({ service, sealed, response }: Sent, receiving: Receiving, { get, authorization, signal }: Proving): GetDocument {
  if (sealed === null || sealed.worker !== null || service.report.descriptor.role !== 'worker') return get
  const own = { key: ehbpKeyOf(service.report), sessionId: null }
  const { receiptCredential: credential } = sealed.opening.sealed
  return async (path) => {
    const prefix = path.includes('?prefix=') ? eventsOf(receiving) : null
    return fetchSealedReceipt(service, own, { receiptId: receiptIdOf(response.headers), credential, prefix }, authorization, signal)
  }
}

function seeing(sent: Sent): Seeing {
  const worker = sent.sealed?.worker ?? null
  return {
    receipt: null,
    session: worker?.sessionText ?? null,
    workerReceipt: null,
    worker: worker === null ? null : { report: worker.reportText, nonce: worker.nonce },
    receiptKey: receiptKeyOf(sent),
  }
}

function eventsOf({ stream }: Receiving): number | null {
  return stream?.events ?? null
}

async function result(
  sent: Sent,
  receiving: Receiving,
  complete: boolean,
  {
    proof: found = null,
    records = null,
    seen,
    failed = null,
  }: {
    readonly proof?: VerifiedExchange | null
    readonly records?: Records | null
    readonly seen: SeenDocuments
    readonly failed?: Failed | null
  },
  failure: Judged['failure'],
): Promise<Judged> {
  const { service, sealed } = sent
  const { options } = service
  const error = failure === null ? null : proofError(failure.error)
  const checks = [
    ...checksOf('service', service.verdict.checks),
    ...checksOf('worker', found?.worker?.verdict.checks ?? []),
    ...checksOf('answer', (found ?? failed)?.checks ?? []),
  ]
  const receipt = found?.receipt ?? failed?.refusal ?? null
  const responseBody = receiving.body
  const proof: Proof = {
    version: 'veritee.proof.v1',
    status: statusOf(found, error?.kind ?? null),
    simulated: service.report.claims.simulated || found?.simulated === true,
    provenAt: isoTime(options.now()),
    endpoint: sent.call.path.split('?')[0] ?? '',
    service: serviceEnclave(service),
    worker: found === null ? null : workerEnclave(sent, found),
    model: found === null ? null : provenModel(found.model),
    bytes: {
      request: await sha256Digest(sent.requestBody),
      response: await receiving.digest(),
      responseLength: responseBody.length,
      events: eventsOf(receiving),
      complete,
      clientNonce: sent.clientNonce,
      encryptedTo: sealed?.to ?? null,
    },
    outcome: found?.inferenceOutcome ?? null,
    receipts: {
      service: receipt === null ? null : await provenReceipt(receipt),
      worker: found?.worker == null ? null : await provenReceipt(found.worker.receipt),
    },
    session: found?.session?.id ?? null,
    checks,
    waived: checks.filter(({ status }) => status === 'waived'),
    warnings: [...new Set([...service.verdict.warnings, ...(found?.worker?.verdict.warnings ?? [])])],
    error,
  }
  if (found !== null) rememberPromises(proof, sent, found)
  const { reportText: report, nonce } = service
  return { proof, failure, evidence: { requestBody: sent.requestBody, responseBody, report, nonce, records, seen, failure } }
}

function statusOf(found: VerifiedExchange | null, kind: string | null): ProofStatus {
  if (found !== null) return found.outcome
  return kind === 'unavailable' ? 'unproven' : 'rejected'
}

function serviceEnclave({ report, options, transport, attestedAt, channel }: Service): ProvenEnclave {
  return provenEnclave(report, policyFor(options.policy, options.role), {
    origin: transport.origin,
    // A report that was accepted came over one of these.
    channel: channel === 'attested' || channel === 'sealed' ? channel : 'loopback',
    attestedAt,
  })
}

function workerEnclave({ service, sealed }: Sent, { worker, session }: VerifiedExchange): ProvenEnclave | null {
  if (worker === null) return null
  const own = sealed?.worker ?? null
  return provenEnclave(worker.report, policyFor(service.options.policy, 'worker'), {
    origin: null,
    channel: own === null ? 'relayed' : 'sealed',
    attestedAt: own?.worker.attestedAt ?? new Date((session?.document.established_at ?? 0) * 1000),
  })
}

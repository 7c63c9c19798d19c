import { collateralFromJson, type Trust } from '../../src/attestation/index.ts'
import { fromBase64, utf8 } from '../../src/bytes/index.ts'
import type { EvidencePolicy, Policy } from '../../src/policy/index.ts'
import {
  type BundleParts,
  createBundle,
  parseReceipt,
  type ReceiptEvent,
  receiptDigest,
  type SessionDocument,
  sessionEvidence,
  sessionId,
} from '../../src/receipt/index.ts'
import { createEnclave, demoModel, measured, modelEvent, nonceOf, servedAt, sha, type TestEnclave, trust } from '../receipt/enclaves.ts'

/** A controller and its worker, one exchange between them and a client, and everything that was kept of it. */
export interface Kept {
  readonly controller: TestEnclave
  readonly worker: TestEnclave
  readonly trust: Trust
  readonly nonce: string
  readonly clientNonce: string
  readonly request: Uint8Array
  readonly response: Uint8Array
  readonly report: string
  readonly workerReport: string
  readonly session: string
  readonly receipt: string
  readonly workerReceipt: string
}

export interface Changes {
  readonly session?: Partial<SessionDocument>
  /** Models that the worker announces. */
  readonly models?: readonly (typeof demoModel)[]
  readonly workerEvents?: (events: readonly ReceiptEvent[]) => readonly ReceiptEvent[]
  readonly events?: (events: readonly ReceiptEvent[]) => readonly ReceiptEvent[]
}

const unknown = { status: 'unknown' } as const
export const request: Uint8Array = utf8('{"model":"demo-model","provider":{"aci_verified":true},"messages":[]}')
const forwarded = '{"model":"demo-model","messages":[]}'
export const response: Uint8Array = utf8('{"choices":[]}')

export async function keepExchange(changes: Changes = {}): Promise<Kept> {
  const same = (events: readonly ReceiptEvent[]): readonly ReceiptEvent[] => events
  const announced = changes.models === undefined ? {} : { descriptor: { models: changes.models } }
  const [controller, worker] = [await createEnclave('controller'), await createEnclave('worker', announced)]
  const [nonce, clientNonce] = [nonceOf('report'), nonceOf('request')]
  const workerNonce = nonceOf('worker')
  const workerReport = await worker.report(workerNonce)
  const document: SessionDocument = {
    api_version: 'aci/1',
    upstream_name: 'worker',
    endpoint: null,
    verifier_id: 'test',
    established_at: servedAt - 100,
    expires_at: servedAt + 1000,
    identity: { workload_keyset_digest: worker.digest },
    channel_binding: [{ type: 'tls_spki_sha256', origin: 'https://worker.invalid', spki_sha256: worker.spki }],
    claims: {
      tee_attested: unknown,
      gpu_attested: unknown,
      tcb_up_to_date: unknown,
      os_known_good: unknown,
      serving_software_known_good: unknown,
      model_weights_provenance: unknown,
      extra: {},
    },
    evidence: await sessionEvidence(workerReport, workerNonce),
    ...changes.session,
  }
  const workerReceipt = worker.receipt(
    (changes.workerEvents ?? same)([
      { type: 'request.received', body_hash: sha(forwarded) },
      { type: 'veritee.request', client_nonce: clientNonce },
      modelEvent,
      { type: 'response.returned', body_hash: sha(response) },
    ]),
  )
  const receipt = controller.receipt(
    (changes.events ?? same)([
      { type: 'request.received', body_hash: sha(request) },
      { type: 'request.forwarded', body_hash: sha(forwarded) },
      { type: 'veritee.request', client_nonce: clientNonce },
      { type: 'upstream.verified', result: 'verified', required: true, model_id: 'demo-model', session_id: await sessionId(document) },
      { type: 'veritee.upstream_receipt', digest: await receiptDigest(parseReceipt(workerReceipt)), result: 'match', reason: null },
      { type: 'response.returned', body_hash: sha(response) },
    ]),
  )
  return {
    controller,
    worker,
    trust: await trust(),
    nonce,
    clientNonce,
    request,
    response,
    report: await controller.report(nonce),
    workerReport,
    session: JSON.stringify(document),
    receipt,
    workerReceipt,
  }
}

interface Evidence {
  readonly attestation: { readonly evidence: { readonly quote_b64: string; readonly collateral: unknown } }
}

/** The parts of a bundle of everything that was kept. */
export function partsOf(kept: Kept): BundleParts & { readonly exchange: NonNullable<BundleParts['exchange']> } {
  const { evidence } = (JSON.parse(kept.report) as Evidence).attestation
  const { request: requestBody, response: responseBody, receipt, session, workerReceipt } = kept
  return {
    quote: fromBase64(evidence.quote_b64),
    collateral: collateralFromJson(evidence.collateral),
    report: kept.report,
    exchange: { requestBody, responseBody, receipt, session, workerReceipt },
  }
}

export function bundleOf(kept: Kept): string {
  return createBundle(partsOf(kept))
}

/** A policy that the two accept; `changes` are to the section of one role. */
export function policyFor(changes: { readonly controller?: Partial<EvidencePolicy>; readonly worker?: Partial<EvidencePolicy> } = {}): Policy {
  const section = (name: 'controller' | 'worker'): EvidencePolicy => ({
    tee: ['sgx'],
    simulated: 'allow',
    physical: 'any',
    debug: 'refuse',
    identity: [{ mrenclave: measured(name).mrenclave }],
    attributes: 'any',
    tdx: 'any',
    tcb: { statuses: ['UpToDate'], advisories: [], minTcbEvaluationDataNumber: 20, gracePeriod: 0 },
    platform: { fmspc: { allow: 'any', deny: [] }, ppid: { allow: 'any', deny: [] }, dynamicPlatform: 'any', cachedKeys: 'any', smt: 'any' },
    maxCollateralAge: 86_400,
    maxAttestationAge: 'any',
    models: name === 'worker' ? { [demoModel.name]: demoModel.files.map((file) => file.sha256) } : 'any',
    engine: 'any',
    operator: 'any',
    release: 'any',
    log: 'any',
    channel: 'attested',
    ...changes[name],
  })
  return { version: 'veritee.policy.v1', roles: { controller: section('controller'), worker: section('worker') } }
}

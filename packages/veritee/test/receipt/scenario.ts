import { consistencyProof, type Json, jcs, leavesOf, toHex, utf8 } from '../../src/bytes/index.ts'
import type { EvidencePolicy, Policy } from '../../src/policy/index.ts'
import {
  type Exchange,
  type ExchangeRecords,
  parseReceipt,
  parseReport,
  type ReceiptEvent,
  receiptDigest,
  type SessionDocument,
  StreamTree,
  sessionEvidence,
  sessionId,
  type VerifiedExchange,
  type VerifiedReport,
  verifyExchange,
  verifyReport,
} from '../../src/receipt/index.ts'
import { createEnclave, demoModel, judgedAt, measured, modelEvent, nonceOf, seconds, sha, start, type TestEnclave, trust } from './enclaves.ts'

/** One exchange through a controller, with the switches by which a test makes it go wrong at its source. */
export interface Wishes {
  readonly stream?: boolean
  readonly controller?: TestEnclave
  readonly worker?: TestEnclave
  /** Who signs the worker's receipt, where it is not the worker. */
  readonly workerSigner?: TestEnclave
  readonly controllerEvents?: (events: readonly ReceiptEvent[]) => readonly (ReceiptEvent | Json)[]
  readonly workerEvents?: (events: readonly ReceiptEvent[]) => readonly (ReceiptEvent | Json)[]
  readonly controllerReceipt?: { readonly [name: string]: Json }
  readonly workerReceipt?: { readonly [name: string]: Json }
  readonly session?: Partial<SessionDocument>
  readonly sessionNonce?: string
}

export interface Scenario {
  readonly controller: TestEnclave
  readonly worker: TestEnclave
  readonly service: VerifiedReport
  readonly exchange: Exchange
  readonly records: ExchangeRecords
  readonly sessionDocument: SessionDocument
  /** Events of the answer, where it is a stream. */
  readonly events: readonly string[]
}

export const requestText = '{"model":"demo-model","provider":{"aci_verified":true,"order":[1]},"messages":[]}'
export const forwardedText = '{"model":"demo-model","provider":{"order":[1]},"messages":[]}'
export const plainAnswer = '{"id":"chatcmpl-1","choices":[]}'
export const streamEvents = ['data: {"a":1}\n\n', 'data: {"b":2}\n\n', 'data: {"c":3}\n\n', 'data: [DONE]\n\n'] as const
export const clientNonce: string = nonceOf('client nonce')
const reportNonce = nonceOf('client challenge')

let enclaves: Promise<{ controller: TestEnclave; worker: TestEnclave }> | null = null
async function defaults(): Promise<{ controller: TestEnclave; worker: TestEnclave }> {
  enclaves ??= (async () => ({ controller: await createEnclave('controller'), worker: await createEnclave('worker') }))()
  return enclaves
}

export async function treeOf(events: readonly string[]): Promise<StreamTree> {
  const tree = new StreamTree()
  for (const event of events) await tree.append(utf8(event))
  return tree
}

export async function prefixText(events: readonly string[], prefix: number): Promise<string> {
  return jcs({ prefix, consistency: (await consistencyProof(leavesOf((await treeOf(events)).leaves), prefix)).map(toHex) })
}

/** What the controller publishes of its verification of the worker. */
export async function sessionOf(
  worker: TestEnclave,
  changes: Partial<SessionDocument> = {},
  nonce = nonceOf('controller challenge'),
): Promise<SessionDocument> {
  const unknown = { status: 'unknown' } as const
  const claims = {
    tee_attested: unknown,
    gpu_attested: unknown,
    tcb_up_to_date: unknown,
    os_known_good: unknown,
    serving_software_known_good: unknown,
  }
  return {
    api_version: 'aci/1',
    upstream_name: 'worker',
    endpoint: 'https://127.0.0.1:1',
    verifier_id: 'test/1',
    established_at: seconds(start) + 60,
    expires_at: seconds(start) + 3600,
    identity: { workload_keyset_digest: worker.digest },
    channel_binding: [{ type: 'tls_spki_sha256', origin: 'https://127.0.0.1:1', spki_sha256: worker.spki }],
    claims: { ...claims, model_weights_provenance: unknown, extra: { simulated: true, number: 3, word: 'x' } },
    evidence: await sessionEvidence(await worker.report(nonce), nonce),
    ...changes,
  }
}

export async function makeScenario(wishes: Wishes = {}): Promise<Scenario> {
  const { controller = (await defaults()).controller, worker = (await defaults()).worker, stream = false } = wishes
  const events = stream ? [...streamEvents] : []
  const body = stream ? events.join('') : plainAnswer
  const tree = stream ? await treeOf(events) : null
  const streamed: ReceiptEvent[] = tree === null ? [] : [await tree.event()]
  const same = (list: readonly ReceiptEvent[]): readonly ReceiptEvent[] => list
  const echo: ReceiptEvent = { type: 'veritee.request', client_nonce: clientNonce }
  const returned: ReceiptEvent = { type: 'response.returned', body_hash: sha(body) }
  const forwarded = sha(forwardedText)

  const workerReceipt = (wishes.workerSigner ?? worker).receipt(
    (wishes.workerEvents ?? same)([{ type: 'request.received', body_hash: forwarded }, echo, modelEvent, ...streamed, returned]),
    wishes.workerReceipt,
  )
  const sessionDocument = await sessionOf(worker, wishes.session, wishes.sessionNonce)
  const id = await sessionId(sessionDocument)
  const receipt = controller.receipt(
    (wishes.controllerEvents ?? same)([
      { type: 'request.received', body_hash: sha(requestText) },
      echo,
      { type: 'request.forwarded', body_hash: forwarded },
      { type: 'upstream.verified', result: 'verified', required: true, model_id: 'demo-model', session_id: id },
      { type: 'veritee.upstream_receipt', digest: await receiptDigest(parseReceipt(workerReceipt)), result: 'match', reason: null },
      ...streamed,
      returned,
    ]),
    wishes.controllerReceipt,
  )
  const service = await verifyReport(parseReport(await controller.report(reportNonce)), reportNonce, await trust(), judgedAt)
  return {
    controller,
    worker,
    service,
    exchange: { requestBody: utf8(requestText), responseHash: sha(body), stream: tree, complete: true, clientNonce },
    records: { receipt, prefixProof: null, session: { id, text: JSON.stringify(sessionDocument) }, workerReceipt, workerPrefixProof: null },
    sessionDocument,
    events,
  }
}

const section: EvidencePolicy = {
  tee: ['sgx'],
  simulated: 'allow',
  physical: 'any',
  debug: 'refuse',
  identity: [{ mrenclave: measured('worker').mrenclave }],
  attributes: 'any',
  tdx: 'any',
  tcb: { statuses: ['UpToDate'], advisories: [], minTcbEvaluationDataNumber: 20, gracePeriod: 0 },
  platform: { fmspc: { allow: 'any', deny: [] }, ppid: { allow: 'any', deny: [] }, dynamicPlatform: 'any', cachedKeys: 'any', smt: 'any' },
  maxCollateralAge: 86_400,
  maxAttestationAge: 3600,
  models: { 'demo-model': demoModel.files.map((file) => file.sha256) },
  engine: 'any',
  operator: 'any',
  release: 'any',
  log: 'any',
  channel: 'attested',
}

/** The client's policy: these two programs, these weights. */
export function policyOf(worker: Partial<EvidencePolicy> = {}, controller: Partial<EvidencePolicy> = {}): Policy {
  const identity = [{ mrenclave: measured('controller').mrenclave }]
  return {
    version: 'veritee.policy.v1',
    roles: { controller: { ...section, identity, models: 'any', channel: 'loopback', ...controller }, worker: { ...section, ...worker } },
  }
}

export async function verifyScenario(
  { exchange, records, service }: Scenario,
  changes: { exchange?: Partial<Exchange>; records?: Partial<ExchangeRecords>; policy?: Policy; at?: Date } = {},
): Promise<VerifiedExchange> {
  return verifyExchange(
    { ...exchange, ...changes.exchange },
    { ...records, ...changes.records },
    service,
    changes.policy ?? policyOf(),
    await trust(),
    changes.at ?? judgedAt,
  )
}

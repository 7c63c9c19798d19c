import { createHash } from 'node:crypto'
import { platformId } from 'veritee/admission'
import type { Trust } from 'veritee/attestation'
import { type Json, jcs, jcsDigest, toHex } from 'veritee/bytes'
import type { Proof } from 'veritee/client'
import type { VeriteeError } from 'veritee/errors'
import type { AuditView } from 'veritee/log'
import { eventOf, type ModelEvent, type Receipt, type VerifiedReport, WorkerFault } from 'veritee/receipt'
import {
  type AuditedReplay,
  type AuditedView,
  auditVersion,
  type Fault,
  faults,
  maxRecordTokens,
  type Obstacle,
  type UnsignedAuditRecord,
  type WorkerId,
} from 'veritee/scoring'
import { type ExchangeRecord, type ReplayReport, textOfAnswer } from '../../replay/index.ts'
import type { NamedReports } from '../named-reports.ts'
import { type Probe, probeBody } from '../probes/probe.ts'
import { headersOf } from '../probes/programs.ts'
import { signedExcess, signedTime } from './bounds.ts'
import { type Exchanged, exchange } from './exchange.ts'
import type { KnownWorker, Path } from './path.ts'
import { faultOf, replayReasonOf } from './reasons.ts'
import { look, type Seen, signedFault } from './seen.ts'
import { undecided } from './undecided.ts'

export interface AuditContext {
  readonly network: string
  /** Of the admission manifest: under which machines have their names. */
  readonly salt: string
  /** Ed25519, 32 bytes hex. */
  readonly validator: string
  readonly epoch: number
  readonly trust: Trust
  readonly now: () => Date
  /** Milliseconds of a clock that only goes forward, for timings. */
  readonly clockMs: () => number
  /** Runs an answer again; null where this validator has no weights for it. */
  readonly replay: ((record: ExchangeRecord, model: ModelEvent) => Promise<Replayed | null>) | null
  /** Where the view of a receipt stands in the log that the receipt promises; null where it is not found there, or where no log is asked. */
  readonly findInLog: ((view: AuditView) => Promise<AuditedView['log']>) | null
  /** Whose keyset it is where the report that came does not say; null where nothing is remembered. */
  readonly named: NamedReports | null
  /** How long an answer may take. */
  readonly timeoutMs: number
}

/** An answer run again, and by which calibration: its digest, null where none was at hand for the two engines. */
export interface Replayed {
  readonly report: ReplayReport
  readonly calibration: string | null
}

/** What one audit found, with what it rests on. */
export interface Audited {
  readonly record: UnsignedAuditRecord
  /** Documents as they came: for fraud proofs, appeals, and for looking at the chain of a keyset. It holds this validator's own prompt and the answer. */
  readonly evidence: AuditEvidence
}

export interface AuditEvidence {
  readonly request: string
  readonly response: string
  readonly contentType: string
  /** Of the worker, as the session holds it, or over a nonce of this machine; null where none came that verifies. */
  readonly report: string | null
  readonly workerReceipt: string | null
  readonly receiptKey: string | null
  readonly replay: ReplayReport | null
  /** Of organic traffic, the signed audit view (JSON) and nothing else but the report. */
  readonly view?: string
  /** Statements of the same keyset that contradict its place in the chain, signed (JSON). */
  readonly beside?: readonly string[]
}

/**
 * Sends a probe as any client sends a request, verifies the answer in full (evidence, TCB, policy, keys, both receipts, bytes, weights), and runs it again.
 * Never throws for what others did wrong: that is what the record is for.
 *
 * Who is charged follows rules S5 and S19: the worker only where its own signed receipt shows the fault, or where nobody stood between; else whoever's channel
 * delivered the answer.
 */
export async function auditProbe(context: AuditContext, path: Path, model: string, probe: Probe): Promise<Audited> {
  const seconds = (): number => context.now().getTime() / 1000
  const sent = seconds()
  const { exchanged, timedOut } = await sendProbe(path, model, probe, context)
  const ended = seconds()
  const seen = await look(exchanged, path.operators, context)
  return recordOf(context, path, model, probe, seen, await found(context, { exchanged, timedOut, canary: probe.canary, sent, ended }, seen))
}

/** Asks as the program of the probe's client asks. */
export async function sendProbe(
  path: Path,
  model: string,
  probe: Probe,
  { clockMs, timeoutMs }: Pick<AuditContext, 'clockMs' | 'timeoutMs'>,
): Promise<{ readonly exchanged: Exchanged; readonly timedOut: boolean }> {
  const signal = AbortSignal.timeout(timeoutMs)
  const { program } = probe
  const exchanged = await exchange(path, probeBody(model, program, probe), headersOf(program, probe.options), { clockMs, signal })
  return { exchanged, timedOut: signal.aborted }
}

async function found(
  context: AuditContext,
  {
    exchanged,
    timedOut,
    canary,
    sent,
    ended,
  }: Pick<Probe, 'canary'> & { readonly exchanged: Exchanged; readonly timedOut: boolean; readonly sent: number; readonly ended: number },
  seen: Seen,
): Promise<Found> {
  const { proof, failure: error } = exchanged
  const signed = await signedFault(seen)
  if (signed !== null) return { reason: signed, error, shown: true }
  const untimely = proof?.status === 'verified' ? signedTime(seen, sent, ended) : null
  if (untimely !== null) return { reason: untimely, error, shown: true }
  if (error !== null) return { reason: timedOut ? 'timeout' : faultOf(error), error, shown: error instanceof WorkerFault }
  return proof === null ? { reason: 'answer_malformed', error, shown: false } : judge(context, proof, canary, seen)
}

interface Found {
  readonly reason: Fault | Obstacle | null
  readonly error: VeriteeError | null
  /** What the worker signed shows it. */
  readonly shown: boolean
  readonly replay?: Replayed | null
}

/** An answer that verified: how it ended, and whether the same comes out again. */
async function judge(context: AuditContext, proof: Proof, canary: Probe['canary'], seen: Seen): Promise<Found> {
  const { request, answer, receipt, worker, receiptKey } = seen
  if (proof.status !== 'verified') return { reason: 'cut_off', error: null, shown: false }
  if (proof.outcome === 'error') return { reason: 'answer_error', error: null, shown: true }
  const model = receipt === null ? undefined : eventOf(receipt, 'veritee.model')
  if (receipt === null || worker === null || answer === null || model === undefined) return { reason: 'upstream_mismatch', error: null, shown: false }
  const excess = signedExcess(seen)
  if (excess !== null) return { reason: excess, error: null, shown: true }
  const record: ExchangeRecord = {
    receipt: JSON.stringify(receipt.document),
    request,
    response: answer.body,
    receiptKey,
    signer: { keyset: worker.report.keyset, keysetDigest: worker.report.keysetDigest },
  }
  const replay = (await context.replay?.(record, model)) ?? null
  const reason = replay === null ? 'replay_unavailable' : replayReasonOf(replay.report)
  const told = canary === null ? reason : againstExpected(reason, seen, canary.expected, replay?.report ?? null)
  return { reason: told, error: null, shown: true, replay }
}

/**
 * What the answer to a canary adds to its replay. Where the replay came to no end, whatever kept it from one, and the worker says that it runs this very engine so that
 * equal bits can be demanded, another text than the expected one is a fault. Where the replay passed, this validator's own engine has given two answers.
 */
function againstExpected(
  reason: Fault | Obstacle | null,
  { answer, receipt }: Seen,
  expected: string,
  replay: ReplayReport | null,
): Fault | Obstacle | null {
  if (reason !== null && isFault(reason)) return reason
  const text = answer === null ? null : textOfAnswer(answer.body, answer.contentType.startsWith('text/event-stream'))
  if (text === expected) return reason
  if (reason === null) return 'engine_not_replayable'
  const inference = receipt === null ? undefined : eventOf(receipt, 'veritee.inference')
  const here = replay?.engines?.here
  const same = here !== undefined && inference?.profile === 'canonical' && jcs({ ...inference.engine }) === jcs({ ...here })
  return same ? 'canary_mismatch' : reason
}

async function recordOf(
  context: AuditContext,
  path: Path,
  model: string,
  probe: Probe,
  seen: Seen,
  { reason, error, shown, replay = null }: Found,
): Promise<Audited> {
  const { worker, receipt, answer } = seen
  const own = worker === null ? null : await workerId(context.salt, { ...worker.report, operator: seen.operator })
  // Who is asked directly cannot shed its name by new keys that nobody signed for.
  const id = own ?? path.known?.worker ?? null
  const described = worker?.report.descriptor.models.find(({ name }) => name === model)
  const audited = await auditedReplay(replay, receipt)
  const { reason: told, verdict, charged } = charge(path, { reason, shown, seen, id })
  const inference = receipt === null ? undefined : eventOf(receipt, 'veritee.inference')
  const record: UnsignedAuditRecord = {
    ...headOf(context, probe),
    worker: id,
    keyset: own === null ? (path.known?.keyset ?? null) : (worker?.report.keysetDigest ?? null),
    model: described === undefined ? null : { name: described.name, weights: await jcsDigest(described.files as unknown as Json) },
    path: path.operators,
    attestation: attestationOf(seen, error),
    view: seen.view === null ? null : { digest: await jcsDigest(seen.view as unknown as Json), log: (await context.findInLog?.(seen.view)) ?? null },
    replay: audited,
    timings: timingsOf(answer),
    output_tokens: audited?.tokens.total ?? toldTokens(inference?.completion_tokens),
    verdict,
    reason: told,
    charged,
  }
  return {
    record,
    evidence: {
      request: keptText(seen.request),
      response: answer === null ? '' : keptText(answer.body),
      contentType: answer?.contentType ?? '',
      report: worker?.text ?? null,
      workerReceipt: receipt === null ? null : JSON.stringify(receipt.document),
      receiptKey: seen.receiptKey === null ? null : toHex(seen.receiptKey),
      replay: replay?.report ?? null,
    },
  }
}

/** Whose record it is, of which epoch and probe, and when it ended: now. */
function headOf(
  { network, validator, epoch, now }: AuditContext,
  { index, canary }: Pick<Probe, 'index' | 'canary'>,
): Pick<UnsignedAuditRecord, 'version' | 'network' | 'validator' | 'epoch' | 'index' | 'at' | 'kind' | 'canary'> {
  const at = Math.floor(now().getTime() / 1000)
  const kind = canary === null ? 'probe' : 'canary'
  return { version: auditVersion, network, validator, epoch, index, at, kind, canary: canary?.commitment ?? null }
}

/** Rules S5 and S19. What only the accused can have signed is a `fail`; all else counts against whoever delivered it, and convicts nobody. */
function charge(
  { operators }: Path,
  { reason, shown, seen, id }: Pick<Found, 'reason' | 'shown'> & { seen: Seen; id: WorkerId | null },
): Pick<UnsignedAuditRecord, 'reason' | 'verdict' | 'charged'> {
  const unattributable = (fault: Fault): Pick<UnsignedAuditRecord, 'reason' | 'verdict' | 'charged'> => ({
    reason: fault,
    verdict: 'unattributable',
    charged: operators.length === 0 && id !== null ? 'worker' : 'controller',
  })
  // Nobody signed that the worker is his, as far as this channel showed: an honest controller admits no such worker, and could have left the signature out.
  if (seen.operator === null && (reason === null || !isFault(reason))) return unattributable('attestation_unavailable')
  if (reason === null) {
    // Without a view others cannot find the receipt, so nobody could look after this audit.
    return seen.view === null ? { reason: 'view_unavailable', verdict: 'inconclusive', charged: null } : { reason, verdict: 'pass', charged: null }
  }
  if (!isFault(reason)) return { reason, verdict: 'inconclusive', charged: null }
  return shown && seen.operator !== null && seen.view !== null ? { reason, verdict: 'fail', charged: 'worker' } : unattributable(reason)
}

function isFault(reason: Fault | Obstacle): reason is Fault {
  return Object.hasOwn(faults, reason)
}

/** By the network's names; null where no operator says by a signature that the enclave is his: nobody may be charged for, or gain by, what another names as his (rule S17). */
export async function workerId(salt: string, { claims, operator }: Pick<VerifiedReport, 'claims' | 'operator'>): Promise<WorkerId | null> {
  return operator === null ? null : { operator, platform: await platformId(salt, claims.platform), slot: 0 }
}

function attestationOf({ worker }: Seen, error: VeriteeError | null): UnsignedAuditRecord['attestation'] {
  if (worker === null) return error === null ? null : { verdict: 'unavailable', code: error.code, evidence: null, collateral: null }
  const report = JSON.parse(worker.text) as { readonly attestation: { readonly evidence: { readonly collateral: Json } } }
  const evidence = sha256(worker.text)
  const collateral = sha256(jcs(report.attestation.evidence.collateral))
  const code = error?.code ?? ''
  return error !== null && code.startsWith('policy_') && code !== 'policy_models' && code !== 'policy_receipt'
    ? { verdict: 'rejected', code: error.code, evidence, collateral }
    : { verdict: 'accepted', code: null, evidence, collateral }
}

/** As many as a record can tell: a worker may sign any number. */
export function toldTokens(count: number | null | undefined): number {
  return Math.min(count ?? 0, maxRecordTokens)
}

/** What a record says of a replay; null where it did not come to a comparison. */
export async function auditedReplay(replay: Replayed | null, receipt: Receipt | null): Promise<AuditedReplay | null> {
  if (replay === null) return null
  const { report, calibration } = replay
  if (report.level === null || report.engines === null) return null
  const reason = replayReasonOf(report)
  const outcome = report.verdict === 'fail' && reason !== 'replay_mismatch' ? 'inconclusive' : report.verdict
  const total = receipt === null ? 0 : toldTokens(eventOf(receipt, 'veritee.inference')?.completion_tokens)
  return {
    level: report.level,
    outcome,
    engine: await jcsDigest(report.engines.here as unknown as Json),
    calibration: report.level === 2 ? calibration : null,
    tokens: report.tokens ?? { total, equal: Math.min(total, report.position ?? 0), near: report.level === 2 ? 0 : null },
  }
}

function timingsOf(answer: Seen['answer']): UnsignedAuditRecord['timings'] {
  if (answer === null || answer.firstMs === null) return null
  const first_ms = Math.max(0, Math.round(answer.firstMs))
  return { worker: null, validator: { first_ms, total_ms: Math.max(first_ms, Math.round(answer.lastMs)) } }
}

/** A byte order mark is kept: whoever reads the text again has the same bytes. */
function keptText(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)
}

function sha256(text: string): string {
  return `sha256:${createHash('sha256').update(text).digest('hex')}`
}

/** The record of an audit that came to no end, by what nobody foresaw: nothing was established. */
export function unjudged(context: AuditContext, { operators, known }: Path, probe: Probe): Audited {
  const record: UnsignedAuditRecord = {
    ...headOf(context, probe),
    worker: known?.worker ?? null,
    keyset: known?.keyset ?? null,
    model: null,
    path: operators,
    attestation: null,
    view: null,
    replay: null,
    timings: null,
    output_tokens: 0,
    verdict: 'inconclusive',
    reason: 'replay_unavailable',
    charged: null,
  }
  return { record: undecided(record), evidence: nothingKept }
}

const nothingKept: AuditEvidence = { request: '', response: '', contentType: '', report: null, workerReceipt: null, receiptKey: null, replay: null }

/** Who did not show what it is: a controller by its operator, or a worker that was asked directly and is known from before. */
export type Silent = { readonly operator: string } | KnownWorker

/** The record of a probe that could not be sent, since whoever was to be asked did not show what it is. `code` says why. It convicts nobody. */
export function unreachable(context: AuditContext, silent: Silent, probe: Probe, code: string): Audited {
  const known = 'worker' in silent ? silent : null
  const record: UnsignedAuditRecord = {
    ...headOf(context, probe),
    worker: known?.worker ?? null,
    keyset: known?.keyset ?? null,
    model: null,
    path: 'operator' in silent ? [silent.operator] : [],
    attestation: { verdict: 'unavailable', code: code.slice(0, 64), evidence: null, collateral: null },
    view: null,
    replay: null,
    timings: null,
    output_tokens: 0,
    verdict: 'unattributable',
    reason: 'attestation_unavailable',
    charged: known === null ? 'controller' : 'worker',
  }
  return { record, evidence: nothingKept }
}

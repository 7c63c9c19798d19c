import { createHash } from 'node:crypto'
import type { Trust, Verified } from 'veritee/attestation'
import { type Json, jcs, jcsDigest, leafHash, toHex } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import { type AuditView, chainFaults, logEntry, parseLogStatement, type SignedLogStatement, verifyLogStatement } from 'veritee/log'
import { type Policy, policyFor } from 'veritee/policy'
import { evaluateReport, parseReport, ReceiptKeys, type VerifiedReport, verifyReport } from 'veritee/receipt'
import { auditVersion, type Fault, type Obstacle, type UnsignedAuditRecord } from 'veritee/scoring'
import { type Audited, toldTokens, workerId } from '../audit/audit.ts'
import { faultOf } from '../audit/reasons.ts'
import { type ContentAudits, replayContent } from '../content/replay.ts'
import type { OrganicLeaf } from './choose.ts'
import type { Reports } from './reports.ts'
import type { Window } from './window.ts'

export interface OrganicContext {
  readonly network: string
  /** Of the admission manifest: under which machines have their names. */
  readonly salt: string
  /** Ed25519, 32 bytes hex. */
  readonly validator: string
  readonly epoch: number
  /** First second of the epoch, and the first after it. */
  readonly opens: number
  readonly closes: number
  readonly trust: Trust
  /** Whose evidence counts: its section for workers judges. */
  readonly policy: Policy
  readonly origin: string
  readonly window: Window
  readonly reports: Pick<Reports, 'of'>
  /** Contents that requesters handed over; null where none are taken. */
  readonly contents: ContentAudits | null
}

/**
 * Audits a receipt of others that was chosen, by its audit view alone (rule S6), in this order: the view hashes to the leaf; a report binds its keyset, and a key of that signed it; the keyset is a worker's, its
 * evidence accepted, and not over when the receipt was signed; the weights are those that the keyset announces; nothing beside it in the log contradicts its place in the chain. That the leaf is in the log the
 * caller has verified. What was asked and answered nobody looks at, unless the requester handed it over: then the answer is run again, and may show a fault that the view does not.
 *
 * Evidence is judged as of the last second of the epoch, or of its keyset where that ended before. How old the attestation was is waived: a view does not tell.
 * Throws what reading views throws while the log is away.
 */
export async function auditOrganic(context: OrganicContext, index: number, at: OrganicLeaf): Promise<Audited> {
  const lines = await context.window.bundle(Math.floor(at.index / 256))
  const signed = await statementOf(lines?.[at.index % 256], at.leaf)
  const view = signed === null ? null : viewOf(signed)
  if (signed === null || view === null) return hidden(context, index, at)
  const worker = await workerOf(context, view)
  if (worker === null) return stranger(context, index, at, view, 'attestation_unavailable')
  const { report, text } = worker
  if ((await genuine(signed, worker)) === null) return stranger(context, index, at, view, 'receipt_signature_invalid')
  const { model } = view
  if (report.descriptor.role !== 'worker' || model === null) return hidden(context, index, at)
  const id = await workerId(context.salt, report)
  if (id === null) return stranger(context, index, at, view, 'attestation_unavailable')
  const rejected = judged(context, report)
  const { reason: shown, beside } =
    rejected === null ? await faultIn(context, at, signed, worker, { ...view, model }) : { reason: faultOf(rejected), beside: [] }
  const content =
    shown !== null || context.contents === null ? null : await replayContent(context.contents, at.leaf, toldTokens(view.tokens.completion))
  const reason = shown ?? content?.reason ?? null
  const record: UnsignedAuditRecord = {
    ...headOf(context, index, at, view),
    worker: id,
    keyset: report.keysetDigest,
    model: { name: model.name, weights: model.weights },
    attestation: attestationOf(text, rejected),
    replay: content?.replay ?? null,
    output_tokens: toldTokens(view.tokens.completion),
    ...(reason === null ? { verdict: 'pass', reason, charged: null } : { verdict: 'fail', reason, charged: 'worker' }),
  }
  return { record: { ...record, view: await named(at, context.origin, view) }, evidence: kept(text, signed, beside) }
}

/** That of the leaf, and no other. */
export async function statementOf(line: string | undefined, leaf: string): Promise<SignedLogStatement | null> {
  if (line === undefined || line === '') return null
  try {
    const signed = parseLogStatement(line)
    return toHex(await leafHash(await logEntry(signed.statement))) === leaf ? signed : null
  } catch (error) {
    return ofOthers(error)
  }
}

function viewOf({ statement }: SignedLogStatement): AuditView | null {
  return statement.version === 'veritee.audit-view.v1' ? statement : null
}

interface Signer {
  readonly report: VerifiedReport
  readonly text: string
  readonly keys: ReceiptKeys
}

/** Whose keyset it is, by evidence that verifies here, and that names the operator where any does (rule S17): who passed a report on may have spoiled it. Null where none verifies. */
async function workerOf(context: OrganicContext, view: AuditView): Promise<Signer | null> {
  let found: Signer | null = null
  for await (const text of context.reports.of(view.workload_keyset_digest)) {
    const signer = await signerOf(context, text, view)
    if (signer !== null && signer.report.operator !== null) return signer
    found ??= signer
  }
  return found
}

/** Null for a report that does not verify here, or binds another keyset. */
async function signerOf({ closes, trust }: OrganicContext, text: string, view: AuditView): Promise<Signer | null> {
  try {
    const parsed = parseReport(text)
    const judgedAt = new Date(Math.min(closes - 1, parsed.keyset.not_after - 1) * 1000)
    const report = await verifyReport(parsed, 'stated', trust, judgedAt)
    return report.keysetDigest === view.workload_keyset_digest ? { report, text, keys: new ReceiptKeys(report.keyset) } : null
  } catch (error) {
    return ofOthers(error)
  }
}

/** The statement, where the keyset signed it. */
async function genuine(signed: SignedLogStatement, { keys, report }: Signer): Promise<Verified<SignedLogStatement> | null> {
  try {
    return await verifyLogStatement(signed, keys, report.keysetDigest)
  } catch (error) {
    return ofOthers(error)
  }
}

/** Why the network does not take this evidence; null where it does. */
function judged({ policy, closes }: OrganicContext, report: VerifiedReport): VeriteeError | null {
  const section = { ...policyFor(policy, 'worker'), maxAttestationAge: 'any' as const }
  const at = new Date(Math.min(closes - 1, report.keyset.not_after - 1) * 1000)
  const { error } = evaluateReport(report, section, { role: 'worker', at, attestedAt: null, channel: 'stored' })
  return error === null ? null : fail(error.code, error.message)
}

async function faultIn(
  context: OrganicContext,
  at: OrganicLeaf,
  signed: SignedLogStatement,
  worker: Signer,
  { served_at, model }: { readonly served_at: number; readonly model: NonNullable<AuditView['model']> },
): Promise<{ readonly reason: Fault | null; readonly beside: readonly SignedLogStatement[] }> {
  const { keyset, descriptor } = worker.report
  if (served_at >= keyset.not_after) return { reason: 'keyset_expired', beside: [] }
  const announced = descriptor.models.find(({ name }) => name === model.name)
  if (announced === undefined || (await jcsDigest(announced.files as unknown as Json)) !== model.weights)
    return { reason: 'model_mismatch', beside: [] }
  const forks = await forksBeside(context, at, signed, worker)
  return {
    reason: forks.length > 0 ? 'chain_broken' : null,
    beside: forks.flat().filter(({ signature }) => toHex(signature) !== toHex(signed.signature)),
  }
}

/** Pairs of statements of the same keyset, in this bundle or one beside it, that contradict each other, one of them this one: both are signed by the worker. */
async function forksBeside(
  { window }: OrganicContext,
  at: OrganicLeaf,
  signed: SignedLogStatement,
  worker: Signer,
): Promise<(readonly SignedLogStatement[])[]> {
  const bundle = Math.floor(at.index / 256)
  const statements: Verified<SignedLogStatement>[] = []
  for (const near of [bundle, bundle - 1, bundle + 1]) {
    const lines = near < 0 ? null : await window.bundle(near)
    // A text that does not name the keyset is none of its statements.
    for (const line of lines ?? []) {
      const other = line.includes(worker.report.keysetDigest) ? parsed(line) : null
      const own = other === null ? null : await genuine(other, worker)
      if (own !== null) statements.push(own)
    }
  }
  const { receipt_digest: digest } = signed.statement as AuditView
  const isThis = ({ statement }: SignedLogStatement): boolean => 'receipt_digest' in statement && statement.receipt_digest === digest
  // As of no time: what is missing here may stand elsewhere.
  return chainFaults(statements, 0).flatMap((found) => (found.fault === 'fork' && found.statements.some(isThis) ? [found.statements] : []))
}

function parsed(line: string): SignedLogStatement | null {
  try {
    return parseLogStatement(line)
  } catch (error) {
    return ofOthers(error)
  }
}

/** Nothing of a worker's answer is shown at this leaf, which counts for and against nobody. */
export function hidden(context: OrganicContext, index: number, at: OrganicLeaf): Audited {
  const reason: Obstacle = 'view_unavailable'
  return { record: { ...headOf(context, index, at, null), verdict: 'inconclusive', reason, charged: null }, evidence: kept(null, null) }
}

/** A view of whom nothing that verifies is known, or that its keyset did not sign: nobody can be charged with it (rule S5). */
async function stranger(context: OrganicContext, index: number, at: OrganicLeaf, view: AuditView, reason: Fault): Promise<Audited> {
  const record: UnsignedAuditRecord = { ...headOf(context, index, at, view), verdict: 'unattributable', reason, charged: null }
  return { record: { ...record, view: await named(at, context.origin, view) }, evidence: kept(null, null) }
}

function headOf(
  { network, validator, epoch, opens, closes, origin }: OrganicContext,
  index: number,
  { index: place, leaf }: OrganicLeaf,
  view: AuditView | null,
): Omit<UnsignedAuditRecord, 'verdict' | 'reason' | 'charged'> {
  return {
    version: auditVersion,
    network,
    validator,
    epoch,
    index,
    at: view === null ? closes - 1 : Math.min(closes - 1, Math.max(opens, view.served_at)),
    kind: 'organic',
    worker: null,
    keyset: null,
    model: null,
    path: [],
    attestation: null,
    view: { digest: null, log: { origin, index: place, leaf } },
    replay: null,
    timings: null,
    output_tokens: 0,
    canary: null,
  }
}

async function named({ index, leaf }: OrganicLeaf, origin: string, view: AuditView): Promise<UnsignedAuditRecord['view']> {
  return { digest: await jcsDigest(view as unknown as Json), log: { origin, index, leaf } }
}

function attestationOf(text: string, rejected: VeriteeError | null): UnsignedAuditRecord['attestation'] {
  const report = JSON.parse(text) as { readonly attestation: { readonly evidence: { readonly collateral: Json } } }
  const evidence = sha256(text)
  const collateral = sha256(jcs(report.attestation.evidence.collateral))
  // Which weights are listed is no question of the evidence.
  return rejected === null || rejected.code === 'policy_models'
    ? { verdict: 'accepted', code: null, evidence, collateral }
    : { verdict: 'rejected', code: rejected.code, evidence, collateral }
}

function kept(report: string | null, signed: SignedLogStatement | null, beside: readonly SignedLogStatement[] = []): Audited['evidence'] {
  const statement = signed === null ? {} : { view: textOf(signed), ...(beside.length > 0 && { beside: beside.map(textOf) }) }
  return { request: '', response: '', contentType: '', report, workerReceipt: null, receiptKey: null, replay: null, ...statement }
}

function textOf({ statement, signature }: SignedLogStatement): string {
  return jcs({ ...statement, signature: toHex(signature) } as unknown as Json)
}

function ofOthers(error: unknown): null {
  if (error instanceof VeriteeError) return null
  throw error
}

function sha256(text: string): string {
  return `sha256:${createHash('sha256').update(text).digest('hex')}`
}

import { type AuditRecord, type Conviction, type Ground, parseAuditRecord } from 'veritee/scoring'
import type { EpochStore } from './store/epoch-store.ts'

/** What a validator knows, for people: where its epochs stand, the scores that came of them, and why a worker has its score. */

export interface EpochStatus {
  readonly epoch: number
  readonly phase: 'committed' | 'open' | 'published' | 'left out'
  /** Why it was left out; null where it was not. */
  readonly leftOut: string | null
  readonly records: number
  /** Tasks without a record. */
  readonly left: number
  readonly proofs: number
  readonly verdicts: Readonly<Record<AuditRecord['verdict'], number>>
}

export async function statusOf(store: EpochStore): Promise<readonly EpochStatus[]> {
  const found: EpochStatus[] = []
  for (const epoch of await store.epochs()) {
    const records = (await store.records(epoch)).map(parseAuditRecord)
    const verdicts = { pass: 0, fail: 0, inconclusive: 0, unattributable: 0 }
    for (const { verdict } of records) verdicts[verdict]++
    const published = (await store.fact(epoch, 'after')) !== null
    const opened = (await store.fact(epoch, 'opened')) !== null
    const leftOut = await store.fact(epoch, 'left out')
    found.push({
      epoch,
      phase: leftOut !== null ? 'left out' : published ? 'published' : opened ? 'open' : 'committed',
      leftOut,
      records: records.length,
      left: await store.open(epoch),
      proofs: (await store.facts(epoch, 'fraud ')).length,
      verdicts,
    })
  }
  return found
}

export interface Reasoning {
  readonly epoch: number
  readonly operator: string
  /** In plain words, each with the records behind it. */
  readonly sentences: readonly string[]
  /** Records about the operator, by index. */
  readonly records: readonly AuditRecord[]
}

const meanings: Readonly<Record<string, string>> = {
  refused: 'the request was refused',
  timeout: 'no answer came in time',
  cut_off: 'the answer broke off',
  answer_error: 'the worker signed that it failed',
  model_mismatch: 'its own receipt names other weights than it announced, or another model than was asked for',
  replay_mismatch: 'the answer came out otherwise when it was run again',
  parameters_mismatch: 'its receipt names parameters that the request did not ask for',
  outcome_mismatch: 'its receipt tells another end than the answer has',
  response_mismatch: 'what came is not what was signed',
  request_mismatch: 'what was answered is not what was asked',
  upstream_mismatch: "the controller's receipt and the worker's do not fit",
  attestation_rejected: 'its evidence is not accepted',
  attestation_unavailable: 'no evidence could be had',
  replay_unavailable: 'this validator has no weights to run the answer again',
  engine_not_replayable: 'its engine is another one than can be run here',
  receipt_key_missing: 'the key to the digests of tokens did not come',
  not_confirmable: 'what was handed over is not what the receipt is over, or shows something else',
  view_unavailable: 'no audit view of its receipt could be had, so nobody could look after the audit',
  log_omitted: 'its receipt was left out of the log that it promised, which has a later one of its keyset',
  log_pending: 'its receipt was not in the log, and nothing shows that it was left out',
  log_unavailable: 'the log could not be asked',
  chain_broken: 'what it signed contradicts itself about the order of its receipts',
}

/** Why an operator, by its key or a beginning of it, stands where it stands in an epoch. Null where nothing is known of it. */
export async function whyOf(store: EpochStore, epoch: number, operator: string): Promise<Reasoning | null> {
  const known = (await store.records(epoch)).map(parseAuditRecord).filter(({ worker }) => worker?.operator.startsWith(operator) === true)
  const key = known[0]?.worker?.operator
  if (key === undefined) return null
  const about = known.filter(({ kind }) => kind !== 'confirmation')
  const of = (verdict: AuditRecord['verdict']): readonly AuditRecord[] => about.filter((record) => record.verdict === verdict)
  const listed = (records: readonly AuditRecord[]): string => {
    const indices = records.map(({ index }) => index)
    return indices.length <= 12 ? indices.join(', ') : `${indices.slice(0, 12).join(', ')} and ${indices.length - 12} more`
  }
  const sentences = [`${about.length} audits of its workers in epoch ${epoch}; ${of('pass').length} passed.`]
  for (const verdict of ['fail', 'inconclusive', 'unattributable'] as const) {
    for (const reason of new Set(of(verdict).map((record) => record.reason ?? ''))) {
      const records = of(verdict).filter((record) => record.reason === reason)
      const against = verdict === 'fail' ? 'against it' : verdict === 'inconclusive' ? 'for and against nobody' : 'against whoever delivered it'
      sentences.push(`${records.length} ${verdict}: ${meanings[reason] ?? reason} (${against}; records ${listed(records)}).`)
    }
  }
  for (const { text } of await store.facts(epoch, 'fraud ')) {
    const { kind, report } = JSON.parse(text) as { readonly kind: string; readonly report: { readonly workload_keyset_digest: string } }
    if (about.some(({ keyset }) => keyset === report.workload_keyset_digest))
      sentences.push(`It convicted itself: a fraud proof of the kind ${kind} over keyset ${report.workload_keyset_digest}.`)
  }
  const exact = about.filter(({ replay }) => replay?.level === 1 && replay.outcome === 'fail')
  if (exact.length > 0)
    sentences.push(`Of these, ${exact.length} at level 1, where one that enough other validators confirm convicts (records ${listed(exact)}).`)
  const asked = known.filter(({ kind }) => kind === 'confirmation')
  const ending = (verdict: AuditRecord['verdict']): number => asked.filter((record) => record.verdict === verdict).length
  if (asked.length > 0)
    sentences.push(
      `${asked.length} of its answers were run again for other validators: ${ending('fail')} came out otherwise, ${ending('pass')} the same, ${ending('inconclusive')} could not be told (records ${listed(asked)}).`,
    )
  const scores = await store.fact(epoch, 'scores')
  const convicted = scores === null ? undefined : convictionIn(scores, key)
  if (convicted !== undefined) sentences.push(`It is convicted, and banned until epoch ${convicted.until}: ${groundsText(convicted.grounds)}.`)
  const scored = scores === null ? undefined : scoreIn(scores, key)
  sentences.push(
    scored === undefined
      ? 'It has no score of this epoch: without a pass there is no evidence, and without evidence no score.'
      : `Its score is ${scored.score}: ${scored.work} tokens of work, quality at least ${scored.quality_bound}, availability at least ${scored.availability_bound}, latency ${scored.latency}, speed ${scored.speed}; before it was ${scored.before}.`,
  )
  if (scored !== undefined && scored.left_out.length > 0)
    sentences.push(
      `Left out is what came through controllers of ${scored.left_out.join(', ')}, which showed more or less of it than the others: the others make up for it.`,
    )
  if (scored !== undefined && scored.allowance !== '1.000000000')
    sentences.push(
      `More answers failed when they were run again than the calibration allows for (${scored.mismatches.failures} against ${scored.mismatches.allowed} and one more): quality counts for ${scored.allowance} of it.`,
    )
  return { epoch, operator: key, sentences, records: known }
}

function convictionIn(scores: string, operator: string): Conviction | undefined {
  return (JSON.parse(scores) as { readonly convictions: readonly Conviction[] }).convictions.find((one) => one.operator === operator)
}

/** The first of them: one is enough. */
function groundsText(grounds: readonly Ground[]): string {
  const told = grounds.slice(0, 2).map(groundText).join('; ')
  return grounds.length > 2 ? `${told}; and ${grounds.length - 2} more` : told
}

function groundText(ground: Ground): string {
  switch (ground.kind) {
    case 'proof':
      return `a fraud proof over keyset ${ground.keyset}`
    case 'level1':
      return `an answer that came out otherwise (record ${ground.index} of validator ${ground.validator}), as ${ground.confirmed_by.join(' and ')} found too`
    case 'level2':
      return `too many answers that differ, by the vote of validator ${ground.validator} in epoch ${ground.epoch}`
  }
}

interface ScoredOperator {
  readonly operator: string
  readonly score: string
  readonly before: string
  readonly work: number
  readonly quality_bound: string
  readonly availability_bound: string
  readonly latency: string
  readonly speed: string
  /** Operators of controllers. */
  readonly left_out: readonly string[]
  readonly mismatches: { readonly failures: string; readonly allowed: string }
  readonly allowance: string
}

/** Operators with their numbers, of the scores that this validator computed. */
export function scoredOperators(scores: string): readonly ScoredOperator[] {
  const { validators } = JSON.parse(scores) as { readonly validators: readonly { readonly operators: readonly ScoredOperator[] }[] }
  return validators.flatMap(({ operators }) => operators)
}

function scoreIn(scores: string, operator: string): ScoredOperator | undefined {
  return scoredOperators(scores).find((one) => one.operator === operator)
}

import type { AuditedReplay, AuditRecord, WorkerId } from '../audit/record.ts'
import { workerKey } from '../state/state.ts'
import type { Judge } from './convictions.ts'

/** A mismatch at level 1 that enough others have found too. */
export interface ConfirmedMismatch {
  readonly validator: string
  readonly index: number
  readonly worker: WorkerId
  /** Who found the same, by rising key. */
  readonly by: readonly string[]
}

/**
 * Mismatches at level 1 that enough other validators confirm (rule S18), by validator and index. At this level an answer comes out in one way only, so that whoever finds the same mismatch finds it at the same
 * token, and whoever finds anything else contradicts it. Validators of one operator are one voice, and none beside that of the accuser; and where others contradict, those that agree must weigh more.
 */
export function confirmedMismatches(judges: readonly Judge[], needed: number): readonly ConfirmedMismatch[] {
  const counting = judges.filter(({ weight }) => weight > 0n)
  const confirmations = new Map<string, AuditRecord[]>()
  for (const { judged } of counting)
    for (const { record } of judged)
      if (record.kind === 'confirmation' && record.verdict !== 'inconclusive') {
        const key = aboutOf(record)
        confirmations.set(key, [...(confirmations.get(key) ?? []), record])
      }
  const found: ConfirmedMismatch[] = []
  for (const accuser of counting)
    for (const { record, charged } of accuser.judged) {
      const { kind, replay, worker, index } = record
      if (kind === 'confirmation' || replay?.level !== 1 || replay.outcome !== 'fail' || charged !== 'worker' || worker === null) continue
      const about = confirmations.get(aboutOf(record)) ?? []
      const agree = counting.filter((one) => one !== accuser && saysOf(one, about, replay) === 'same')
      const disagree = counting.filter((one) => one !== accuser && saysOf(one, about, replay) === 'other')
      const voices = new Set(agree.map(voiceOf).filter((voice) => voice !== voiceOf(accuser)))
      if (voices.size >= needed && weightOf([accuser, ...agree]) > weightOf(disagree))
        found.push({ validator: accuser.key, index, worker, by: agree.map(({ key }) => key).sort() })
    }
  return found.sort((a, b) => (a.validator < b.validator ? -1 : a.validator > b.validator ? 1 : a.index - b.index))
}

/** One answer of one worker, run again by one engine. */
function aboutOf({ worker, view, replay }: AuditRecord): string {
  return `${worker === null ? '' : workerKey(worker)}/${view?.digest ?? ''}/${replay?.engine ?? ''}`
}

/** Whoever says both has said that it is another. */
function saysOf({ key }: Judge, about: readonly AuditRecord[], { tokens }: AuditedReplay): 'same' | 'other' | null {
  const own = about.filter(({ validator }) => validator === key)
  if (own.length === 0) return null
  const same = ({ replay }: AuditRecord): boolean =>
    replay?.outcome === 'fail' && replay.tokens.total === tokens.total && replay.tokens.equal === tokens.equal
  return own.every(same) ? 'same' : 'other'
}

function voiceOf({ key, operator }: Judge): string {
  return operator ?? key
}

function weightOf(judges: readonly Judge[]): bigint {
  return judges.reduce((sum, { weight }) => sum + weight, 0n)
}

import { type Fault, type FaultClass, faults } from '../audit/reasons.ts'
import type { AuditRecord } from '../audit/record.ts'
import { workerKey } from '../state/state.ts'

/** A record as scoring takes it: after what counts as inconclusive, and who is charged in the end (rule S19). */
export interface Judged {
  readonly record: AuditRecord
  readonly own: boolean
  readonly outcome: 'pass' | 'inconclusive' | 'fault'
  /** Of a fault. */
  readonly class: FaultClass | null
  readonly charged: 'worker' | 'controller' | null
}

export const isOwn = ({ kind }: AuditRecord): boolean => kind === 'probe' || kind === 'canary'

/** The first operator between, or the direct connection, which is a path of its own. */
export const pathOf = ({ path }: AuditRecord): string => path[0] ?? ''

/**
 * Judges records of one validator (spec/scoring.md, "Who is charged"): a fault that a controller delivered is the worker's where it makes a pair with one of the
 * same class by another path within `repeatWindow` seconds. `counts` says which passes count: others are inconclusive.
 */
export function judge(records: readonly AuditRecord[], repeatWindow: number, counts: (pass: AuditRecord) => boolean): Judged[] {
  const repeated = repeatedFaults(records, repeatWindow)
  return records.map((record) => {
    const own = isOwn(record)
    if (record.verdict === 'inconclusive' || (record.verdict === 'pass' && !counts(record)))
      return { record, own, outcome: 'inconclusive', class: null, charged: null }
    if (record.verdict === 'pass') return { record, own, outcome: 'pass', class: null, charged: null }
    const charged = repeated.has(record) ? 'worker' : record.charged
    return { record, own, outcome: 'fault', class: faults[record.reason as Fault], charged }
  })
}

/** Faults of pairs: of one class, about one worker, by two paths, and near each other. A fault is in one pair, so that a controller that makes many finds no more partners than there are. */
function repeatedFaults(records: readonly AuditRecord[], window: number): ReadonlySet<AuditRecord> {
  const groups = new Map<string, AuditRecord[]>()
  for (const record of records) {
    if (!isOwn(record) || record.worker === null || record.charged === null) continue
    const key = `${workerKey(record.worker)}/${faults[record.reason as Fault]}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [record])
    else group.push(record)
  }
  const found = new Set<AuditRecord>()
  for (const group of groups.values()) {
    group.sort((a, b) => a.at - b.at || a.index - b.index)
    // All that wait came by one path: another would have been a partner. Each record comes and goes once, since whoever writes them could make a search for each take for ever.
    let waiting = 0
    const alone: AuditRecord[] = []
    for (const record of group) {
      while (waiting < alone.length && record.at - (alone[waiting] as AuditRecord).at > window) waiting++
      const partner = alone[waiting]
      if (partner === undefined || pathOf(partner) === pathOf(record)) alone.push(record)
      else {
        waiting++
        found.add(partner).add(record)
      }
    }
  }
  return found
}

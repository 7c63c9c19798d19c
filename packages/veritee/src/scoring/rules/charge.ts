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
 * Judges records of one validator (spec/scoring.md, "Who is charged"): a fault that a controller delivered is the worker's where the worker has one of the same
 * class by another path within `repeatWindow` seconds. `counts` says which passes count: others are inconclusive.
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

/** Faults that are charged to a controller and repeat by another path. */
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
    group.sort((a, b) => a.at - b.at)
    const before = otherPaths(group)
    const after = otherPaths(group.toReversed()).reverse()
    for (const [i, record] of group.entries()) {
      const near = [before[i], after[i]].some((other) => other != null && Math.abs(other.at - record.at) <= window)
      if (record.charged === 'controller' && near) found.add(record)
    }
  }
  return found
}

/** For each record the nearest one in front of it that came by another path: in one pass, since whoever writes records could make a search for each take for ever. */
function otherPaths(group: readonly AuditRecord[]): (AuditRecord | null)[] {
  let last: AuditRecord | null = null
  let other: AuditRecord | null = null
  return group.map((record) => {
    if (last !== null && pathOf(last) !== pathOf(record)) other = last
    last = record
    return other
  })
}

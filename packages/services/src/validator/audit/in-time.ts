import type { Audited } from './audit.ts'

/**
 * An audit whose answer was asked for within the epoch is one of it, however long whoever was asked took, or the answers before it to be run again: its record says the last second of the epoch then. Otherwise who
 * holds an answer back over the end would have the whole epoch left out. `closes`: the first second after it, Unix seconds. One that is begun later stays as it is.
 */
export async function inTime(closes: number, now: () => Date, audit: () => Promise<Audited>): Promise<Audited> {
  const begun = now().getTime() < closes * 1000
  const audited = await audit()
  const { record } = audited
  return begun && record.at >= closes ? { ...audited, record: { ...record, at: closes - 1 } } : audited
}

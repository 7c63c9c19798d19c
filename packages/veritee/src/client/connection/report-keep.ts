import type { ChallengedReport } from '../establish.ts'

/** What a report is kept for. Reports judged under different roots are kept apart (rule S15). */
export interface ReportKey {
  readonly url: string
  readonly role: string
  /** Digest over the trusted roots. */
  readonly roots: string
}

/** A report as it came, over a nonce of this machine, with the TLS key it came over. Evidence, not a verdict: it is verified and judged anew at each use. */
export interface KeptReport extends ChallengedReport {
  readonly spki: string | null
  /** Where it came from: the entry, or a replica behind it. */
  readonly url: string
}

/** Keeps the last report of a service between processes. */
export interface ReportKeep {
  /** Null where there is none, or none that can be read. Never throws. */
  get(key: ReportKey): Promise<KeptReport | null>
  /** Where it cannot be kept, nothing happens. */
  put(key: ReportKey, report: KeptReport): Promise<void>
  drop(key: ReportKey): Promise<void>
}

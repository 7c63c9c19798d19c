import type { ReleaseMemory } from '../../release/index.ts'
import type { ReportKeep } from '../connection/report-keep.ts'
import type { Transport } from '../transport.ts'

/** What differs between Node and browsers. */
export interface Platform {
  /** `pin`: SHA-256 of the TLS key that must be met, hex; null for whichever is met first, which the caller then looks for in the keyset. */
  readonly openTransport: (url: string, pin: string | null) => Transport
  /** Where reports are kept between processes. Throws `usage` where there is no such place. */
  readonly keepReports: (directory: string, now: () => Date) => ReportKeep
  /** Where it is remembered which release statements were seen. Throws as `keepReports`. */
  readonly keepReleases: (directory: string) => ReleaseMemory
  /** To whom bodies are encrypted where the caller does not say. */
  readonly defaultEncryptTo: 'none' | 'controller'
}

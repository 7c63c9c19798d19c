import type { Report } from './logs/log.ts'
import { reasonOf } from './repeatedly.ts'

export interface RenewalOptions {
  /** End of the keyset in force, Unix seconds. */
  readonly notAfter: () => number
  /** True once the keys have served so often that new ones are due before their end. */
  readonly worn?: () => boolean
  readonly now: () => Date
  readonly renew: () => Promise<void>
  /** Looks for newer collateral. */
  readonly refresh: () => Promise<void>
  readonly report: Report
  readonly checkMs?: number
}

/** New keys are made this long before the old ones end: requests under the old ones end in peace, and a failure can be tried again. */
const marginSeconds = 3600
const refreshMs = 3600_000

export interface Renewal {
  /** Why nobody should rely on the keys; null while they are good. */
  readonly reason: string | null
  /** Looks at the clock now; what is due is done when it returns. */
  check(): Promise<void>
  stop(): void
}

/** Makes new keys before the old ones end, by looking at the clock each minute: a timer of a day would not notice that the clock was set. */
export function keepRenewed(options: RenewalOptions): Renewal {
  const { notAfter, worn = () => false, now, renew, refresh, report, checkMs = 60_000 } = options
  let refreshed = now().getTime()
  let busy = false
  const attempt = async (what: string, act: () => Promise<void>): Promise<void> => {
    try {
      await act()
    } catch (error) {
      report(`${what} failed, trying again: ${reasonOf(error)}`, {
        event: 'keys.renewal_failed',
        level: 'warn',
      })
    }
  }
  const check = async (): Promise<void> => {
    if (busy) return
    busy = true
    const at = now().getTime()
    if (at - refreshed >= refreshMs || at < refreshed) {
      refreshed = at
      await attempt('refreshing the collateral', refresh)
    }
    if (at / 1000 >= notAfter() - marginSeconds || worn()) await attempt('renewing the keys', renew)
    busy = false
  }
  const timer = setInterval(() => void check(), checkMs)
  return {
    get reason() {
      return now().getTime() / 1000 < notAfter() ? null : 'the keyset has ended and could not be renewed'
    },
    check,
    stop: () => clearInterval(timer),
  }
}

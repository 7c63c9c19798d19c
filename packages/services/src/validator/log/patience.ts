import { setTimeout as sleep } from 'node:timers/promises'
import { VeriteeError } from 'veritee/errors'

export interface Clock {
  readonly now: () => Date
  readonly signal: AbortSignal
}

/** What no second look changes. */
const final: ReadonlySet<string> = new Set(['log_fork', 'epoch_late'])

/**
 * Tries until it comes to something. A log that is away, or shows what does not hold, is asked again: whoever stands between may be at fault. `until` is in Unix seconds; after it, `late` makes the
 * error of the last failure (null where there was none). Throws the reason of the signal, and at once what is final: a fork, and what came too late.
 */
export async function patiently<T>(
  until: number,
  { now, signal }: Clock,
  attempt: () => Promise<T | null>,
  late: (last: VeriteeError | null) => VeriteeError,
): Promise<T> {
  let last: VeriteeError | null = null
  for (let pauseMs = 100; ; pauseMs = Math.min(2 * pauseMs, 5_000)) {
    signal.throwIfAborted()
    try {
      const found = await attempt()
      if (found !== null) return found
    } catch (error) {
      if (!(error instanceof VeriteeError) || final.has(error.code)) throw error
      last = error
    }
    if (now().getTime() >= until * 1000) throw late(last)
    await sleep(pauseMs, undefined, { signal })
  }
}

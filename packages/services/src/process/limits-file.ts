import { type Json, jcs } from 'veritee/bytes'
import type { Sections } from '../config/field.ts'
import type { Configuration } from '../config/schema.ts'
import type { Report } from './logs/log.ts'
import { reasonOf } from './repeatedly.ts'

export interface LimitsFileOptions<C> {
  /** Reads the configuration again, from where it came. */
  readonly reread: () => Promise<C | null>
  /** What the process runs with. */
  readonly configuration: C
  /** The bounds of routing are others: they are to come into force, and the configuration to be named anew (rule S7). */
  readonly changed: (configuration: C) => Promise<void>
  readonly report: Report
  readonly pollMs?: number
}

export interface LimitsFile {
  /** Looks now; what is due is done when it returns. */
  check(): Promise<void>
  stop(): void
}

/**
 * Puts other bounds of routing in force as they appear in the configuration's file, by reading it every few seconds: enclaves have no watching of files. They are
 * bound by the quote, so new keys come with them, whose descriptor has the digest of the configuration then in force. A change of anything else is reported once and waits for a start.
 */
export function followLimits<S extends Sections, C extends Configuration<S>>(options: LimitsFileOptions<C>): LimitsFile {
  const { reread, changed, report, pollMs = 5_000 } = options
  let current = options.configuration
  let busy = false
  let said = ''
  const say = (line: string): void => {
    if (line !== said && line !== '') report(line, { event: 'limits.refused', level: 'warn' })
    said = line
  }
  const look = async (): Promise<void> => {
    const next = await reread()
    if (next === null) return
    const before = partsOf(current.effective)
    const after = partsOf(next.effective)
    if (before.others !== after.others) return say('the configuration has changed in more than its limits: that waits for a start')
    say('')
    if (before.routing === after.routing) return
    current = next
    await changed(next)
    report(`limits of routing are in force: ${after.routing}`, { event: 'limits.accepted' })
  }
  const check = async (): Promise<void> => {
    if (busy) return
    busy = true
    try {
      await look()
    } catch (error) {
      say(`the configuration cannot be read again: ${reasonOf(error)}`)
    } finally {
      busy = false
    }
  }
  const timer = setInterval(() => void check(), pollMs)
  timer.unref()
  return { check, stop: () => clearInterval(timer) }
}

function partsOf(effective: Json): { readonly routing: string; readonly others: string } {
  const { routing = null, ...others } = effective as { readonly [section: string]: Json }
  return { routing: jcs(routing), others: jcs(others) }
}

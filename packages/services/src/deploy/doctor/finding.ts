import type { Role } from 'veritee/policy'
import type { Sizing } from '../sizing.ts'
import type { Machine } from './machine.ts'

/** `ok`; `warning`: it may do; `problem`: an enclave will not start, or nobody can verify it; `unknown`: it cannot be seen from here. */
export type FindingStatus = 'ok' | 'warning' | 'problem' | 'unknown'

export interface Finding {
  readonly check: string
  readonly status: FindingStatus
  /** What was found, in one line. */
  readonly found: string
  /** The command or setting that mends it; null where there is nothing to mend. */
  readonly mend: string | null
}

/** What is to run on the machine. */
export interface Plan {
  readonly role: Role
  readonly sizing: Sizing
  /** Threads of one evaluation of the engine; 0 for other roles. */
  readonly threads: number
  readonly state: string
  readonly collateral: string
  /** URL of a PCCS; null: what the configuration of the quote provider names. */
  readonly pccs: string | null
  readonly ports: readonly number[]
}

/** One thing that is looked at. */
export type Check = (machine: Machine, plan: Plan) => Promise<readonly Finding[]>

export function ok(check: string, found: string): Finding {
  return { check, status: 'ok', found, mend: null }
}

export function bad(check: string, status: Exclude<FindingStatus, 'ok'>, found: string, mend: string): Finding {
  return { check, status, found, mend }
}

/** Bytes for people. */
export function size(bytes: number): string {
  return bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${Math.round(bytes / 2 ** 20)} MiB`
}

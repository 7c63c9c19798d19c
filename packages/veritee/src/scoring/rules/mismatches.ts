import { divide, fine, mul, one, quo, sqrt } from '../numbers/fixed.ts'
import type { PolicyModel } from '../policy/policy.ts'
import type { Mismatches } from '../state/state.ts'
import type { Judged } from './charge.ts'

/** What one replay at level 2 adds to the counters of mismatches, for its weight; null where it is none that is judged. */
export function mismatchOf(
  { record, own, outcome, charged }: Judged,
  model: PolicyModel | undefined,
): { readonly failed: boolean; readonly allowed: bigint } | null {
  const { replay, reason } = record
  if (!own || replay?.level !== 2 || model?.level2 == null || replay.calibration !== model.level2.calibration) return null
  const failed = outcome === 'fault' && charged === 'worker' && reason === 'replay_mismatch'
  return outcome === 'pass' || failed ? { failed, allowed: model.level2.p0Upper } : null
}

/**
 * Fine number from 0 to 1, by which quality is multiplied: 1 while mismatches are not surely more than calibrations allow, and one more; else what is allowed
 * over the lower bound of what they are (spec/scoring.md, "Mismatches").
 */
export function withinAllowance({ failures, allowed }: Mismatches, z: bigint): bigint {
  const found = fine(failures)
  const zz = mul(z, z)
  const least = found + divide(zz, 2n) - mul(z, sqrt(found + divide(zz, 4n)))
  const granted = fine(allowed) + one
  return least <= granted ? one : quo(granted, least)
}

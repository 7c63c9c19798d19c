import { type Json, jcsDigest } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import type { EngineFacts } from 'veritee/receipt'
import type { ScoringPolicy } from 'veritee/scoring'
import { type Calibration, parseCalibration } from '../replay/index.ts'

/** A calibration that the parameters of scoring name, and its digest there. */
export interface NamedCalibration {
  readonly calibration: Calibration
  readonly digest: string
  /** Its p0 is known to be small, so that replays under it may convict (rule S18). Else the model is scored by them and convicts nobody. */
  readonly convicts: boolean
}

/**
 * Reads the calibrations of a validator. Each must be one that a model of the policy has in its `level2`, with the same p0 and bound: records under another would
 * count for nothing. Throws `calibration_malformed`, `policy_invalid`.
 */
export async function namedCalibrations(texts: readonly string[], { models, sprt }: ScoringPolicy): Promise<readonly NamedCalibration[]> {
  const found: NamedCalibration[] = []
  for (const text of texts) {
    const calibration = parseCalibration(text)
    const digest = await jcsDigest(calibration as unknown as Json)
    const level2 = models.find((model) => model.level2?.calibration === digest)?.level2 ?? null
    if (level2 === null) throw fail('policy_invalid', `expected a calibration that the parameters of scoring name, found ${digest}`)
    const { p0, p0_upper: upper } = calibration.measured
    if (fixed(p0) !== level2.p0 || fixed(upper) !== level2.p0Upper)
      throw fail('policy_invalid', `expected parameters of scoring with p0 ${p0} and p0_upper ${upper} for the calibration ${digest}, as it says`)
    found.push({ calibration, digest, convicts: level2.p0Upper <= sprt.maxP0Upper })
  }
  return found
}

/** The one for an answer of `there`, run again by `here`; null where there is none, and so no level 2. */
export function calibrationFor(
  calibrations: readonly NamedCalibration[],
  { model, there, here }: { readonly model: string; readonly there: EngineFacts; readonly here: EngineFacts },
): NamedCalibration | null {
  const same = (a: EngineFacts, b: EngineFacts): boolean => engineMembers.every((member) => a[member] === b[member])
  return (
    calibrations.find(
      ({ calibration }) => calibration.model.sha256 === model && same(calibration.engines.there, there) && same(calibration.engines.here, here),
    ) ?? null
  )
}

const engineMembers = ['name', 'version', 'build', 'cpu_variant'] as const

/** A decimal in units of 1e-18, as parameters of scoring are read. */
function fixed(decimal: string): bigint {
  const [whole = '', part = ''] = decimal.split('.')
  return BigInt(whole + part.padEnd(18, '0').slice(0, 18))
}

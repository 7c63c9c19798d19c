import { judgePlatform, operatorId, verifyOperator } from 'veritee/admission'
import { RejectedError } from 'veritee/client'
import { policyFor } from 'veritee/policy'
import { evaluateReport, type VerifiedReport } from 'veritee/receipt'
import type { Demands } from '../../enclave/runtime/admission/rules.ts'

/** Who a worker is beyond its keys (rule S17). */
export interface Party {
  /** The operator that it names and that signed its keyset; null where it names none. */
  readonly operator: string | null
  /** Its name in the network; null where no operator is named. */
  readonly operatorId: string | null
  /** The machine, by its name in the network; null where no manifest is in force. */
  readonly platform: string | null
  /** The machine may serve several operators. */
  readonly shared: boolean
}

/** Where no manifest gives one: names are then the same everywhere. */
const noSalt = '00'.repeat(32)

/**
 * What a policy has no place for: operator and machine of a worker whose report was verified and evaluated.
 * Throws `operator_signature_missing`, `operator_signature_invalid`, `admission_platform`.
 */
export async function judgeParty({ manifest }: Demands, report: VerifiedReport, operatorSignature: string | null): Promise<Party> {
  const operator = await verifyOperator(report.descriptor.operator_key, report.keysetDigest, operatorSignature)
  const named = (salt: string): Promise<string | null> => (operator === null ? Promise.resolve(null) : operatorId(salt, operator))
  if (manifest === null) return { operator, operatorId: await named(noSalt), platform: null, shared: true }
  const { id, shared } = await judgePlatform(manifest.manifest, report.claims)
  return { operator, operatorId: await named(manifest.manifest.platforms.salt), platform: id, shared }
}

/**
 * Judges again what was verified before, under what is demanded now. How old the attestation is is not looked at: a session does not outlive what the policy
 * allows. Throws {@link RejectedError} and what {@link judgeParty} throws.
 */
export async function judgeAgain(demands: Demands, report: VerifiedReport, operatorSignature: string | null, at: Date): Promise<Party> {
  const context = { role: 'worker', at, attestedAt: at, channel: 'attested' } as const
  const verdict = evaluateReport(report, policyFor(demands.policy, 'worker'), context)
  if (verdict.error !== null) throw new RejectedError(verdict.error.code, verdict.error.message, verdict)
  return judgeParty(demands, report, operatorSignature)
}

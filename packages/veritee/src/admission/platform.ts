import * as crypto from '#crypto'
import type { QuoteClaims, Verified } from '../attestation/claims.ts'
import { utf8 } from '../bytes/bytes.ts'
import { fromHex, toHex } from '../bytes/hex.ts'
import { jcs } from '../bytes/jcs.ts'
import { fail } from '../errors.ts'
import type { AdmissionManifest } from './manifest.ts'

/**
 * The name of a machine in a network (rule S17): HMAC-SHA-256 under the network's salt over the processor's identity, and the platform instance where the
 * certificate states one, since a PPID alone is wrong for machines of several packages. 32 bytes hex.
 */
export async function platformId(
  salt: string,
  { ppid, platformInstanceId }: Pick<QuoteClaims['platform'], 'ppid' | 'platformInstanceId'>,
): Promise<string> {
  const identity = jcs({ instance: platformInstanceId, ppid, purpose: 'veritee.platform.v1' })
  return toHex(await crypto.hmacSha256(fromHex(salt), utf8(identity)))
}

/** The name of an operator in a network (rule S17), as that of a machine: HMAC-SHA-256 under the network's salt over its key. 32 bytes hex. */
export async function operatorId(salt: string, key: string): Promise<string> {
  return toHex(await crypto.hmacSha256(fromHex(salt), utf8(jcs({ key, purpose: 'veritee.operator.v1' }))))
}

/** A machine that a manifest admits. */
export interface AdmittedPlatform {
  readonly id: string
  /** It may serve more than one operator. */
  readonly shared: boolean
}

/** Judges the machine of verified claims by the `platforms` of a manifest, which the policy of that manifest does not hold. Throws `admission_platform`. */
export async function judgePlatform(
  { platforms }: Pick<AdmissionManifest, 'platforms'>,
  claims: Pick<Verified<QuoteClaims>, 'platform'>,
): Promise<AdmittedPlatform> {
  const id = await platformId(platforms.salt, claims.platform)
  if (platforms.deny.includes(id)) throw fail('admission_platform', `platform ${id} is denied`)
  if (platforms.allow !== 'any' && !platforms.allow.includes(id)) throw fail('admission_platform', `platform ${id} is not listed`)
  return { id, shared: platforms.shared.includes(id) }
}

import { fromHex, isHex } from '../../bytes/hex.ts'
import { fail } from '../../errors.ts'
import { checkSessionBinding } from '../../receipt/cited-session.ts'
import type { VerifiedReport } from '../../receipt/report.ts'
import type { Session } from '../../receipt/session.ts'
import { ehbpAlgorithm } from './names.ts'

/** A key to seal bodies to. Only a verified report gives one, so none comes from a well-known path, a header, or a session's assertions. */
export interface EhbpKey {
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  readonly keysetDigest: string
}

/**
 * The key for encrypted bodies in a keyset that a quote binds, over a nonce that the caller drew. Throws `ehbp_key_absent`; `report_nonce_mismatch` where the report
 * was verified with the nonce that it states, which shows no freshness. The report must have been evaluated under a policy: that is not checked here.
 */
export function ehbpKeyOf(report: VerifiedReport): EhbpKey {
  if (!report.fresh) throw fail('report_nonce_mismatch', 'expected a report over a nonce of this verification: bodies are sealed to live keys only')
  const [key, ...others] = report.keyset.e2ee_public_keys.filter(({ algo }) => algo === ehbpAlgorithm)
  if (key === undefined) throw fail('ehbp_key_absent', `the keyset has no key of algorithm ${ehbpAlgorithm}`)
  if (others.length > 0) throw fail('ehbp_key_absent', `expected one key of algorithm ${ehbpAlgorithm}, found ${1 + others.length}`)
  if (!isHex(key.public_key, 32)) throw fail('ehbp_key_absent', 'expected the key as 64 lower-case hex digits')
  return { publicKey: fromHex(key.public_key), keysetDigest: report.keysetDigest }
}

/**
 * The key of the worker behind a session of a controller. `report` is the worker's own, fetched through the controller with a nonce of the caller and evaluated under
 * the caller's policy for workers; its keyset must be the one that the session's evidence binds. Throws `session_mismatch` and the codes of {@link ehbpKeyOf}.
 */
export function ehbpWorkerKey(session: Session, report: VerifiedReport): EhbpKey {
  if (report.descriptor.role !== 'worker')
    throw fail('session_mismatch', `expected the report of a worker, found that of a ${report.descriptor.role}`)
  if (session.report.keysetDigest !== report.keysetDigest)
    throw fail(
      'session_mismatch',
      `expected the keyset ${session.report.keysetDigest} that the session's evidence binds, found ${report.keysetDigest}`,
    )
  checkSessionBinding(session, report)
  return ehbpKeyOf(report)
}

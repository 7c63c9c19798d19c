import { type Collateral, parseCrl, parseQeIdentity, parseTcbInfo } from '../../attestation/index.ts'
import { toHex } from '../../bytes/hex.ts'
import { fail } from '../../errors.ts'
import { certificatesOf, type Platform } from './platform.ts'

/** `standard` and `early` are Intel's two publication channels; a number names one evaluation. Never both: a service refuses that (P23). */
export type Evaluation = 'standard' | 'early' | number

/** What a set of collateral says of itself. Nothing is verified. */
export interface CollateralContents {
  readonly tee: 'sgx' | 'tdx'
  readonly fmspc: string
  readonly pceId: string
  readonly qeIdentityTee: 'sgx' | 'tdx'
  readonly evaluationDataNumber: number
  readonly qeIdentityEvaluationDataNumber: number
  /** The earliest end of validity over certificates, lists and documents: at this moment the set still verifies, after it no more. */
  readonly expires: Date
}

/** Reads every piece of a set. Throws `collateral_malformed`, `malformed_json`, `malformed_encoding`, `crl_malformed`, `certificate_malformed`. */
export function readContents(collateral: Collateral): CollateralContents {
  const tcbInfo = parseTcbInfo(collateral.tcbInfo)
  const identity = parseQeIdentity(collateral.qeIdentity)
  const { pckCrlIssuerChain, tcbInfoIssuerChain, qeIdentityIssuerChain } = collateral
  const ends = [
    tcbInfo.nextUpdate,
    identity.nextUpdate,
    parseCrl(collateral.rootCaCrl).nextUpdate,
    parseCrl(collateral.pckCrl).nextUpdate,
    ...[pckCrlIssuerChain, tcbInfoIssuerChain, qeIdentityIssuerChain].flatMap(certificatesOf).map(({ notAfter }) => notAfter),
  ]
  return {
    tee: tcbInfo.tee,
    fmspc: toHex(tcbInfo.fmspc),
    pceId: toHex(tcbInfo.pceId),
    qeIdentityTee: identity.id === 'QE' ? 'sgx' : 'tdx',
    evaluationDataNumber: tcbInfo.evaluationDataNumber,
    qeIdentityEvaluationDataNumber: identity.evaluationDataNumber,
    expires: new Date(Math.min(...ends.map((end) => end.getTime()))),
  }
}

/**
 * Checks that a set is of the kind that was asked for: this TEE, FMSPC and PCE id, documents of one evaluation, of the number asked for where one was
 * (P23), and not expired at `now`. It is how a source or a cache file that has something else is passed over; whether any of it is genuine is for
 * `verifyQuote`. Throws `collateral_unavailable`, and what {@link readContents} throws.
 */
export function checkFits(collateral: Collateral, platform: Platform, evaluation: Evaluation, now: Date): CollateralContents {
  const contents = readContents(collateral)
  const { tee, fmspc, pceId } = platform
  const refuse = (expected: string, found: string): Error => fail('collateral_unavailable', `expected ${expected}, found ${found}`)
  if (contents.tee !== tee || contents.fmspc !== fmspc || contents.pceId !== pceId)
    throw refuse(`TCB info for ${tee}, FMSPC ${fmspc}, PCE id ${pceId}`, `${contents.tee}, ${contents.fmspc}, ${contents.pceId}`)
  if (contents.qeIdentityTee !== tee) throw refuse(`the QE identity for ${tee}`, `that for ${contents.qeIdentityTee}`)
  const numbers = [contents.evaluationDataNumber, contents.qeIdentityEvaluationDataNumber] as const
  if (numbers[0] !== numbers[1]) throw refuse('TCB info and QE identity of one evaluation', `numbers ${numbers[0]} and ${numbers[1]}`)
  if (typeof evaluation === 'number' && numbers[0] !== evaluation) throw refuse(`evaluation number ${evaluation}`, `${numbers[0]}`)
  if (now > contents.expires) throw refuse(`collateral valid at ${now.toISOString()}`, `expired at ${contents.expires.toISOString()}`)
  return contents
}

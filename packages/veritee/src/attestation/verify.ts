import { isPromise } from '../crypto/when-done.ts'
import { VerifierCache } from './cache/verifier-cache.ts'
import type { Check, QuoteClaims, Verified } from './claims.ts'
import type { Collateral } from './collateral.ts'
import { type Quote, readQuote } from './quote/quote.ts'
import type { Root } from './roots/intel.ts'
import { collectClaims } from './steps/claims.ts'
import { verifyQeIdentity, verifyTcbInfo } from './steps/documents.ts'
import { type Pck, verifyPck } from './steps/pck.ts'
import { verifyReports } from './steps/reports.ts'
import { verifyRevocation } from './steps/revocation.ts'
import { closeSession, openSession, type Session } from './steps/session.ts'
import { evaluateTcb, type TcbEvaluation } from './tcb/evaluate.ts'
import type { QeIdentity } from './tcb/qe-identity.ts'
import type { TcbInfo } from './tcb/tcb-info.ts'

/** Whom the caller trusts to say what genuine hardware is. Never empty. */
export interface Trust {
  readonly roots: readonly [Root, ...Root[]]
}

export interface VerifyOptions {
  /** Spares work done before and changes no result; see `createVerifierCache`. Without it, everything is done anew. */
  readonly cache?: VerifierCache
}

export interface VerifiedQuote {
  readonly claims: Verified<QuoteClaims>
  /** Every check taken, in order; all passed. */
  readonly checks: readonly Check[]
}

/**
 * Verifies that a quote comes from genuine hardware, offline, at the time `at`, and says how current that hardware's TCB is.
 *
 * In the order of `checkIds`: the PCK chain up to one of `trust.roots` (compared as whole certificates) and its windows; the root's and the PCK
 * authority's revocation lists; the signing chain, signature, window and match of TCB info and of the QE identity; the TDX module; the quoting
 * enclave's report, its binding of the attestation key, its identity; the quote signature; the TCB level. Every piece of collateral must be present,
 * signed under the same root as the quote, and current: nothing is optional (P1 to P5).
 *
 * It does not judge what runs: measurements, report data, debug mode and the TCB status are claims for a policy. In particular `Revoked`,
 * `NotSupported` and every other TCB status is *returned* in `claims.tcb.status`, not thrown. A revoked certificate is thrown.
 *
 * Throws `VerificationError`, whose `checks` end with the failed one. No root, an invalid date and values of wrong types are `TypeError`.
 *
 * `quote`: its bytes, or what `parseQuote` made of them, of which nothing but the bytes and their number after the end is looked at.
 *
 * @example const { claims } = await verifyQuote(bytes, parseCollateral(text), { roots: [intelSgxRootCa] }, at)
 */
export async function verifyQuote(
  quote: Quote | Uint8Array,
  collateral: Collateral,
  trust: Trust,
  at: Date,
  options: VerifyOptions = {},
): Promise<VerifiedQuote> {
  const roots: readonly Root[] = trust.roots
  if (!Array.isArray(roots) || roots.length === 0 || !roots.every((root) => root instanceof Uint8Array))
    throw new TypeError('verifyQuote: expected at least one trusted root, each the DER of a certificate')
  if (!(at instanceof Date) || Number.isNaN(at.getTime())) throw new TypeError('verifyQuote: expected a valid date')
  const { cache } = options
  if (cache !== undefined && !(cache instanceof VerifierCache)) throw new TypeError('verifyQuote: expected a cache made by createVerifierCache')
  const compartment = cache === undefined ? null : cache.compartment(roots)
  // What the caller holds may change while this awaits; what was asked about may not. So roots, time and collateral are copied, and the quote is read
  // from a copy of its bytes, which also rules out a body that is not the signed one; what a cache keeps of a quote are views of that copy.
  const session = openSession(collateral, compartment?.roots ?? [...roots], new Date(at), compartment)
  try {
    const own = readOwn(session, quote)
    // One after the other. Under Node each is there at once, and to `await` it would take longer than most of them do.
    const pckStep = verifyPck(session, own)
    const pck = isPromise(pckStep) ? await pckStep : pckStep
    const listsStep = verifyRevocation(session, pck)
    const lists = isPromise(listsStep) ? await listsStep : listsStep
    const tcbInfoStep = verifyTcbInfo(session, pck, lists, own)
    const tcbInfo = isPromise(tcbInfoStep) ? await tcbInfoStep : tcbInfoStep
    const identityStep = verifyQeIdentity(session, pck, lists, own)
    const identity = isPromise(identityStep) ? await identityStep : identityStep
    const reportsStep = verifyReports(session, own, pck, tcbInfo, identity)
    if (isPromise(reportsStep)) await reportsStep
    const tcb = evaluate(session, own, pck, tcbInfo, identity)
    const claims = collectClaims(session, own, pck, lists, tcbInfo, identity, tcb)
    closeSession(session, compartment)
    // The one place where claims become verified: every check above has passed.
    return { claims: claims as Verified<QuoteClaims>, checks: session.checks.taken }
  } catch (error) {
    throw session.checks.failure(error)
  }
}

function readOwn({ checks, slab }: Session, quote: Quote | Uint8Array): Quote {
  checks.begin('quote.format')
  const bytes = quote instanceof Uint8Array ? quote : quote.bytes
  const own = readQuote(bytes, (input) => slab.copy(input))
  const trailingBytes = quote instanceof Uint8Array ? own.trailingBytes : quote.trailingBytes
  checks.pass(`${own.tee} quote of version ${own.version}, ${own.bytes.length} bytes and ${trailingBytes} after its end`)
  return trailingBytes === own.trailingBytes ? own : { ...own, trailingBytes }
}

function evaluate(session: Session, quote: Quote, pck: Pck, tcbInfo: TcbInfo, identity: QeIdentity): TcbEvaluation {
  const { body } = quote
  const svns = { sgxComponents: pck.sgx.tcbComponents, pceSvn: pck.sgx.pceSvn, qeIsvSvn: quote.qeReport.isvSvn }
  const launchSvn = body.kind === 'sgx' ? null : body.teeTcbSvn
  const currentSvn = body.kind === 'td15' || body.kind === 'td15ex' ? body.teeTcbSvn2 : null
  session.checks.begin('tcb.level')
  const tcb = evaluateTcb(tcbInfo, identity, svns, launchSvn, currentSvn)
  const { launch, current } = tcb
  session.checks.pass(`evaluated: ${launch.status}${current.status === launch.status ? '' : `, current ${current.status}`}`)
  return tcb
}

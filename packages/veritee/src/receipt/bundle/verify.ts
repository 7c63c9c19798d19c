import type { Check, QuoteClaims, Verified } from '../../attestation/claims.ts'
import { createVerifierCache, type Trust, VerificationError, type VerifyOptions, verifyQuote } from '../../attestation/index.ts'
import { VeriteeError } from '../../errors.ts'
import { type VerifiedReport, verifyReport } from '../report.ts'
import type { Bundle } from './bundle.ts'
import { type Take, type VerifiedBundledExchange, verifyBundledExchange } from './exchange.ts'

/** What the verifier itself drew when it took part, 64 hex digits each. A bundle holds neither: a nonce proves freshness only to whoever drew it. */
export interface DrawnNonces {
  /** For the report. */
  readonly nonce?: string
  /** The `X-Veritee-Nonce` of the request. */
  readonly clientNonce?: string
}

/** What a bundle proves. Whether that is wanted: `evaluateBundle`. */
export interface VerifiedBundle {
  readonly claims: Verified<QuoteClaims>
  /** Of the quote, then of the report. */
  readonly checks: readonly Check[]
  readonly report: VerifiedReport | null
  readonly exchange: VerifiedBundledExchange | null
  /** Of the exchange. */
  readonly exchangeChecks: readonly Check[]
}

/**
 * Verifies an evidence bundle offline, at the time `at`: usually the time at which it was made, since collateral, certificates and keysets expire.
 *
 * In order: the quote under `trust`, with the collateral of the bundle; where there is a report, that the quote binds its keyset, nonce and descriptor
 * (`verifyReport`; the collateral inside the report is not used); where there is an exchange, its receipts, the session and the worker's evidence in it.
 *
 * It does not judge what runs, nor simulation, debug mode or TCB status: see `evaluateBundle`. Throws `VerificationError` whose checks end with the
 * failed one, with every code of `verifyQuote`, `verifyReport`, `verifyReceipt` and `parseSession`, and `receipt_upstream_mismatch`, `policy_models`.
 *
 * Over many bundles of the same machines, one cache in `given` (`createVerifierCache`) spares what they share; verdicts are the same.
 *
 * @example await verifyBundle(parseBundle(text), { roots: [intelSgxRootCa] }, new Date('2026-05-06T07:08:09Z'))
 */
export async function verifyBundle(
  bundle: Bundle,
  trust: Trust,
  at: Date,
  drawn: DrawnNonces = {},
  given: VerifyOptions = {},
): Promise<VerifiedBundle> {
  // Controller and worker may share a machine, and share collateral nearly always.
  const options: VerifyOptions = { cache: createVerifierCache(), ...given }
  const { quote, collateral, exchange } = bundle
  if (bundle.report === null) {
    const { claims, checks } = await verifyQuote(quote, collateral, trust, at, options)
    return { claims, checks, report: null, exchange: null, exchangeChecks: [] }
  }
  const report = await verifyReport({ ...bundle.report, quote, collateral }, drawn.nonce ?? 'stated', trust, at, options)
  const exchangeChecks: Check[] = []
  const take: Take = async (id, run, describe) => {
    try {
      const value = await run()
      exchangeChecks.push({ id, ...describe(value) })
      return value
    } catch (error) {
      if (!(error instanceof VeriteeError)) throw error
      const checks: readonly Check[] = [...report.checks, ...exchangeChecks, { id, status: 'fail', detail: error.message }]
      throw new VerificationError(error.code, `${id}: ${error.message}`, checks, { cause: error })
    }
  }
  const verified = exchange === null ? null : await verifyBundledExchange(exchange, report, trust, at, drawn.clientNonce ?? null, take, options)
  return { claims: report.claims, checks: report.checks, report, exchange: verified, exchangeChecks }
}

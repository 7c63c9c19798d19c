import type { Collateral, Quote } from '../../attestation/index.ts'
import { VeriteeError } from '../../errors.ts'
import { type CollateralContents, checkFits, type Evaluation } from './contents.ts'
import { intelDistributionHosts } from './distribution-point.ts'
import { fetchSet } from './fetch-set.ts'
import type { Get } from './get.ts'
import { describe, fetchPckChain, withPckChain } from './pck-certificate.ts'
import { platformOf } from './platform.ts'
import { type Exchange, parseSource, type Source } from './source.ts'
import type { CollateralStore } from './store.ts'

export interface FetchCollateralOptions {
  /** Base URLs in the order of trying: {@link intelPcs}, or a PCCS such as `https://localhost:8081`. */
  readonly urls: readonly [string, ...string[]]
  /** One of Intel's two channels, or one evaluation number. There is no default: `standard` lags `early` by up to a year (P23). */
  readonly evaluation: Evaluation
  readonly get: Get
  readonly now: () => Date
  /** Milliseconds for everything that one source is asked; 20 seconds where not given. */
  readonly timeoutMs?: number
  /** Hosts from which a root's revocation list may be fetched when its URL comes from a certificate; Intel's where not given. */
  readonly distributionHosts?: readonly string[]
  /** Where sets are kept between calls; nothing is kept where not given. */
  readonly store?: CollateralStore
  /** Told of each source that was tried. */
  readonly onOutcome?: (outcome: SourceOutcome) => void
}

export type SourceOutcome =
  | { readonly url: string; readonly result: 'fetched' | 'cached'; readonly contents: CollateralContents }
  | { readonly url: string; readonly result: 'failed'; readonly error: VeriteeError }

const defaultTimeoutMs = 20_000

/**
 * Fetches the collateral that a quote needs, from the first source that has a whole, fitting and current set.
 *
 * Every piece is decoded from whatever form the service has (P17, P18) and parses; signed texts are kept byte for byte (P6); TCB info and QE identity
 * are of one evaluation (P23); the set is for this TEE and platform family and not expired. **Nothing is verified**: pass the result to `verifyQuote`.
 * All pieces are of one source. No redirect is followed, and no URL of a certificate is used unless its host is allowed.
 *
 * For a quote without a PCK chain the certificate is fetched first; {@link completeQuote} gives the quote with it, without which it cannot be verified.
 *
 * Throws `collateral_unavailable` naming each source and its reason, `quote_no_pck_chain`, `usage` for a wrong URL, and `chain_invalid`,
 * `certificate_malformed`, `malformed_encoding` for a quote whose PCK chain cannot be read. A wrong `evaluation` and no URL are `TypeError`.
 *
 * @example await fetchCollateral(quote, { urls: [intelPcs], evaluation: 'standard', get: nodeGet(), now: () => new Date() })
 */
export async function fetchCollateral(quote: Quote, options: FetchCollateralOptions): Promise<Collateral> {
  const { evaluation, now, store } = options
  const platform = platformOf(await completeQuote(quote, options))
  return eachSource(options, 'no source gave the collateral', async (source, exchange) => {
    const wanted = { ...exchange, source, platform, evaluation, distributionHosts: options.distributionHosts ?? intelDistributionHosts }
    const check = (collateral: Collateral): CollateralContents => checkFits(collateral, platform, evaluation, now())
    const fetchFresh = async (): Promise<Collateral> => {
      const collateral = await fetchSet(wanted)
      check(collateral)
      return collateral
    }
    const key = { source: source.base, tee: platform.tee, fmspc: platform.fmspc, pceId: platform.pceId, ca: platform.ca, evaluation }
    const found = store === undefined ? { collateral: await fetchFresh(), cached: false } : await store.through(key, check, fetchFresh)
    options.onOutcome?.({ url: source.base, result: found.cached ? 'cached' : 'fetched', contents: check(found.collateral) })
    return found.collateral
  })
}

/**
 * The quote with the chain of its PCK certificate: itself where it carries one, else a copy with the chain fetched from the first source that has it.
 * Nothing is verified. Throws `quote_no_pck_chain` with what to fetch, `usage`.
 */
export async function completeQuote(quote: Quote, options: FetchCollateralOptions): Promise<Quote> {
  checkOptions(options)
  if (quote.certification.kind === 'pck-chain') return quote
  const code = 'quote_no_pck_chain'
  const chain = await eachSource(options, describe(quote), (source, exchange) => fetchPckChain(quote, source, exchange), code)
  const complete = withPckChain(quote, chain)
  platformOf(complete)
  return complete
}

function checkOptions({ urls, evaluation }: FetchCollateralOptions): void {
  if (!Array.isArray(urls) || urls.length === 0) throw new TypeError('fetchCollateral: expected at least one URL')
  const numbered = typeof evaluation === 'number' && Number.isSafeInteger(evaluation) && evaluation >= 0
  if (!numbered && evaluation !== 'standard' && evaluation !== 'early')
    throw new TypeError("fetchCollateral: expected the evaluation 'standard', 'early' or a number")
}

/** Runs `attempt` against each source in order until one succeeds; each has its own time. */
async function eachSource<T>(
  options: FetchCollateralOptions,
  what: string,
  attempt: (source: Source, exchange: Exchange) => Promise<T>,
  code: 'collateral_unavailable' | 'quote_no_pck_chain' = 'collateral_unavailable',
): Promise<T> {
  const sources = options.urls.map(parseSource)
  const failures: { readonly url: string; readonly error: VeriteeError }[] = []
  for (const source of sources) {
    const abort = new AbortController()
    const timer = setTimeout(() => abort.abort(), options.timeoutMs ?? defaultTimeoutMs)
    try {
      return await attempt(source, { get: options.get, signal: abort.signal, now: options.now })
    } catch (error) {
      if (!(error instanceof VeriteeError) || error.kind === 'configuration') throw error
      failures.push({ url: source.base, error })
      options.onOutcome?.({ url: source.base, result: 'failed', error })
    } finally {
      clearTimeout(timer)
      // What is still under way for a source that failed is of no use.
      abort.abort()
    }
  }
  const reasons = failures.map(({ url, error }) => `${url}: ${error.message}`).join('; ')
  throw new VeriteeError(code, `${what} (${reasons})`, { cause: failures.at(-1)?.error })
}

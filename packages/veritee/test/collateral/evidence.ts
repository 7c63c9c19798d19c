import { type Collateral, parseQuote, type Quote, type Trust, VerificationError, verifyQuote } from '../../src/attestation/index.ts'
import { crlDistributionPoint } from '../../src/attestation/pki/issue.ts'
import { createSimPlatform, createSimVendor, type SimPlatform, type SimVendor } from '../../src/attestation/sim/index.ts'
import type { FetchCollateralOptions } from '../../src/client/index.ts'
import { nodeGet } from '../../src/client/index.ts'
import { VeriteeError } from '../../src/errors.ts'

/** Collateral is issued at `at`; everything is fetched and judged an hour later. */
export const at: Date = new Date('2026-05-06T07:08:09Z')
export const soon: Date = new Date(at.getTime() + 3_600_000)
export const enclave = { mrenclave: 'a1'.repeat(32), mrsigner: 'b2'.repeat(32), isvProdId: 3, isvSvn: 4 }
const td = { mrtd: 'c3'.repeat(48) }

export interface Machine {
  readonly platform: SimPlatform
  readonly vendor: SimVendor
  readonly trust: Trust
  readonly sgx: Quote
  readonly tdx: Quote
}

/** A simulated machine whose root names the list where Intel's root does, so that only tests that want another host have one. */
export async function makeMachine(
  options: Partial<Parameters<typeof createSimPlatform>[0]> & { readonly rootCrlAt?: string } = {},
): Promise<Machine> {
  const uri = options.rootCrlAt ?? 'https://certificates.trustedservices.intel.com/IntelSGXRootCA.der'
  const vendor =
    options.vendor ??
    (await createSimVendor(at, {
      root: (profile) => ({
        ...profile,
        extensions: profile.extensions.map((item) => (item.oid === '2.5.29.31' ? crlDistributionPoint(uri) : item)),
      }),
    }))
  const platform = await createSimPlatform({ at, vendor, ...options })
  return {
    platform,
    vendor,
    trust: { roots: [platform.root] },
    sgx: parseQuote(await platform.quote(enclave, new Uint8Array(64))),
    tdx: parseQuote(await platform.tdQuote(td, new Uint8Array(64))),
  }
}

export function options(url: string | readonly [string, ...string[]], changes: Partial<FetchCollateralOptions> = {}): FetchCollateralOptions {
  const urls = typeof url === 'string' ? ([url] as const) : url
  return { urls, evaluation: 'standard', get: nodeGet(), now: () => soon, timeoutMs: 5000, ...changes }
}

/** 'accepted', or the code with which verification refuses. */
export async function judged(quote: Quote, collateral: Collateral, trust: Trust, when: Date = soon): Promise<string> {
  try {
    await verifyQuote(quote, collateral, trust, when)
    return 'accepted'
  } catch (error) {
    if (error instanceof VerificationError) return error.code
    throw error
  }
}

/** The error a promise rejects with, which must be one of this library's. */
export async function refusal(promise: Promise<unknown>): Promise<VeriteeError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof VeriteeError) return error
    throw error
  }
  throw new Error('expected a refusal')
}

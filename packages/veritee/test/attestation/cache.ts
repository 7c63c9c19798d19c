import {
  type Check,
  parseQuote,
  type QuoteClaims,
  type Trust,
  VerificationError,
  type VerifierCache,
  verifyQuote,
} from '../../src/attestation/index.ts'
import { VeriteeError } from '../../src/errors.ts'
import type { Evidence } from './synthetic.ts'

/** Evidence and the time it is judged at. */
export interface Case extends Evidence {
  readonly at: Date
}

/** Everything that a caller of `verifyQuote` can see. */
export type Seen =
  | { readonly claims: QuoteClaims; readonly checks: readonly Check[] }
  | { readonly code: string; readonly message: string; readonly checks: readonly Check[] }

export async function see({ quote, collateral, trust, at }: Case, cache?: VerifierCache): Promise<Seen> {
  try {
    const { claims, checks } = await verifyQuote(parseQuote(quote), collateral, trust, at, cache === undefined ? {} : { cache })
    return { claims, checks }
  } catch (error) {
    if (error instanceof VerificationError) return { code: error.code, message: error.message, checks: error.checks }
    if (error instanceof VeriteeError) return { code: error.code, message: error.message, checks: [] }
    throw error
  }
}

/** The TCB status of what was accepted, or the failed check and the code. */
export function verdictOf(seen: Seen): string {
  return 'claims' in seen ? seen.claims.tcb.status : `${seen.checks.at(-1)?.id} ${seen.code}`
}

export function under(one: Case, ...roots: readonly [Uint8Array, ...Uint8Array[]]): Case {
  const trust: Trust = { roots }
  return { ...one, trust }
}

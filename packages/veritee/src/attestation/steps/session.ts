import { CheckList } from '../checks.ts'
import type { Collateral } from '../collateral.ts'
import { CertificatePool, type Chain } from '../pki/chain.ts'
import type { Root } from '../roots/intel.ts'

/** What the steps of one `verifyQuote` call share. It ends with the call: nothing verified outlives it (S15). */
export interface Session {
  readonly collateral: Collateral
  readonly roots: readonly Root[]
  readonly at: Date
  readonly pool: CertificatePool
  readonly checks: CheckList
  /** Every chain used so far, for the end of validity. */
  readonly chains: Chain[]
}

export function openSession(collateral: Collateral, roots: readonly Root[], at: Date): Session {
  return { collateral, roots, at, pool: new CertificatePool(), checks: new CheckList(), chains: [] }
}

/** The detail of a window check that passed. */
export function validAt(session: Session): () => string {
  return () => `valid at ${session.at.toISOString()}`
}

import type { CacheCompartment } from '../cache/verifier-cache.ts'
import { CheckList } from '../checks.ts'
import type { Collateral } from '../collateral.ts'
import { CertificatePool, type Chain } from '../pki/chain.ts'
import type { Root } from '../roots/intel.ts'
import { DocumentPool } from '../tcb/document-pool.ts'

/**
 * What the steps of one `verifyQuote` call share. It ends with the call. Into the compartment of a cache goes, when all steps have passed, what was
 * parsed and which signatures held; no verdict, date or check outlives the call (S15).
 */
export interface Session {
  readonly collateral: Collateral
  readonly roots: readonly Root[]
  readonly at: Date
  readonly pool: CertificatePool
  readonly documents: DocumentPool
  readonly checks: CheckList
  /** Every chain used so far, for the end of validity. */
  readonly chains: Chain[]
  /** The detail of a window check that passed. */
  readonly validAt: () => string
}

export function openSession(collateral: Collateral, roots: readonly Root[], at: Date, compartment: CacheCompartment | null): Session {
  const valid = `valid at ${at.toISOString()}`
  return {
    collateral,
    roots,
    at,
    pool: new CertificatePool(compartment?.pool),
    documents: new DocumentPool(compartment?.documents ?? null),
    checks: new CheckList(),
    chains: [],
    validAt: () => valid,
  }
}

import { isoTime } from '../../bytes/iso-time.ts'
import { KnownCollateral } from '../cache/known-collateral.ts'
import { Slab } from '../cache/slab.ts'
import type { CacheCompartment } from '../cache/verifier-cache.ts'
import { CheckList } from '../checks.ts'
import type { Collateral } from '../collateral.ts'
import type { Chain } from '../pki/chain.ts'
import { CertificatePool } from '../pki/pool.ts'
import type { Root } from '../roots/intel.ts'

/**
 * What the steps of one `verifyQuote` call share. It ends with the call. Into the compartment of a cache goes, when all steps have passed, what was
 * parsed and which signatures held; no verdict, date or check outlives the call (S15).
 */
export interface Session {
  readonly collateral: KnownCollateral
  readonly roots: readonly Root[]
  readonly at: Date
  readonly pool: CertificatePool
  /** For copies that a cache may keep. */
  readonly slab: Slab
  readonly checks: CheckList
  /** Every chain used so far, for the end of validity. */
  readonly chains: Chain[]
  /** The detail of a window check that passed. */
  readonly validAt: string
}

export function openSession(collateral: Collateral, roots: readonly Root[], at: Date, compartment: CacheCompartment | null): Session {
  const kept = compartment?.collateral.get(collateral.tcbInfo)
  const slab = compartment?.slab ?? new Slab()
  return {
    collateral: kept?.is(collateral) ? kept : new KnownCollateral(collateral),
    roots,
    at,
    pool: new CertificatePool(compartment?.pool ?? null, slab),
    slab,
    checks: new CheckList(),
    chains: [],
    validAt: `valid at ${isoTime(at)}`,
  }
}

/** Leaves in the compartment what this session has made. To be called when everything has passed. */
export function closeSession({ pool, collateral }: Session, compartment: CacheCompartment | null): void {
  if (compartment === null) return
  pool.commit()
  compartment.collateral.set(collateral.name, collateral)
}

import type { Collateral } from '../../attestation/index.ts'
import type { Evaluation } from './contents.ts'

/** What a kept set is for. Sets of different sources are kept apart, so that one source cannot answer for another. */
export interface CollateralKey {
  readonly source: string
  readonly tee: 'sgx' | 'tdx'
  readonly fmspc: string
  readonly pceId: string
  readonly ca: 'processor' | 'platform'
  readonly evaluation: Evaluation
}

/** Keeps fetched sets. It is an optimisation and never trusted: what it gives is checked and verified like what a network gives. */
export interface CollateralStore {
  /** The kept set for `key` if there is a fresh one and `check` accepts it, else what `fetchFresh` gives, which is then kept. */
  through(
    key: CollateralKey,
    check: (collateral: Collateral) => { readonly expires: Date },
    fetchFresh: () => Promise<Collateral>,
  ): Promise<{ readonly collateral: Collateral; readonly cached: boolean }>
}

import type { KeyObject } from 'node:crypto'
import type { Check, QuoteClaims, Verified } from 'veritee/attestation'
import type { ServiceDescriptor } from 'veritee/receipt'
import type { ReleaseDocument } from 'veritee/release'
import type { TeePubkey } from '../runtime/kbs/index.ts'

/** One enclave that has shown genuine evidence over a nonce of this broker. Whether anything is released to it, each resource's policy says, each time anew. */
export interface Attested {
  /** The session's, which is its cookie, and the token's, which is told to others. */
  readonly id: string
  readonly tokenId: string
  /** What everything is encrypted to. */
  readonly pubkey: { readonly jwk: TeePubkey; readonly key: KeyObject }
  readonly nonce: string
  readonly claims: Verified<QuoteClaims>
  readonly checks: readonly Check[]
  /** Bound by the quote, with its digest; null where the evidence binds none. */
  readonly bound: { readonly descriptor: ServiceDescriptor; readonly digest: string } | null
  /** When the nonce was drawn; and on the clock of what goes by. */
  readonly drawnAt: Date
  readonly drawnMs: number
  /** Release statements that came with it, of which nothing is verified. */
  readonly releases: readonly ReleaseDocument[]
  /** When session and token end. */
  readonly expires: Date
}

export function measurementOf({ body }: QuoteClaims): string {
  return body.tee === 'sgx' ? body.mrenclave : body.mrtd
}

import { sha256Digest } from '../bytes/digest.ts'
import type { SignedLogStatement } from '../log/statement.ts'
import { eventOf, type Receipt, receiptDigest, unsignedForm } from '../receipt/receipt.ts'

/** What one signed statement says of the receipts of its keyset: which of them stands in which place. */
export interface Links {
  /** How it is named in sentences. */
  readonly name: string
  /** For counting proofs: the digest of the receipt that it is or tells of; of a chain head, of what is signed. */
  readonly digest: string
  /** The receipt that it is or tells of; null for a chain head, which only counts. */
  readonly own: {
    readonly place: number
    readonly digest: string
    readonly previous: string | null
    /** What was signed, where it is the receipt itself; null for a view of it. */
    readonly signed: string | null
  } | null
  /** Receipts by their places. */
  readonly places: readonly { readonly place: number; readonly digest: string }[]
}

/** Of a receipt; null where it has no place in a chain. */
export async function linksOfReceipt(receipt: Receipt): Promise<Links | null> {
  const chain = eventOf(receipt, 'veritee.chain')
  if (chain === undefined) return null
  const own = { place: chain.sequence, digest: await receiptDigest(receipt), previous: chain.previous, signed: unsignedForm(receipt.canonical) }
  return { name: `receipt ${receipt.receiptId}`, digest: own.digest, own, places: placesOf(own) }
}

/** Of an audit view or a chain head. */
export async function linksOfStatement({ statement, message }: SignedLogStatement): Promise<Links> {
  if (statement.version === 'veritee.chain-head.v1') {
    const { receipts, last, at } = statement
    const places = last === null ? [] : [{ place: receipts - 1, digest: last }]
    return { name: `the chain head of ${at}`, digest: await sha256Digest(message), own: null, places }
  }
  const { sequence, previous, receipt_digest: digest } = statement
  const own = { place: sequence, digest, previous, signed: null }
  return { name: `the audit view of ${digest}`, digest, own, places: placesOf(own) }
}

function placesOf({
  place,
  digest,
  previous,
}: {
  readonly place: number
  readonly digest: string
  readonly previous: string | null
}): Links['places'] {
  return [{ place, digest }, ...(previous === null || place === 0 ? [] : [{ place: place - 1, digest: previous }])]
}

/**
 * True where both are, or tell of, one receipt. The signature does not count: of one message there may be several signatures, and none says anything new. A view tells of a
 * receipt by its digest, which an honest signer gives to it once.
 */
export function isOne(a: Links, b: Links): boolean {
  if (a.own === null || b.own === null) return false
  return a.own.digest === b.own.digest || (a.own.signed !== null && a.own.signed === b.own.signed)
}

import { eventOf, type Receipt, receiptDigest } from '../../receipt/index.ts'

/** Two signed receipts of one keyset that cannot both be honest. */
export interface Conflict {
  readonly kind: 'with one number' | 'after one predecessor'
  readonly keysetDigest: string
  readonly receipts: readonly [string, string]
  readonly paths: readonly [string, string]
}

interface Seen {
  readonly digest: string
  readonly receiptId: string
  readonly path: string
}

/**
 * Compares receipts whose signatures were verified: an enclave counts its receipts and chains them, so that one keyset has one receipt for each
 * number and one after each predecessor. Receipts that are missing between two are no conflict: nobody holds all of them.
 */
export class ReceiptChains {
  readonly conflicts: Conflict[] = []
  readonly #seen = new Map<string, Seen>()

  async add(receipt: Receipt, path: string): Promise<void> {
    const chain = eventOf(receipt, 'veritee.chain')
    if (chain === undefined) return
    const { keysetDigest } = receipt
    const found: Seen = { digest: await receiptDigest(receipt), receiptId: receipt.receiptId, path }
    this.#take('with one number', keysetDigest, String(chain.sequence), found)
    if (chain.previous !== null) this.#take('after one predecessor', keysetDigest, chain.previous, found)
  }

  #take(kind: Conflict['kind'], keysetDigest: string, place: string, found: Seen): void {
    const key = `${kind} ${keysetDigest} ${place}`
    const before = this.#seen.get(key)
    if (before === undefined) this.#seen.set(key, found)
    else if (before.digest !== found.digest)
      this.conflicts.push({ kind, keysetDigest, receipts: [before.receiptId, found.receiptId], paths: [before.path, found.path] })
  }
}

import type { Proof } from '../../client/index.ts'

/** The last proofs, the newest first. They hold digests, and no prompt or answer. */
export class RecentProofs {
  readonly #max: number
  #proofs: Proof[] = []

  constructor(max: number) {
    this.#max = max
  }

  add(proof: Proof): void {
    this.#proofs = [proof, ...this.#proofs].slice(0, this.#max)
  }

  get all(): readonly Proof[] {
    return this.#proofs
  }

  /** By the id of its receipt, as `x-receipt-id` of the answer names it, or by the nonce of its request. */
  find(id: string): Proof | null {
    return this.#proofs.find(({ receipts, bytes }) => receipts.service?.id === id || bytes.clientNonce === id) ?? null
  }
}

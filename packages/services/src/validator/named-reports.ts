import type { Trust } from 'veritee/attestation'
import { VeriteeError } from 'veritee/errors'
import { parseReport, type VerifiedReport, verifyReport } from 'veritee/receipt'
import type { EpochStore } from './store/epoch-store.ts'

/** A keyset lives a day at most (rule S25), so that older epochs know nothing of it; and so many are looked through, however short they are. */
const maxEpochs = 1024

/**
 * Reports in which an operator and his worker name each other. The operator's signature over the keyset digest lies beside the quote, so that whoever passes a report on can leave it out; where it was seen once,
 * in any epoch, by any process of this validator, it is known whose the keyset is (rule S17).
 */
export class NamedReports {
  readonly #store: Pick<EpochStore, 'keep' | 'fact' | 'epochs'>
  readonly #epoch: number
  readonly #known = new Map<string, string>()

  constructor(store: Pick<EpochStore, 'keep' | 'fact' | 'epochs'>, epoch: number) {
    this.#store = store
    this.#epoch = epoch
  }

  /** Keeps a report that was verified, if it names an operator. */
  async note({ keysetDigest, operator }: Pick<VerifiedReport, 'keysetDigest' | 'operator'>, text: string): Promise<void> {
    if (operator === null || this.#known.has(keysetDigest)) return
    this.#known.set(keysetDigest, await this.#store.keep(this.#epoch, factName(keysetDigest), text))
  }

  /** A report of this keyset that names an operator; null where none was seen. */
  async of(keyset: string): Promise<string | null> {
    const known = this.#known.get(keyset)
    if (known !== undefined) return known
    for (const epoch of (await this.#store.epochs()).slice(-maxEpochs).reverse()) {
      const found = await this.#store.fact(epoch, factName(keyset))
      if (found === null) continue
      this.#known.set(keyset, found)
      return found
    }
    return null
  }

  /** The operator of a keyset by what was seen of it; null where nobody is known. The report is verified anew. */
  async operatorOf(keyset: string, trust: Trust, at: Date): Promise<string | null> {
    const text = await this.of(keyset)
    if (text === null) return null
    try {
      const report = await verifyReport(parseReport(text), 'stated', trust, at)
      return report.keysetDigest === keyset ? report.operator : null
    } catch (error) {
      if (error instanceof VeriteeError) return null
      throw error
    }
  }
}

const factName = (keyset: string): string => `named ${keyset}`

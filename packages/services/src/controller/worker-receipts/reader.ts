import { type Keyset, parseReceipt, type Receipt, ReceiptKeys } from 'veritee/receipt'
import { Template } from './template.ts'
import { type WorkerReceipt, workerReceiptOf } from './worker-receipt.ts'

/** Forms that the receipts of a worker have at a time: plain answers and streams, of each model, with these parameters or those. */
const maxTemplates = 8

/** Reads the receipts of one worker under one keyset. */
export class ReceiptReader {
  /** Taking a key in for each receipt would cost a tenth of its verification. */
  readonly keys: ReceiptKeys
  /** How many were read by a template, and how many as {@link parseReceipt} reads. */
  readonly counts = { template: 0, strict: 0 }
  /** The last one that was of use first. */
  readonly #templates: Template[] = []

  constructor(keyset: Keyset) {
    this.keys = new ReceiptKeys(keyset)
  }

  /**
   * What {@link parseReceipt} gives, or throws, for the same text, as far as it is looked at. `strict`: all of it, where no template had its form; to be given
   * to {@link learn} once the receipt was verified and matched. Null, too, for a text that is not canonical: its values may differ from those of the canonical
   * one (a zero with a sign).
   */
  read(text: string): { readonly receipt: WorkerReceipt; readonly strict: Receipt | null } {
    const templates = this.#templates
    for (let i = 0; i < templates.length; i++) {
      const template = templates[i] as Template
      const receipt = template.read(text)
      if (receipt === null) continue
      if (i > 0) templates.unshift(...templates.splice(i, 1))
      this.counts.template++
      return { receipt, strict: null }
    }
    this.counts.strict++
    const strict = parseReceipt(text)
    return { receipt: workerReceiptOf(strict), strict: strict.canonical === text ? strict : null }
  }

  /** What others have in common with this receipt need not be read again. */
  learn(receipt: Receipt): void {
    const template = Template.of(receipt)
    if (template === null) return
    this.#templates.unshift(template)
    this.#templates.length = Math.min(this.#templates.length, maxTemplates)
  }
}

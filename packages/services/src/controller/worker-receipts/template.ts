import { fromHex } from 'veritee/bytes'
import { maxReceiptBytes, type Receipt, type ReceiptEvent } from 'veritee/receipt'
import { Draft, type Made } from './draft.ts'
import { receipt as schema } from './schema.ts'
import type { SlotKind } from './slots.ts'
import type { WorkerReceipt } from './worker-receipt.ts'

/** Longer receipts are rare, and a template is as long as its receipt. */
const maxLength = 16_384

/**
 * The form that receipts of one worker share: the parts of the canonical text that are the same in all of them, and between those what may differ, by the
 * schema and not by what was seen.
 *
 * A text that has the form is one that {@link parseReceipt} read, with values in the place of others of the same kind: so it is canonical, and of valid shape,
 * without being parsed.
 */
export class Template {
  readonly #segments: readonly string[]
  readonly #kinds: readonly SlotKind[]
  /** Where each slot of the text that is read begins and ends: one list for all, since nothing is read meanwhile. */
  readonly #places: Int32Array
  readonly #events: readonly Made[]
  readonly #receiptId: Made
  readonly #servedAt: Made
  readonly #signature: Made
  /** Null where no event has token counts. */
  readonly #tokens: { readonly prompt: Made; readonly completion: Made } | null
  readonly #keysetDigest: string
  readonly #keyId: string

  private constructor({ keysetDigest, keyId }: Receipt, { segments, kinds, events, told }: Draft) {
    const made = (name: string): Made => told.get(name) ?? (() => null)
    this.#segments = segments
    this.#kinds = kinds
    this.#places = new Int32Array(2 * kinds.length)
    this.#events = events
    this.#receiptId = made('receiptId')
    this.#servedAt = made('servedAt')
    this.#signature = made('signature')
    this.#tokens = told.has('promptTokens') ? { prompt: made('promptTokens'), completion: made('completionTokens') } : null
    this.#keysetDigest = keysetDigest
    this.#keyId = keyId
  }

  /** Of a receipt that the strict reader gave; null where it has something of which it is not known how it may differ, or was in another form than the canonical one. */
  static of(receipt: Receipt): Template | null {
    if (receipt.canonical.length > maxLength) return null
    const draft = new Draft()
    schema(receipt.document, draft)
    if (!draft.fits) return null
    draft.end()
    const template = new Template(receipt, draft)
    // It does not read it where a value is of no kind that its place may have.
    return template.read(receipt.canonical) === null ? null : template
  }

  /** What is looked at of the receipt that {@link parseReceipt} gives for the text; null for a text of another form. */
  read(text: string): WorkerReceipt | null {
    if (!this.#find(text)) return null
    const places = this.#places
    const events: ReceiptEvent[] = []
    for (let i = 0; i < this.#events.length; i++) events.push((this.#events[i] as Made)(text, places) as unknown as ReceiptEvent)
    const tokens = this.#tokens
    const count = (made: Made): number => (made(text, places) ?? 0) as number
    return {
      canonical: text,
      receiptId: this.#receiptId(text, places) as string,
      keysetDigest: this.#keysetDigest,
      servedAt: this.#servedAt(text, places) as number,
      keyId: this.#keyId,
      signature: fromHex(this.#signature(text, places) as string),
      events,
      usage: tokens === null ? null : { promptTokens: count(tokens.prompt), completionTokens: count(tokens.completion) },
    }
  }

  /** Finds where each slot begins and ends; false where anything is not as it must be. */
  #find(text: string): boolean {
    if (text.length > maxReceiptBytes) return false
    const segments = this.#segments
    const kinds = this.#kinds
    const places = this.#places
    let at = 0
    for (let i = 0; i < segments.length; i++) {
      const segment = segments[i] as string
      const end = at + segment.length
      // Faster than `startsWith`, which compares character by character.
      if (text.slice(at, end) !== segment) return false
      at = end
      const kind = kinds[i]
      if (kind === undefined) continue
      at = kind.end(text, end)
      if (at < 0) return false
      places[2 * i] = end
      places[2 * i + 1] = at
    }
    return at === text.length
  }
}

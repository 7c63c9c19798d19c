import { fromHex, type Json } from 'veritee/bytes'
import { maxReceiptBytes, type Receipt, type ReceiptEvent } from 'veritee/receipt'
import { Draft, type Made } from './draft.ts'
import { receipt as schema } from './schema.ts'
import type { SlotKind } from './slots.ts'

/** Longer receipts are rare, and a template is as long as its receipt. */
const maxLength = 16_384

type Fields = {
  readonly receipt_id: string
  readonly chat_id: string | null
  readonly served_at: number
  readonly event_log: readonly ReceiptEvent[]
  readonly signature: string
}

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
  readonly #make: Made
  readonly #of: Receipt

  private constructor(of: Receipt, { segments, kinds }: Draft, make: Made) {
    this.#of = of
    this.#segments = segments
    this.#kinds = kinds
    this.#make = make
  }

  /** Of a receipt that the strict reader gave; null where it has something that may differ and is of no kind known here, or was in another form than the canonical one. */
  static of(receipt: Receipt): Template | null {
    if (receipt.canonical.length > maxLength) return null
    const draft = new Draft()
    const make = schema(receipt.document, draft)
    if (!draft.fits) return null
    draft.end()
    const template = new Template(receipt, draft, make)
    // It does not read it where a value is of no kind that its place may have.
    return template.read(receipt.canonical) === null ? null : template
  }

  /** What {@link parseReceipt} gives for the text; null for a text of another form. */
  read(text: string): Receipt | null {
    const places = this.#find(text)
    if (places === null) return null
    const document = this.#make(text, places) as { readonly [name: string]: Json }
    const { receipt_id, chat_id, served_at, event_log, signature } = document as unknown as Fields
    const { model, keysetDigest, endpoint, keyId } = this.#of
    return {
      document,
      canonical: text,
      receiptId: receipt_id,
      chatId: chat_id,
      model,
      keysetDigest,
      endpoint,
      servedAt: served_at,
      events: event_log,
      keyId,
      signature: fromHex(signature),
    }
  }

  /** Where each slot begins and ends; null where anything is not as it must be. */
  #find(text: string): number[] | null {
    if (text.length > maxReceiptBytes) return null
    const segments = this.#segments
    const kinds = this.#kinds
    const places: number[] = []
    let at = 0
    for (let i = 0; i < segments.length; i++) {
      const segment = segments[i] as string
      const end = at + segment.length
      // Faster than `startsWith`, which compares character by character.
      if (text.slice(at, end) !== segment) return null
      at = end
      const kind = kinds[i]
      if (kind === undefined) continue
      at = kind.end(text, end)
      if (at < 0) return null
      places.push(end, at)
    }
    return at === text.length ? places : null
  }
}

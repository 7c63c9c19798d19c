import { concatAll } from '../../bytes/bytes.ts'
import { sha256Digest } from '../../bytes/digest.ts'
import type { MaybePromise } from '../../crypto/types.ts'
import { fail } from '../../errors.ts'
import { EventSplitter, StreamTree } from '../../receipt/index.ts'

/** Bytes of the longest response kept for verification. */
const maxResponseBytes = 64 << 20

/** The bytes of one answer as they come: kept whole, and for a stream cut into its events. */
export class Receiving {
  readonly stream: StreamTree | null
  readonly #splitter = new EventSplitter()
  readonly #parts: Uint8Array[] = []
  #length = 0
  #ended = false
  #body: Uint8Array | null = null
  #digest: string | null = null

  constructor(streaming: boolean) {
    this.stream = streaming ? new StreamTree() : null
  }

  /** Bytes that have come. */
  get length(): number {
    return this.#length
  }

  /** Whole events that a part completes, or the part itself of a plain body: to be kept one after the other. Throws `response_too_large`. */
  split(part: Uint8Array): Uint8Array[] {
    this.#length += part.length
    if (this.#length > maxResponseBytes) throw fail('response_too_large', `expected at most ${maxResponseBytes} bytes`)
    return this.stream === null ? [part] : this.#splitter.push(part)
  }

  /** Takes in a piece that {@link split} gave. Done at once where hashing is. Throws `response_too_large`. */
  keep(piece: Uint8Array): MaybePromise<void> {
    this.#parts.push(piece)
    return this.stream?.append(piece)
  }

  /** The bytes after the last blank line: no event, but part of the body that the receipt hashes. Empty for a plain body. */
  end(): Uint8Array {
    const rest = this.#splitter.rest
    if (!this.#ended && rest.length > 0) this.#parts.push(rest)
    this.#ended = true
    return rest
  }

  /** True where what came of a body that broke off can still be verified, as a prefix. */
  get hasPrefix(): boolean {
    return this.stream !== null && this.stream.events > 0
  }

  /** What came: all bytes of an ended body, the whole events of one that was not. To be asked for once nothing more comes. */
  get body(): Uint8Array {
    this.#body ??= concatAll(this.#parts)
    return this.#body
  }

  async digest(): Promise<string> {
    this.#digest ??= await sha256Digest(this.body)
    return this.#digest
  }
}

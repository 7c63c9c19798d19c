/** Text that may be sent, and whether a stop string ended it. */
export interface Released {
  readonly text: string
  readonly stopped: boolean
}

/**
 * Turns token bytes into text that never has to be taken back: a character is released when its last byte is there, and text that could be the
 * beginning of a stop string is withheld until it is not. Bytes that are no UTF-8 become U+FFFD; a character cut off by the end is dropped.
 */
export class TextStream {
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  readonly #stop: readonly string[]
  #withheld = ''
  #decoded = 0
  /** The decoder may hold the beginning of a character. */
  #open = false

  constructor(stop: readonly string[]) {
    this.#stop = stop
  }

  /** Characters (UTF-16 units) decoded so far, withheld ones included: where the text of the next token begins. */
  get position(): number {
    return this.#decoded
  }

  /**
   * Adds one token; `whole` is its text where its bytes are whole characters, so that nothing has to be decoded. After `stopped` there is nothing more to
   * add: the text ends just before the earliest stop string.
   */
  add(bytes: Uint8Array, whole: string | null = null): Released {
    const text = whole === null || this.#open ? this.#decoder.decode(bytes, { stream: true }) : whole
    // Whole characters end whatever was open before them, and no bytes leave it open.
    if (bytes.length > 0) this.#open = whole === null
    this.#decoded += text.length
    if (this.#stop.length === 0) return { text, stopped: false }
    this.#withheld += text
    const found = this.#stop.map((stop) => this.#withheld.indexOf(stop)).filter((at) => at !== -1)
    if (found.length > 0) return { text: this.#release(Math.min(...found)), stopped: true }
    return { text: this.#release(this.#withheld.length - this.#possibleStop()), stopped: false }
  }

  /** The end without a stop string: what was withheld is text after all. */
  end(): string {
    return this.#release(this.#withheld.length)
  }

  #release(length: number): string {
    const text = this.#withheld.slice(0, length)
    this.#withheld = this.#withheld.slice(length)
    return text
  }

  /** Length of the longest end of the text that begins a stop string. */
  #possibleStop(): number {
    const longest = Math.max(0, ...this.#stop.map((stop) => stop.length - 1))
    for (let length = Math.min(longest, this.#withheld.length); length > 0; length--) {
      const tail = this.#withheld.slice(-length)
      if (this.#stop.some((stop) => stop.startsWith(tail))) return length
    }
    return 0
  }
}

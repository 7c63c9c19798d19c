import { concatAll, fromUtf8 } from '../../bytes/bytes.ts'

/**
 * When the reader gets what. `buffered`: nothing before the proof stands. `hold-last`: the end of an answer not before it, which is a plain body as a whole, and of a
 * stream everything from the first event on that ends it. `report`: everything as it comes; the proof is told and nothing withheld.
 */
export type Mode = 'buffered' | 'hold-last' | 'report'
export const modes = ['buffered', 'hold-last', 'report'] as const

/** Sorts what has come into what may go on and what has to wait for the proof. */
export class Holding {
  readonly #mode: Mode
  readonly #streaming: boolean
  #held: Uint8Array[] = []
  #ending = false

  constructor(mode: Mode, streaming: boolean) {
    this.#mode = mode
    this.#streaming = streaming
  }

  /** What may go on now, of whole events or of a part of a plain body. */
  take(pieces: readonly Uint8Array[]): Uint8Array {
    const last = !this.#streaming ? 0 : this.#ending ? 0 : pieces.findIndex(isEnding)
    if (this.#streaming && last >= 0) this.#ending = true
    if (this.#mode === 'report') return concatAll(pieces)
    const held = this.#mode === 'buffered' ? 0 : last < 0 ? pieces.length : last
    this.#held.push(...pieces.slice(held))
    return concatAll(pieces.slice(0, held))
  }

  /** True once an event of a stream has said that the answer is whole. */
  get ending(): boolean {
    return this.#ending
  }

  /** The bytes after the last event. They go with the end. */
  hold(rest: Uint8Array): void {
    this.#held.push(rest)
  }

  /** Everything that waited. */
  release(): Uint8Array {
    const all = concatAll(this.#held)
    this.#held = []
    return all
  }
}

/**
 * An event by which OpenAI's streams say that an answer is whole: `[DONE]`, a reason to finish, the last event of `/v1/responses`. Readers act on these, some without
 * waiting for the end of the body. Whoever hides one under another spelling gains nothing: the body does not end before the proof stands.
 */
const ending =
  /(?:^|[\r\n])data: ?\[DONE\]|"finish_reason"\s*:\s*"|"type"\s*:\s*"response\.(?:completed|incomplete|failed)"|(?:^|[\r\n])event: ?response\.(?:completed|incomplete|failed)/

function isEnding(event: Uint8Array): boolean {
  try {
    return ending.test(fromUtf8(event))
  } catch {
    // No reader makes anything of it; it is held, which is never wrong.
    return true
  }
}

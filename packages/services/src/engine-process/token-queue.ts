import type { GeneratedToken } from '../enclave/worker/engine/engine.ts'
import { malformed } from './messages.ts'

/** Tokens of one request on their way from the engine process to its reader: at most as many as the process has credit for. */
export class TokenQueue {
  readonly #most: number
  #tokens: GeneratedToken[] = []
  #next = 0
  #allowed: number
  #received = 0
  /** How it ended: undefined while it goes on, null where there is nothing more to come. */
  #end: { readonly error: unknown } | null | undefined
  #wake: (() => void) | null = null

  constructor(most: number) {
    this.#most = most
    this.#allowed = most
  }

  /** Throws `engine_failed` for more tokens than there may be. */
  add(token: GeneratedToken): void {
    if (this.#end !== undefined) return
    if (this.#tokens.length - this.#next >= this.#most) throw malformed()
    this.#received++
    this.#tokens.push(token)
    this.#rouse()
  }

  /** What was added before comes first, except at an abort, which the reader checks by itself. */
  end(end: { readonly error: unknown } | null): void {
    this.#end ??= end
    this.#rouse()
  }

  get ended(): boolean {
    return this.#end !== undefined
  }

  /** The process was told that it may send so many more. */
  allow(more: number): void {
    this.#allowed += more
  }

  /** Whether something is to come without its reader taking anything first. */
  get expecting(): boolean {
    return this.#end === undefined && this.#received < this.#allowed
  }

  /** The next token at once, null at the end, undefined where none is there yet. Throws the error that it ended with. */
  take(): GeneratedToken | null | undefined {
    const token = this.#tokens[this.#next]
    if (token !== undefined) {
      this.#next++
      return token
    }
    this.#tokens = []
    this.#next = 0
    if (this.#end) throw this.#end.error
    return this.#end
  }

  /** Resolves when {@link take} has something to say. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#end !== undefined || this.#next < this.#tokens.length) resolve()
      else this.#wake = resolve
    })
  }

  /** Lets a waiting reader look again: its signal was aborted. */
  wake(): void {
    this.#rouse()
  }

  #rouse(): void {
    this.#wake?.()
    this.#wake = null
  }
}

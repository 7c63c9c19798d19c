type CancelListener = (() => void) | { handleEvent(): void }

/** Whether something is still wanted; an `AbortSignal` can be one. */
export interface CancelSignal {
  readonly aborted: boolean
  readonly reason: unknown
  addEventListener(type: 'abort', listener: CancelListener): void
  removeEventListener(type: 'abort', listener: CancelListener): void
}

/**
 * What an `AbortController` does for one request, at a fraction of the time. Node's keeps whatever has ever listened to its signal alive until the whole heap is gone
 * through, which for each request took longer than hashing it.
 */
export class Cancellation implements CancelSignal {
  #aborted = false
  #reason: unknown
  #listeners: CancelListener[] = []

  get aborted(): boolean {
    return this.#aborted
  }

  get reason(): unknown {
    return this.#reason
  }

  /** Tells those who listen, once. */
  abort(reason: unknown): void {
    if (this.#aborted) return
    this.#aborted = true
    this.#reason = reason
    for (const listener of this.#listeners.splice(0)) {
      if (typeof listener === 'function') listener()
      else listener.handleEvent()
    }
  }

  /** Once it has aborted, listeners are told nothing. */
  addEventListener(_: 'abort', listener: CancelListener): void {
    if (!this.#aborted && !this.#listeners.includes(listener)) this.#listeners.push(listener)
  }

  removeEventListener(_: 'abort', listener: CancelListener): void {
    const at = this.#listeners.indexOf(listener)
    if (at >= 0) this.#listeners.splice(at, 1)
  }
}

/** The same for what takes nothing else than Node's. */
export function abortSignalOf(signal: CancelSignal): AbortSignal {
  const controller = new AbortController()
  if (signal.aborted) controller.abort(signal.reason)
  else signal.addEventListener('abort', () => controller.abort(signal.reason))
  return controller.signal
}

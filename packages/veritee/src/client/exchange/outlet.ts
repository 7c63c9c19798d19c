/** Bytes on their way to the reader of a `ReadableStream`, in order, and how they end. */
export class Outlet {
  readonly stream: ReadableStream<Uint8Array>
  readonly #queue: Uint8Array[] = []
  #queued = 0
  #ended: { readonly error: unknown } | 'end' | null = null
  #wake: (() => void) | null = null
  #roomy: (() => void)[] = []
  #unbounded = false

  /** `stop` is called where the reader gives up. */
  constructor(stop: (reason: unknown) => void) {
    this.stream = new ReadableStream<Uint8Array>(
      {
        pull: (controller) => this.#pull(controller),
        cancel: (reason) => {
          this.#ended ??= 'end'
          // A read that waited was answered by the giving up: its stream is closed, and takes no second end.
          this.#wake = null
          this.#drop()
          stop(reason)
        },
      },
      { highWaterMark: 0 },
    )
  }

  push(bytes: Uint8Array): void {
    if (this.#ended !== null || bytes.length === 0) return
    this.#queue.push(bytes)
    this.#queued += bytes.length
    this.#notify()
  }

  /** After what was pushed: the end, or a failure. */
  end(failure: { readonly error: unknown } | null = null): void {
    this.#ended ??= failure ?? 'end'
    this.#notify()
  }

  /** At once: what was pushed and not read is dropped. */
  fail(error: unknown): void {
    if (this.#ended !== null) return
    this.#ended = { error }
    this.#drop()
    this.#notify()
  }

  /** Resolves when little enough waits for the reader: who fills the outlet waits for it, so that a slow reader slows its source. */
  room(): Promise<void> | undefined {
    if (this.#unbounded || this.#queued < maxQueuedBytes || this.#ended !== null) return undefined
    return new Promise((resolve) => {
      this.#roomy.push(resolve)
    })
  }

  /** From now on everything is taken in, read or not: somebody waits for the end. */
  hurry(): void {
    this.#unbounded = true
    this.#release()
  }

  #pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> | undefined {
    const next = this.#queue.shift()
    if (next !== undefined) {
      this.#queued -= next.length
      if (this.#queued < maxQueuedBytes) this.#release()
      controller.enqueue(next)
      return
    }
    if (this.#ended === null)
      return new Promise((resolve) => {
        this.#wake = () => resolve(this.#pull(controller))
      })
    if (this.#ended === 'end') controller.close()
    else controller.error(this.#ended.error)
    return
  }

  #notify(): void {
    const wake = this.#wake
    this.#wake = null
    wake?.()
  }

  #drop(): void {
    this.#queue.length = 0
    this.#queued = 0
    this.#release()
  }

  #release(): void {
    for (const resolve of this.#roomy.splice(0)) resolve()
  }
}

const maxQueuedBytes = 1 << 20

/** The parts of a body as a stream; `done` is called once it has ended, failed or was given up. (`ReadableStream.from` is not in every browser.) */
export function streamOf(body: AsyncIterable<Uint8Array>, done: () => void): ReadableStream<Uint8Array> {
  const parts = body[Symbol.asyncIterator]()
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        try {
          const next = await parts.next()
          if (next.done !== true) return controller.enqueue(next.value)
          controller.close()
        } catch (error) {
          controller.error(error)
        }
        done()
      },
      cancel: async () => {
        done()
        await parts.return?.()
      },
    },
    { highWaterMark: 0 },
  )
}

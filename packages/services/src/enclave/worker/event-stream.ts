import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { utf8 } from 'veritee/bytes'
import { type StreamEvent, StreamTree } from 'veritee/receipt'
import { write } from '../../http/body.ts'
import { paddingEvent } from '../runtime/ehbp/padding.ts'

/**
 * Events that come within this time of the last write go out together. For a small model a write, its TLS record and its way through the kernel cost
 * more than all else that is done for a token; one that takes 20 ms or longer for a token never waits.
 */
const togetherMs = 20
/** Where no further event comes to take it along, a held one goes out after this time. Steady streams never wake up for it. */
const longestMs = 40

/** Clients, proxies and controllers give up on a stream that says nothing for a minute or two: a comment says nothing either, and keeps it. */
const defaultHeartbeatMs = 15_000
const heartbeat = utf8(': keep-alive\n\n')

export interface EventStreamOptions {
  readonly padded?: boolean
  readonly heartbeatMs?: number | undefined
}

/**
 * The server-sent events of one response. Each is made, hashed and put into the tree when it is handed to the transport, and not before: what a reader who
 * left was never sent is not in the receipt either. In silence comments go out, which are events like the others to hash and tree (rule S9).
 *
 * Nothing here waits while its reader takes what comes: a turn of the event loop for each token would cost more than its hashes.
 */
export class EventStream {
  readonly tree: StreamTree = new StreamTree()
  readonly #response: ServerResponse
  readonly #hash = createHash('sha256')
  #held: (() => Uint8Array)[] = []
  readonly #prompt: number
  readonly #padded: boolean
  #count = 0
  #last = performance.now()
  #timer: NodeJS.Timeout | null = null
  /** While the reader takes nothing. */
  #full: Promise<void> | null = null
  #failure: { readonly error: unknown } | null = null
  readonly #heartbeats: NodeJS.Timeout

  /**
   * The event number `prompt`, from 1, goes out at once, and with it those before: it holds the first text, which its reader waits for. `padded`: none does, and a comment
   * behind what goes out together hides how long it is (rule S25 d).
   */
  constructor(response: ServerResponse, prompt: number, { padded = false, heartbeatMs = defaultHeartbeatMs }: EventStreamOptions = {}) {
    this.#response = response
    this.#prompt = padded ? 0 : prompt
    this.#padded = padded
    this.#heartbeats = setInterval(() => this.#beat(heartbeatMs), heartbeatMs)
    this.#heartbeats.unref()
    response.once('close', () => {
      clearInterval(this.#heartbeats)
      this.#disarm()
    })
  }

  /** Gives a promise only where there is no room for more; it is kept when there is. Does nothing where the reader has gone. Throws `response_too_large`. */
  emit(event: () => Uint8Array): Promise<void> | undefined {
    if (!this.#response.destroyed && this.#failure === null) {
      this.#held.push(event)
      const index = ++this.#count
      if (index === this.#prompt || (index > this.#prompt && performance.now() - this.#last >= togetherMs)) this.#flush()
      else this.#timer ??= setTimeout(() => this.#flush(), longestMs)
    }
    this.#check()
    return this.#full ?? undefined
  }

  /**
   * Sends what is held, and hashes a last event that must not go out before there is a receipt. Gives the digest of the body and the event of the receipt;
   * `end` sends that last event. Throws `response_too_large`.
   */
  async close(last: (() => Uint8Array) | null): Promise<{ readonly bodyHash: string; readonly event: StreamEvent; readonly end: () => void }> {
    clearInterval(this.#heartbeats)
    this.#flush()
    while (this.#full !== null) await this.#full
    this.#check()
    const rest = this.#take(last)
    const bodyHash = `sha256:${this.#hash.digest('hex')}`
    return { bodyHash, event: await this.tree.event(), end: () => void this.#response.end(rest) }
  }

  /** Not to a reader who takes nothing: the bound on its patience is that of a write. */
  #beat(heartbeatMs: number): void {
    if (this.#response.destroyed || this.#failure !== null) return void clearInterval(this.#heartbeats)
    if (this.#full !== null || this.#held.length > 0 || performance.now() - this.#last < heartbeatMs) return
    this.#held.push(() => heartbeat)
    this.#flush()
  }

  #flush(): void {
    this.#disarm()
    // What comes while the reader takes nothing goes out when it does again.
    if (this.#held.length === 0 || this.#full !== null) return
    this.#last = performance.now()
    try {
      const written = write(this.#response, this.#take())
      if (written instanceof Promise)
        this.#full = written.then(() => {
          this.#full = null
          this.#flush()
        })
    } catch (error) {
      // Whoever emits next hears of it too.
      this.#failure = { error }
    }
  }

  /** Everything held, and a last event behind it and its padding. */
  #take(last: (() => Uint8Array) | null = null): Uint8Array {
    const gone = this.#response.destroyed
    const events = gone ? [] : this.#held.map((make) => make())
    this.#held = []
    const end = gone || last === null ? null : last()
    if (this.#padded) {
      const length = events.reduce((sum, event) => sum + event.length, end?.length ?? 0)
      const padding = paddingEvent(length)
      if (padding !== null) events.push(padding)
    }
    if (end !== null) events.push(end)
    for (const event of events)
      if (this.tree.append(event) instanceof Promise) throw new TypeError('EventStream: expected hashes that are done at once, as those of Node')
    const bytes = events.length === 1 ? (events[0] as Uint8Array) : Buffer.concat(events)
    this.#hash.update(bytes)
    return bytes
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure.error
  }

  #disarm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }
}

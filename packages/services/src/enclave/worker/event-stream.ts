import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
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
const heartbeat = ': keep-alive\n\n'

export interface EventStreamOptions<T> {
  /** An item as an event, up to and including its blank line. Called in the order of the items. */
  readonly tell: (item: T) => string
  readonly padded?: boolean
  readonly heartbeatMs?: number | undefined
}

/**
 * The server-sent events of one response. Each is made, hashed and put into the tree when it is handed to the transport, and not before: what a reader who
 * left was never sent is not in the receipt either. In silence comments go out, which are events like the others to hash and tree (rule S9).
 *
 * Nothing here waits while its reader takes what comes: a turn of the event loop for each token would cost more than its hashes.
 */
export class EventStream<T> {
  readonly tree: StreamTree = new StreamTree()
  readonly #response: ServerResponse
  readonly #hash = createHash('sha256')
  readonly #tell: (item: T) => string
  #held: T[] = []
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
  constructor(response: ServerResponse, prompt: number, { tell, padded = false, heartbeatMs = defaultHeartbeatMs }: EventStreamOptions<T>) {
    this.#response = response
    this.#tell = tell
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
  emit(item: T): Promise<void> | undefined {
    if (!this.#response.destroyed && this.#failure === null) {
      this.#held.push(item)
      const index = ++this.#count
      if (index === this.#prompt || (index > this.#prompt && performance.now() - this.#last >= togetherMs)) this.#flush()
      else this.#timer ??= setTimeout(() => this.#flush(), longestMs)
    }
    this.#check()
    return this.#full ?? undefined
  }

  /**
   * Hashes what is held and a last event that must not go out before there is a receipt. Gives the digest of the body and the event of the receipt;
   * `end` sends all of it: the reader waits for the receipt anyway, and one write costs as much as the digests of many events. Throws `response_too_large`.
   */
  async close(last: (() => string) | null): Promise<{ readonly bodyHash: string; readonly event: StreamEvent; readonly end: () => void }> {
    clearInterval(this.#heartbeats)
    this.#disarm()
    while (this.#full !== null) await this.#full
    this.#check()
    const rest = this.#bytesOf(this.#told(), this.#response.destroyed ? null : (last?.() ?? null))
    const bodyHash = `sha256:${this.#hash.digest('hex')}`
    return { bodyHash, event: await this.tree.event(), end: () => void this.#response.end(rest) }
  }

  /** Sends nothing any more: where nothing was sent, the response is another's. */
  abandon(): void {
    clearInterval(this.#heartbeats)
    this.#disarm()
    this.#held = []
  }

  /** Not to a reader who takes nothing: the bound on its patience is that of a write. */
  #beat(heartbeatMs: number): void {
    if (this.#response.destroyed || this.#failure !== null) return void clearInterval(this.#heartbeats)
    if (this.#full !== null || this.#held.length > 0 || performance.now() - this.#last < heartbeatMs) return
    this.#send(() => [heartbeat])
  }

  #flush(): void {
    this.#disarm()
    // What comes while the reader takes nothing goes out when it does again.
    if (this.#held.length === 0 || this.#full !== null) return
    this.#send(() => this.#told())
  }

  #send(events: () => string[]): void {
    this.#last = performance.now()
    try {
      const written = write(this.#response, this.#bytesOf(events(), null))
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

  /** Everything held, as events. */
  #told(): string[] {
    const events = this.#response.destroyed ? [] : this.#held.map(this.#tell)
    this.#held = []
    return events
  }

  /** Events, and a last one behind them and their padding, as the bytes that are sent: hashed, and each in the tree. */
  #bytesOf(events: string[], last: string | null): Uint8Array {
    if (this.#padded) {
      const padding = paddingEvent(events.reduce((sum, event) => sum + Buffer.byteLength(event), Buffer.byteLength(last ?? '')))
      if (padding !== null) events.push(padding)
    }
    if (last !== null) events.push(last)
    const text = events.join('')
    // One encoding for all of them: where it has as many bytes as characters, so has each of its parts.
    const bytes = Buffer.from(text)
    const plain = bytes.length === text.length
    let at = 0
    for (const event of events) {
      const end = at + (plain ? event.length : Buffer.byteLength(event))
      if (this.tree.append(bytes.subarray(at, end)) instanceof Promise)
        throw new TypeError('EventStream: expected hashes that are done at once, as those of Node')
      at = end
    }
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

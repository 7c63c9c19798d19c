import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { utf8 } from 'veritee/bytes'
import { type StreamEvent, StreamTree } from 'veritee/receipt'
import { write } from '../../http/body.ts'

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

/**
 * The server-sent events of one response. In silence comments go out, which are events like the others to hash and tree (rule S9). Each is made, hashed and put into the tree when it is handed to the transport, and not before: what a reader who
 * left was never sent is not in the receipt either.
 */
export class EventStream {
  readonly tree: StreamTree = new StreamTree()
  readonly #response: ServerResponse
  readonly #hash = createHash('sha256')
  #held: (() => Uint8Array)[] = []
  readonly #prompt: number
  #count = 0
  #last = performance.now() - togetherMs
  #timer: NodeJS.Timeout | null = null
  #work: Promise<void> = Promise.resolve()
  /** Writes that are not over. */
  #writes = 0
  readonly #heartbeats: NodeJS.Timeout

  /** The first `prompt` events are never held back: up to the first text, which its reader waits for. */
  constructor(response: ServerResponse, prompt: number, heartbeatMs: number = defaultHeartbeatMs) {
    this.#response = response
    this.#prompt = prompt
    this.#heartbeats = setInterval(() => this.#beat(heartbeatMs), heartbeatMs)
    this.#heartbeats.unref()
    response.once('close', () => this.#disarm(true))
  }

  /** Resolves when there is room for more. Does nothing where the reader has gone. Throws `response_too_large`. */
  emit(event: () => Uint8Array): Promise<void> {
    if (this.#response.destroyed) return this.#work
    this.#held.push(event)
    if (this.#count++ < this.#prompt || performance.now() - this.#last >= togetherMs) this.#flush()
    else this.#timer ??= setTimeout(() => this.#flush(), longestMs)
    return this.#work
  }

  /**
   * Sends what is held, and hashes a last event that must not go out before there is a receipt. Gives the digest of the body and the event of the receipt;
   * `end` sends that last event. Throws `response_too_large`.
   */
  async close(last: (() => Uint8Array) | null): Promise<{ readonly bodyHash: string; readonly event: StreamEvent; readonly end: () => void }> {
    clearInterval(this.#heartbeats)
    if (this.#held.length > 0) this.#flush()
    await this.#work
    if (last !== null) this.#held.push(last)
    const rest = await this.#take()
    const bodyHash = `sha256:${this.#hash.digest('hex')}`
    return { bodyHash, event: await this.tree.event(), end: () => void this.#response.end(rest) }
  }

  /** Not to a reader who takes nothing: the bound on its patience is that of a write. */
  #beat(heartbeatMs: number): void {
    if (this.#response.destroyed) return void clearInterval(this.#heartbeats)
    if (this.#writes > 0 || this.#held.length > 0 || performance.now() - this.#last < heartbeatMs) return
    this.#held.push(() => heartbeat)
    this.#flush()
  }

  #flush(): void {
    this.#disarm(false)
    this.#last = performance.now()
    this.#writes++
    this.#work = this.#work.then(async () => {
      await write(this.#response, await this.#take())
      this.#writes--
    })
    // Whoever emits next hears of it.
    this.#work.catch(() => undefined)
  }

  async #take(): Promise<Uint8Array> {
    const events: Uint8Array[] = []
    const held = this.#response.destroyed ? [] : this.#held
    this.#held = []
    for (const make of held) {
      const event = make()
      this.#hash.update(event)
      await this.tree.append(event)
      events.push(event)
    }
    return events.length === 1 ? (events[0] as Uint8Array) : Buffer.concat(events)
  }

  #disarm(forGood: boolean): void {
    if (forGood) clearInterval(this.#heartbeats)
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }
}

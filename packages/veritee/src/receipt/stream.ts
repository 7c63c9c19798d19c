import { fromHex, toHex } from '../bytes/hex.ts'
import { parseJson } from '../bytes/json.ts'
import { leafHash, leavesOf, merkleRoot, verifyConsistency } from '../bytes/merkle.ts'
import { Shape } from '../bytes/shape.ts'
import type { MaybePromise } from '../crypto/types.ts'
import { fail } from '../errors.ts'
import type { StreamEvent } from './events.ts'

/** Bytes of the largest SSE event accepted. */
export const maxEventBytes: number = 1 << 20
/** Events of the longest stream accepted: one for each token of the largest contexts. Events may be two bytes, their hashes are not. */
export const maxStreamEvents: number = 1 << 17
const lf = 0x0a

/**
 * Cuts a byte stream into SSE events: raw bytes up to and including the blank line (LF LF). What is not a whole event yet stays inside.
 * Only LF framing is an event boundary here: aci/1 hashes the stream as it is, and this product emits nothing else.
 */
export class EventSplitter {
  /** The bytes after the last whole event, at its start; it grows by doubling, so that many small chunks of one long event cost linear time. */
  #buffer: Uint8Array = new Uint8Array(0)
  #length = 0
  readonly #shares: boolean

  /** `shares`: an event that lies whole within a chunk shares its memory, for who knows that nobody writes there again. Without it, events are copies. */
  constructor({ shares = false }: { readonly shares?: boolean } = {}) {
    this.#shares = shares
  }

  /** Whole events that end in this chunk. Throws `response_too_large` where one event exceeds {@link maxEventBytes}. */
  push(chunk: Uint8Array): Uint8Array[] {
    return this.#length === 0 ? this.#cut(chunk) : this.#join(chunk)
  }

  /** With nothing held, which is nearly always. */
  #cut(chunk: Uint8Array): Uint8Array[] {
    const events: Uint8Array[] = []
    let start = 0
    for (let at = chunk.indexOf(lf); at >= 0 && at + 1 < chunk.length; at = chunk.indexOf(lf, at)) {
      if (chunk[at + 1] !== lf) {
        at++
        continue
      }
      if (at + 2 - start > maxEventBytes) throw tooLarge()
      const event = chunk.subarray(start, at + 2)
      // The chunk is its owner's, and may be much larger.
      events.push(this.#shares ? event : new Uint8Array(event))
      start = at + 2
      at = start
    }
    if (start < chunk.length) this.#append(chunk.subarray(start))
    if (this.#length > maxEventBytes) throw tooLarge()
    return events
  }

  #join(chunk: Uint8Array): Uint8Array[] {
    const searched = this.#length
    const bytes = this.#append(chunk)
    const events: Uint8Array[] = []
    let start = 0
    // The last byte searched may be the first of the two line feeds.
    let at = Math.max(0, searched - 1)
    for (;;) {
      const found = bytes.indexOf(lf, at)
      if (found < 0 || found + 1 >= bytes.length) break
      if (bytes[found + 1] === lf) {
        if (found + 2 - start > maxEventBytes) throw tooLarge()
        events.push(bytes.slice(start, found + 2))
        start = found + 2
        at = start
      } else at = found + 1
    }
    this.#buffer.copyWithin(0, start, this.#length)
    this.#length -= start
    if (this.#length > maxEventBytes) throw tooLarge()
    return events
  }

  /** Bytes after the last whole event. */
  get rest(): Uint8Array {
    return this.#buffer.slice(0, this.#length)
  }

  #append(chunk: Uint8Array): Uint8Array {
    const length = this.#length + chunk.length
    if (length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.#buffer.length))
      larger.set(this.#buffer.subarray(0, this.#length))
      this.#buffer = larger
    }
    this.#buffer.set(chunk, this.#length)
    this.#length = length
    return this.#buffer.subarray(0, length)
  }
}

function tooLarge(): Error {
  return fail('response_too_large', `expected events of at most ${maxEventBytes} bytes`)
}

/** Leaf hashes of a stream, for its root and for prefix proofs. */
export class StreamTree {
  /** One behind the other, with room for more: an array each would take ten times the memory, of thousands of events in each of a thousand streams. */
  #leaves: Uint8Array = new Uint8Array(256)
  #events = 0
  #bytes = 0
  #root: { readonly events: number; readonly hash: Uint8Array } | null = null

  /** How many there are. */
  get events(): number {
    return this.#events
  }

  /** Of all events. */
  get bytes(): number {
    return this.#bytes
  }

  /** 32 bytes for each event, one behind the other. */
  get leaves(): Uint8Array {
    return this.#leaves.subarray(0, 32 * this.#events)
  }

  /** Done at once where hashing is, as under Node: there is then no promise for each event. Throws `response_too_large` past {@link maxStreamEvents}. */
  append(event: Uint8Array): MaybePromise<void> {
    if (this.#events >= maxStreamEvents) throw fail('response_too_large', `expected streams of at most ${maxStreamEvents} events`)
    this.#bytes += event.length
    const leaf = leafHash(event)
    if (leaf instanceof Promise) return leaf.then((hash) => this.#keep(hash))
    this.#keep(leaf)
  }

  #keep(leaf: Uint8Array): void {
    const at = 32 * this.#events++
    if (at === this.#leaves.length) {
      const larger = new Uint8Array(2 * at)
      larger.set(this.#leaves)
      this.#leaves = larger
    }
    this.#leaves.set(leaf, at)
  }

  /** Of the events so far; computed once for as many. */
  async root(): Promise<Uint8Array> {
    const events = this.#events
    if (this.#root?.events !== events) this.#root = { events, hash: await merkleRoot(leavesOf(this.leaves)) }
    return this.#root.hash
  }

  /** A tree that goes on from here on its own. */
  fork(): StreamTree {
    const copy = new StreamTree()
    copy.#leaves = this.#leaves.slice()
    copy.#events = this.#events
    copy.#bytes = this.#bytes
    return copy
  }

  async event(): Promise<StreamEvent> {
    return { type: 'veritee.stream', events: this.#events, bytes: this.#bytes, root: `sha256:${toHex(await this.root())}` }
  }
}

/** The answer to `GET /v1/aci/receipts/{id}?prefix=k`: that the first k events are a prefix of the signed stream. */
export interface PrefixProof {
  readonly prefix: number
  readonly consistency: readonly string[]
}

const shape = new Shape('receipt_stream_mismatch')

/** Reads a prefix proof. Throws `receipt_stream_mismatch`, `malformed_json`. */
export function parsePrefixProof(text: string): PrefixProof {
  const o = shape.object(parseJson(text, { maxLength: 16_384, maxDepth: 4 }), 'proof', ['prefix', 'consistency'], ['receipt'])
  return {
    prefix: shape.integer(o.prefix, 'proof.prefix'),
    consistency: shape.array(o.consistency, 'proof.consistency', 64).map((item, i) => shape.hex(item, `proof.consistency[${i}]`, 32)),
  }
}

/**
 * Verifies that the events in `received` are the first ones of the stream a receipt commits to (rule S9).
 * The caller has verified the receipt. Throws `receipt_stream_mismatch`, also for an empty prefix: nothing received is nothing proven.
 */
export async function verifyPrefix(received: StreamTree, signed: StreamEvent, proof: PrefixProof): Promise<void> {
  const count = received.events
  const root = await received.root()
  const signedRoot = fromHex(signed.root.slice(7), 32)
  const consistency = proof.consistency.map((hash) => fromHex(hash, 32))
  if (proof.prefix !== count || !(await verifyConsistency(count, root, signed.events, signedRoot, consistency)))
    throw fail('receipt_stream_mismatch', `expected the ${count} received events to be a prefix of the ${signed.events} signed ones`)
}

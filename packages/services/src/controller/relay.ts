import { createHash, type Hash, hash } from 'node:crypto'
import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import { EventSplitter, maxStreamEvents, type Outcome, type ReceiptEvent, StreamTree } from 'veritee/receipt'
import { HttpError } from '../http/errors.ts'
import { SlowReader } from '../http/slow-reader.ts'
import type { StreamForm } from './stages/stream-form.ts'
import type { Whole, WorkerAnswer } from './worker-answer.ts'

/** Of the longest plain answer: a client keeps no more to verify it. */
export const maxPlainBytes = 64 << 20

/** What went over both hops for one answer. */
export interface Relayed {
  /** Over the worker's bytes. */
  readonly receivedHash: string
  readonly received: StreamTree | null
  readonly complete: boolean
  /** What came after the worker's bytes, where they are complete; absent is none. */
  readonly trailers?: IncomingHttpHeaders
  /** Over the bytes handed to the requester's transport, where they differ from the worker's only by an appended error event. */
  readonly returnedHash: string
  readonly returned: StreamTree | null
  readonly appended: boolean
  readonly outcome: Outcome
  /** A plain body, held back until the worker's receipt was checked. */
  readonly held: Buffer | null
  readonly chatId: string | null
  /** The event that tells the reader that the answer is whole: the caller sends it once the receipt is durable. */
  readonly last: Uint8Array | null
}

/** A plain answer that has come whole; nothing of it is sent yet. */
export function heldPlain(statusCode: number, { bytes, trailers }: Whole): Relayed {
  const receivedHash = bodyHash(bytes)
  return {
    receivedHash,
    received: null,
    complete: true,
    trailers,
    returnedHash: receivedHash,
    returned: null,
    appended: false,
    outcome: statusCode === 200 ? 'complete' : 'refused',
    held: bytes,
    chatId: chatIdOf(bytes),
    last: null,
  }
}

/**
 * Passes a stream on, whole events only and byte for byte, hashing and building the tree as it goes (rule S9).
 * A worker that breaks off gets the one thing a controller may add: a final error event. Does not end the response, and keeps back the last event.
 * A requester that takes nothing slows the worker down, and is left after a while. `first` is called when the first bytes have come.
 */
export async function relayStream(
  answer: WorkerAnswer,
  response: ServerResponse,
  form: StreamForm,
  first: () => void = () => undefined,
): Promise<Relayed> {
  const passing = new Passing(response, form)
  const reader = new SlowReader(response, answer)
  let broken: HttpError | null = null
  let trailers: IncomingHttpHeaders = {}
  let begun = false
  try {
    trailers = await answer.read((part) => {
      if (!begun) first()
      begun = true
      if (response.destroyed) return answer.abort()
      if (!passing.pass(part)) reader.wait()
    })
    if (passing.unfinished) broken = brokenStream('the worker ended its stream within an event')
  } catch (cause) {
    // A bound of ours, or the worker's doing.
    broken = cause instanceof HttpError ? cause : brokenStream('the worker broke off its stream')
  } finally {
    reader.end()
  }
  const { tree, hash: running, chatId } = passing
  const receivedHash = digestOf(running.copy())
  const gone = response.destroyed
  if (gone || broken === null)
    return {
      receivedHash,
      received: tree,
      complete: !gone,
      ...(!gone && { trailers }),
      returnedHash: receivedHash,
      returned: tree,
      appended: false,
      outcome: gone ? 'aborted' : 'complete',
      held: null,
      chatId,
      last: gone ? null : passing.last,
    }
  if (passing.last !== null) response.write(passing.last)
  const returned = tree.fork()
  const event = form.failure(broken, tree.events)
  running.update(event)
  await returned.append(event)
  response.write(event)
  return {
    receivedHash,
    received: tree,
    complete: false,
    returnedHash: digestOf(running),
    returned,
    appended: true,
    outcome: 'error',
    held: null,
    chatId,
    last: null,
  }
}

function brokenStream(message: string): HttpError {
  return new HttpError(502, 'server_error', message, { code: 'upstream_broken' })
}

/** A stream on its way: everything here happens at once, since a promise for each event would cost more than its hash. */
class Passing {
  readonly tree = new StreamTree()
  readonly hash: Hash = createHash('sha256')
  chatId: string | null = null
  last: Uint8Array | null = null
  readonly #response: ServerResponse
  readonly #form: StreamForm
  /** Nobody writes into what came over a connection; to copy each event would take as long as to hash it. */
  readonly #splitter = new EventSplitter({ shares: true })

  constructor(response: ServerResponse, form: StreamForm) {
    this.#response = response
    this.#form = form
  }

  /** The worker's bytes do not end with an event. */
  get unfinished(): boolean {
    return this.#splitter.rest.length > 0
  }

  /** The events that end in a part go out in one write. False where the requester should be waited for. Throws where an event or the stream is too long. */
  pass(part: Buffer): boolean {
    const events = this.#splitter.push(part)
    if (events.length === 0) return true
    const out: Uint8Array[] = this.last === null ? [] : [this.last]
    this.last = null
    // One more is left for the error event.
    const room = maxStreamEvents - 1 - this.tree.events
    for (const event of events.slice(0, room)) {
      this.chatId ??= this.#form.idOf(event)
      this.hash.update(event)
      void this.tree.append(event)
      // Where something follows it, it was not the last.
      if (this.last !== null) out.push(this.last)
      this.last = this.#form.isLast(event) ? event : null
      if (this.last === null) out.push(event)
    }
    const [only] = out
    const written = only === undefined || this.#response.write(out.length === 1 ? only : Buffer.concat(out))
    // What was hashed has gone out: the receipt is over what the requester gets.
    if (events.length > room) throw brokenStream('the worker sent more events than an answer has')
    return written
  }
}

/** The events that describe a stream, `response.returned` last. */
export async function streamEvents(relayed: Relayed): Promise<readonly ReceiptEvent[]> {
  const events: ReceiptEvent[] = []
  if (relayed.appended && relayed.received !== null) {
    const received = await relayed.received.event()
    events.push({ type: 'veritee.response.received', body_hash: relayed.receivedHash, events: received.events, root: received.root })
  }
  if (relayed.returned !== null) events.push(await relayed.returned.event())
  events.push(...plainEvents(relayed))
  return events
}

/** Those that describe a plain answer. */
export function plainEvents({ outcome, returnedHash }: Relayed): readonly ReceiptEvent[] {
  return [
    { type: 'veritee.outcome', outcome },
    { type: 'response.returned', body_hash: returnedHash },
  ]
}

export function digestOf(running: { digest(encoding: 'hex'): string }): string {
  return `sha256:${running.digest('hex')}`
}

/** Of a whole body, or of a document in its canonical form. */
export function bodyHash(content: Uint8Array | string): string {
  return `sha256:${hash('sha256', content, 'hex')}`
}

const beginning = /^\{"id":"([\w.:-]{1,128})"/

/** Workers write it first. No more is read than where it would be: objects of the whole text can take twenty times its bytes, and time that all others wait. */
function chatIdOf(bytes: Buffer): string | null {
  return beginning.exec(bytes.toString('latin1', 0, 256))?.[1] ?? null
}

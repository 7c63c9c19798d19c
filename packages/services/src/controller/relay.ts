import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { EventSplitter, maxStreamEvents, type Outcome, type ReceiptEvent, StreamTree } from 'veritee/receipt'
import { write } from '../http/body.ts'
import { HttpError } from '../http/errors.ts'
import type { StreamForm } from './stages/stream-form.ts'
import { readAll } from './upstream.ts'

/** Of the longest plain answer: a client keeps no more to verify it. */
const maxPlainBytes = 64 << 20

/** What went over both hops for one answer. */
export interface Relayed {
  /** Over the worker's bytes. */
  readonly receivedHash: string
  readonly received: StreamTree | null
  readonly complete: boolean
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

/** Reads a plain answer whole; nothing is sent yet. Throws 502, with the code `response_too_large` past the bound. */
export async function holdPlain(answer: Dispatcher.ResponseData): Promise<Relayed> {
  const held = await readAll(answer.body, maxPlainBytes)
  const hash = digestOf(createHash('sha256').update(held))
  return {
    receivedHash: hash,
    received: null,
    complete: true,
    returnedHash: hash,
    returned: null,
    appended: false,
    outcome: answer.statusCode === 200 ? 'complete' : 'refused',
    held,
    chatId: chatIdOf(held),
    last: null,
  }
}

/**
 * Passes a stream on, whole events only and byte for byte, hashing and building the tree as it goes (rule S9).
 * A worker that breaks off gets the one thing a controller may add: a final error event. Does not end the response, and keeps back the last event.
 */
export async function relayStream(body: Readable, response: ServerResponse, form: StreamForm): Promise<Relayed> {
  const splitter = new EventSplitter()
  const tree = new StreamTree()
  const hash = createHash('sha256')
  let chatId: string | null = null
  let broken: HttpError | null = null
  let last: Uint8Array | null = null
  try {
    for await (const part of body as AsyncIterable<Buffer>) {
      for (const event of splitter.push(part)) {
        // One more is left for the error event.
        if (tree.leaves.length === maxStreamEvents - 1) throw brokenStream('the worker sent more events than an answer has')
        chatId ??= form.idOf(event)
        hash.update(event)
        await tree.append(event)
        // Where something follows it, it was not the last.
        if (last !== null) await write(response, last)
        last = form.isLast(event) ? event : null
        if (last === null && !(await write(response, event))) body.destroy()
      }
    }
    if (splitter.rest.length > 0) broken = brokenStream('the worker ended its stream within an event')
  } catch (cause) {
    // A bound of ours, or the worker's doing.
    broken = cause instanceof HttpError ? cause : brokenStream('the worker broke off its stream')
  }
  const receivedHash = digestOf(hash.copy())
  const gone = response.destroyed
  if (gone || broken === null)
    return {
      receivedHash,
      received: tree,
      complete: !gone,
      returnedHash: receivedHash,
      returned: tree,
      appended: false,
      outcome: gone ? 'aborted' : 'complete',
      held: null,
      chatId,
      last: gone ? null : last,
    }
  if (last !== null) await write(response, last)
  const returned = tree.fork()
  const event = form.failure(broken, tree.leaves.length)
  hash.update(event)
  await returned.append(event)
  await write(response, event)
  return {
    receivedHash,
    received: tree,
    complete: false,
    returnedHash: digestOf(hash),
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

/** The events that describe the answer, `response.returned` last. */
export async function responseEvents(relayed: Relayed): Promise<ReceiptEvent[]> {
  const events: ReceiptEvent[] = []
  if (relayed.appended && relayed.received !== null) {
    const received = await relayed.received.event()
    events.push({ type: 'veritee.response.received', body_hash: relayed.receivedHash, events: received.events, root: received.root })
  }
  if (relayed.returned !== null) events.push(await relayed.returned.event())
  events.push({ type: 'veritee.outcome', outcome: relayed.outcome })
  events.push({ type: 'response.returned', body_hash: relayed.returnedHash })
  return events
}

export function digestOf(hash: { digest(encoding: 'hex'): string }): string {
  return `sha256:${hash.digest('hex')}`
}

const beginning = /^\{"id":"([\w.:-]{1,128})"/

/** Workers write it first. No more is read than where it would be: objects of the whole text can take twenty times its bytes, and time that all others wait. */
function chatIdOf(bytes: Uint8Array): string | null {
  return beginning.exec(Buffer.from(bytes.subarray(0, 256)).toString('latin1'))?.[1] ?? null
}

import { toHex } from '../../bytes/hex.ts'
import { fail, VeriteeError } from '../../errors.ts'
import { receiptKeyOf } from '../inclusion/promised.ts'
import { typedError } from '../proof/errors.ts'
import { Holding, type Mode } from './holding.ts'
import { Outlet } from './outlet.ts'
import { type Judged, judge, type Proving } from './proving.ts'
import { Receiving } from './receiving.ts'
import type { Sent } from './sending.ts'

/** An answer on its way to the caller. */
export interface Answering {
  readonly response: Response
  readonly judged: Promise<Judged>
  /** Takes the answer in whether or not its reader reads: somebody waits for the proof. */
  hurry(): void
}

/** Milliseconds that a body may go on after the event that ends its answer, once nobody reads it. */
const endingMs = 1000

/** Headers that are not of the body as the caller gets it. */
const notPassedOn = new Set(['content-length', 'content-encoding', 'transfer-encoding', 'connection', 'keep-alive', 'trailer', 'set-cookie'])

/** The status and headers of an answer with another body. */
export function responseWith(
  body: ReadableStream<Uint8Array> | string | null,
  status: number,
  received: { readonly [name: string]: string },
): Response {
  const headers = new Headers()
  for (const [name, value] of Object.entries(received)) if (!notPassedOn.has(name)) headers.set(name, value)
  return new Response(status === 204 || status === 205 || status === 304 ? null : body, { status, headers })
}

/**
 * Gives an answer to its caller as `mode` says, and verifies it once it has ended, or once the caller stops or aborts. Where the proof fails, the reader gets the typed
 * error in the place of what was withheld, and of the end. An answer that breaks off never ends for its reader: it fails, although what came of it may be proven.
 * A refusal is given as it comes: null for `mode`. What it is worth is found out afterwards.
 */
export function answerTo(sent: Sent, given: Mode | null, proving: () => Proving): Answering {
  const mode = given ?? 'report'
  const contentType = sent.response.headers['content-type'] ?? ''
  const streaming = contentType.startsWith('text/event-stream')
  const receiving = new Receiving(streaming)
  const holding = new Holding(mode, streaming)
  const stopped = new AbortController()
  const stop = (): void => {
    stopped.abort()
    sent.abort.abort()
  }
  // A reader that leaves after the end of the answer leaves nothing out: the little that follows is taken in, so that the whole is proven.
  let grace: ReturnType<typeof setTimeout> | undefined
  const outlet = new Outlet(() => {
    if (holding.ending) grace = setTimeout(stop, endingMs)
    else stop()
  })
  const { signal } = sent.call
  const aborted = (): void => {
    stop()
    outlet.fail(signal.reason)
  }
  if (signal.aborted) aborted()
  signal.addEventListener('abort', aborted, { once: true })

  async function run(): Promise<Judged> {
    const broken = await receive(sent, receiving, stopped.signal, async (pieces) => {
      const { signal: given } = stopped
      if (given.aborted) return
      outlet.push(holding.take(pieces))
      const room = outlet.room()
      if (room !== undefined) await room
    })
    const complete = broken === null
    if (complete) holding.hold(receiving.end())
    // Somebody changed it on the way, or sent without end: nothing of it is judged.
    if (given === null && complete) outlet.end()
    const judged = await judge(sent, receiving, complete, proving(), broken?.fault, (error) => {
      if (mode !== 'report') outlet.fail(typedError(error))
    })
    if (judged.failure === null || mode === 'report') {
      outlet.push(holding.release())
      // However cleanly it ended on its way here: a reader that is told of no failure takes it for the whole.
      const partial = judged.proof.status === 'verified-prefix' && mode !== 'report'
      outlet.end(broken === null && !partial ? null : { error: typedError(broken?.fault ?? brokeOff(receiving)) })
    }
    return judged
  }
  const judged = run().finally(() => {
    clearTimeout(grace)
    signal.removeEventListener('abort', aborted)
  })
  // Who does not ask for the proof still gets its failure, as that of the body.
  judged.catch((error: unknown) => outlet.fail(error))
  return { response: responseWith(outlet.stream, sent.response.status, openedHeaders(sent)), judged, hurry: () => outlet.hurry() }
}

/** With the key to its receipt in clear, as it is where nothing is encrypted: whoever may not use an answer may still have to show why. */
export function openedHeaders(sent: Sent): Sent['response']['headers'] {
  const { headers } = sent.response
  const key = receiptKeyOf(sent)
  return key === null ? headers : { ...headers, 'x-veritee-receipt-key': toHex(key) }
}

function brokeOff({ length }: Receiving): Error {
  return fail('service_unavailable', `the answer broke off after ${length} bytes`)
}

/** Null where the body came to its end; else why not: a `fault` is an error of this library, such as a frame that does not open. */
async function receive(
  sent: Sent,
  receiving: Receiving,
  stopped: AbortSignal,
  take: (pieces: readonly Uint8Array[]) => Promise<void>,
): Promise<{ readonly fault?: unknown } | null> {
  try {
    for await (const part of sent.body) {
      const pieces = receiving.split(part)
      for (const piece of pieces) {
        const kept = receiving.keep(piece)
        if (kept !== undefined) await kept
      }
      await take(pieces)
      if (stopped.aborted) return {}
    }
    return null
  } catch (error) {
    sent.abort.abort()
    return stopped.aborted || !(error instanceof VeriteeError) ? {} : { fault: error }
  }
}

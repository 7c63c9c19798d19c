import { createHash, randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import {
  applyRewrite,
  type Outcome,
  type ReceiptEvent,
  requestLimits,
  responsesToChat,
  type SplicedRequest,
  type StreamEvent,
  type StreamTree,
} from 'veritee/receipt'
import { chatEndpoint } from '../../../http/chat-request.ts'
import { errorBody, HttpError } from '../../../http/errors.ts'
import { addReceipt, endPlain } from '../../../http/receipt-trailer.ts'
import { paddedJson } from '../../runtime/ehbp/padding.ts'
import type { PendingReceipt } from '../../runtime/ledger.ts'
import { EventStream } from '../event-stream.ts'
import { type AskedChat, type UpstreamEndpoint, understand } from './asked.ts'
import { EngineAnswer } from './chunk.ts'
import { externalEngineEvent } from './facts.ts'
import type { UpstreamForm } from './forms/form.ts'
import { type Rewrite, rewriteRequest } from './kinds/rewrite.ts'
import type { PlacedModel } from './upstream-model.ts'
import { askEngine, type EngineResponse, readText } from './wire/connection.ts'
import { EngineFailure, failureAnswer, statusFailure } from './wire/failure.ts'
import { SseReader } from './wire/sse.ts'

/** A request that was read, for a model of an engine in another process. */
export interface UpstreamCall {
  readonly endpoint: UpstreamEndpoint
  readonly placed: PlacedModel
  readonly spliced: SplicedRequest
  readonly requestHash: string
  readonly clientNonce: string | null
  /** How the request came, where its body was encrypted: its answer is padded then. */
  readonly transport: readonly ReceiptEvent[]
  /** Unix seconds. */
  readonly created: number
  readonly receipt: PendingReceipt
  readonly response: ServerResponse
  /** Aborted when the client leaves. */
  readonly signal: AbortSignal
  /** Silence of a stream after which a comment is sent. */
  readonly heartbeatMs: number | undefined
}

const maxBodyBytes = 16 << 20
const maxErrorBytes = 1 << 16
/** Of a stream from the engine, its comments included. */
const maxStreamBytes = 1 << 28

/**
 * Lets an external engine answer. The request goes on with its bytes as they were, one for a response told as a chat first, changed by a patch that the
 * receipt tells; the answer is read whole event by whole event and written anew, so that what is hashed is what was sent. A client that leaves closes the
 * connection to the engine.
 *
 * Throws {@link RequestError} and {@link HttpError} for a request that never reaches the engine, and gets no receipt. After that it does not throw, and
 * signs exactly one receipt: also for what the engine refused, broke off or never ended.
 */
export async function answerUpstream(call: UpstreamCall): Promise<void> {
  const { placed, receipt, response } = call
  const { model, running } = placed
  const asked = understand(call)
  const { request } = asked
  if (running.size >= model.maxConcurrent)
    throw new HttpError(429, 'rate_limit_error', 'too many requests wait for the engine; retry later', {
      code: 'engine_busy',
      headers: { 'retry-after': '1' },
    })
  const rewrite = rewriteRequest(asked.value, { kind: model.engineKind, engineModel: model.engineModel, capabilities: model.capabilities })
  const body = applyRewrite(asked.bytes, rewrite.patch, requestLimits)
  const receiptKey = randomBytes(32)
  response.setHeader('x-receipt-id', receipt.id)
  response.setHeader('x-veritee-receipt-key', receiptKey.toString('hex'))
  const answering: Answering = { call, asked, rewrite, body, receiptKey, form: asked.form, answer: new EngineAnswer(request.wantsTokenIds) }
  running.add(answering)
  try {
    await (request.stream ? stream(answering) : whole(answering))
  } finally {
    running.delete(answering)
  }
}

interface Answering {
  readonly call: UpstreamCall
  readonly asked: AskedChat
  readonly rewrite: Rewrite
  readonly body: Uint8Array
  readonly receiptKey: Uint8Array
  readonly form: UpstreamForm
  readonly answer: EngineAnswer
}

async function whole(answering: Answering): Promise<void> {
  const { answer, call, form } = answering
  const { response, signal } = call
  let sent: Uint8Array = new Uint8Array(0)
  let failure: unknown = null
  try {
    const whole = Buffer.from(form.whole(answer.whole(await readText(await ask(answering, 'application/json'), maxBodyBytes))))
    sent = call.transport.length === 0 ? whole : paddedJson(whole)
  } catch (error) {
    failure = error
  }
  // Nobody is there to take an aborted answer: its receipt is over no bytes at all.
  if (signal.aborted) return void (await finish(answering, 'aborted', digest(new Uint8Array(0)), null))
  if (failure !== null) return refuse(answering, failure)
  endPlain(response, 200, sent, await finish(answering, answer.outcome, digest(sent), null))
}

/** Comments keep a stream while the engine says nothing, also before it has taken the request: what it refuses after the first of them is an error within the stream. */
async function stream(answering: Answering): Promise<void> {
  const { answer, call, form } = answering
  const { response, signal } = call
  response.setHeader('content-type', 'text/event-stream; charset=utf-8')
  response.setHeader('cache-control', 'no-store')
  const first = form.begin()
  // The engine's first event holds the role alone, or the first words.
  const events = new EventStream<string>(response, first.length + 2, {
    tell: (event) => event,
    padded: call.transport.length > 0,
    heartbeatMs: call.heartbeatMs,
  })
  const send = (told: readonly string[]): Promise<void> | undefined => {
    let room: Promise<void> | undefined
    for (const event of told) room = events.emit(event)
    return room
  }
  let failure: unknown = null
  let begun = false
  const begin = (): void => {
    if (!begun) send(first)
    begun = true
  }
  try {
    const engine = await ask(answering, 'text/event-stream')
    if (!response.headersSent) response.flushHeaders()
    begin()
    await pass(engine, answering, send)
  } catch (error) {
    failure = error
  }
  const gone = signal.aborted || response.destroyed
  if (!gone && failure !== null && !response.headersSent) {
    events.abandon()
    response.removeHeader('cache-control')
    return refuse(answering, failure)
  }
  let last: string | null = null
  try {
    if (!gone && failure === null) last = form.done(null)
  } catch (error) {
    // The engine has answered, and what it said cannot be told as the end of this stream: it has failed, and has a receipt.
    failure = error
  }
  if (!gone && failure !== null) {
    const told = failureAnswer(failure)
    begin()
    await send(form.failed(told))
    last = form.done(told)
  }
  // What tells the reader that the answer is whole goes out after the receipt is durable, or not at all.
  const ending = last
  const { bodyHash, event, end } = await events.close(ending === null ? null : () => ending)
  const outcome = gone ? 'aborted' : failure === null ? answer.outcome : outcomeOf(failure)
  addReceipt(response, await finish(answering, outcome, bodyHash, { tree: events.tree, event }))
  end()
}

/** Events of the engine to events of ours, until the engine says that it is done. What comes after that is not read. */
async function pass(
  engine: EngineResponse,
  { answer, form, call }: Answering,
  send: (told: readonly string[]) => Promise<void> | undefined,
): Promise<void> {
  const reader = new SseReader()
  let length = 0
  for await (const piece of engine.body) {
    length += piece.length
    if (length > maxStreamBytes) throw new EngineFailure('failed', 'the engine sent more than an answer has')
    for (const data of reader.push(piece)) {
      if (data === '[DONE]') {
        answer.finish()
        return send(form.end())
      }
      const room = send(form.chunk(answer.chunk(data)))
      // Until the client can take more, which is what holds the engine back.
      if (room !== undefined) await room
      if (call.response.destroyed) return
    }
  }
  throw new EngineFailure('failed', 'the engine broke off its answer')
}

async function ask({ call, body }: Answering, accept: 'application/json' | 'text/event-stream'): Promise<EngineResponse> {
  const { address, times } = call.placed.model
  const engine = await askEngine(address, { method: 'POST', path: chatEndpoint, accept, body, times, signal: call.signal })
  if (engine.status !== 200) {
    // A reason that cannot be read is none.
    const text = await readText(engine, maxErrorBytes).catch(() => '')
    throw statusFailure(engine.status, text)
  }
  if (engine.contentType !== accept) {
    engine.close()
    throw new EngineFailure('failed', 'the engine sent an answer of another type than was asked')
  }
  return engine
}

/** An answer with an error status: nothing had been sent. */
async function refuse(answering: Answering, failure: unknown): Promise<void> {
  const error = answering.asked.inItsWords(failureAnswer(failure))
  const plain = Buffer.from(errorBody(error))
  const body = answering.call.transport.length === 0 ? plain : paddedJson(plain)
  await finish(answering, outcomeOf(failure), digest(body), null)
  answering.call.response.removeHeader('trailer')
  answering.call.response.writeHead(error.status, { 'content-type': 'application/json', 'content-length': body.length, ...error.headers }).end(body)
}

function outcomeOf(failure: unknown): Outcome {
  return failure instanceof EngineFailure && ['refused', 'context', 'busy', 'unreachable'].includes(failure.kind) ? 'refused' : 'error'
}

async function finish(
  answering: Answering,
  outcome: Outcome,
  responseHash: string,
  stream: { readonly tree: StreamTree; readonly event: StreamEvent } | null,
): Promise<Buffer> {
  const { call, asked, rewrite, body, receiptKey, form, answer } = answering
  const { placed, spliced, requestHash, clientNonce, transport, receipt } = call
  const events: ReceiptEvent[] = [
    { type: 'request.received', body_hash: requestHash },
    { type: 'request.forwarded', body_hash: digest(spliced.forwarded) },
    { type: 'veritee.request', client_nonce: clientNonce },
    ...transport,
    { type: 'veritee.rewrite', ...(asked.translated && { translation: responsesToChat }), patch: rewrite.patch, body_hash: digest(body) },
    placed.event,
    externalEngineEvent({ placed, request: asked.request, rewrite, answer, outcome, receiptKey }),
    ...(stream === null ? [] : [stream.event]),
    { type: 'response.returned', body_hash: responseHash },
  ]
  return receipt.finish({ chatId: form.id, model: placed.model.name, endpoint: form.endpoint, events, stream: stream?.tree ?? null, receiptKey })
}

function digest(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

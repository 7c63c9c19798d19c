import { createHash, randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { applyRewrite, type Outcome, type ReceiptEvent, requestLimits, type SplicedRequest } from 'veritee/receipt'
import { chatEndpoint } from '../../../http/chat-request.ts'
import { errorBody, HttpError } from '../../../http/errors.ts'
import { addReceipt, endPlain } from '../../../http/receipt-trailer.ts'
import { paddedJson } from '../../runtime/ehbp/padding.ts'
import type { PendingReceipt } from '../../runtime/ledger.ts'
import { EngineAnswer } from './chunk.ts'
import { externalEngineEvent } from './facts.ts'
import { type Rewrite, rewriteRequest } from './kinds/rewrite.ts'
import { readUpstreamRequest, type UpstreamRequest } from './request.ts'
import { doneEvent, errorEvent, SseSink } from './sse-sink.ts'
import type { PlacedModel } from './upstream-model.ts'
import { askEngine, type EngineResponse, readText } from './wire/connection.ts'
import { EngineFailure, failureAnswer, statusFailure } from './wire/failure.ts'
import { SseReader } from './wire/sse.ts'

/** A request that was read, for a model of an engine in another process. */
export interface UpstreamCall {
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
}

const maxBodyBytes = 16 << 20
const maxErrorBytes = 1 << 16
/** Of a stream from the engine, its comments included. */
const maxStreamBytes = 1 << 28

/**
 * Lets an external engine answer. The request goes on with its bytes as they were, changed by a patch that the receipt tells; the answer is read whole
 * event by whole event and written anew, so that what is hashed is what was sent. A client that leaves closes the connection to the engine.
 *
 * Throws {@link RequestError} and {@link HttpError} for a request that never reaches the engine, and gets no receipt. After that it does not throw, and
 * signs exactly one receipt: also for what the engine refused, broke off or never ended.
 */
export async function answerUpstream(call: UpstreamCall): Promise<void> {
  const { placed, spliced, created, receipt, response } = call
  const { model, running } = placed
  const request = readUpstreamRequest(spliced.value, model.capabilities)
  if (running.size >= model.maxConcurrent)
    throw new HttpError(429, 'rate_limit_error', 'too many requests wait for the engine; retry later', {
      code: 'engine_busy',
      headers: { 'retry-after': '1' },
    })
  const rewrite = rewriteRequest(spliced.value, { kind: model.engineKind, engineModel: model.engineModel, capabilities: model.capabilities })
  const body = applyRewrite(spliced.forwarded, rewrite.patch, requestLimits)
  const receiptKey = randomBytes(32)
  const frame = { id: `chatcmpl-${randomBytes(16).toString('hex')}`, created, model: model.name }
  response.setHeader('x-receipt-id', receipt.id)
  response.setHeader('x-veritee-receipt-key', receiptKey.toString('hex'))
  const answering: Answering = { call, request, rewrite, body, receiptKey, chatId: frame.id, answer: new EngineAnswer(frame, request) }
  running.add(answering)
  try {
    await (request.stream ? stream(answering) : whole(answering))
  } finally {
    running.delete(answering)
  }
}

interface Answering {
  readonly call: UpstreamCall
  readonly request: UpstreamRequest
  readonly rewrite: Rewrite
  readonly body: Uint8Array
  readonly receiptKey: Uint8Array
  readonly chatId: string
  readonly answer: EngineAnswer
}

async function whole(answering: Answering): Promise<void> {
  const { answer, call } = answering
  const { response, signal } = call
  let sent: Uint8Array = new Uint8Array(0)
  let failure: unknown = null
  try {
    const whole = answer.body(await readText(await ask(answering, 'application/json'), maxBodyBytes))
    sent = call.transport.length === 0 ? whole : paddedJson(whole)
  } catch (error) {
    failure = error
  }
  // Nobody is there to take an aborted answer: its receipt is over no bytes at all.
  if (signal.aborted) return void (await finish(answering, 'aborted', digest(new Uint8Array(0)), null))
  if (failure !== null) return refuse(answering, failure)
  endPlain(response, 200, sent, await finish(answering, answer.outcome, digest(sent), null))
}

async function stream(answering: Answering): Promise<void> {
  const { answer, call } = answering
  const { response, signal } = call
  const sink = new SseSink(response, call.transport.length > 0)
  let failure: unknown = null
  try {
    const engine = await ask(answering, 'text/event-stream')
    sink.open()
    await pass(engine, answer, sink)
  } catch (error) {
    failure = error
  }
  const gone = signal.aborted || response.destroyed
  if (!gone && failure !== null && !sink.isOpen) return refuse(answering, failure)
  if (!gone && failure !== null) await sink.emit(errorEvent(errorBody(failureAnswer(failure))))
  // What tells the reader that the answer is whole goes out after the receipt is durable, or not at all.
  const last = gone || response.destroyed ? null : doneEvent
  const closing = last === null ? null : await sink.commit(last)
  addReceipt(response, await finish(answering, gone ? 'aborted' : failure === null ? answer.outcome : outcomeOf(failure), sink.digest(), sink))
  response.end(closing ?? undefined)
}

/** Events of the engine to events of ours, until the engine says that it is done. What comes after that is not read. */
async function pass(engine: EngineResponse, answer: EngineAnswer, sink: SseSink): Promise<void> {
  const reader = new SseReader()
  let length = 0
  for await (const piece of engine.body) {
    length += piece.length
    if (length > maxStreamBytes) throw new EngineFailure('failed', 'the engine sent more than an answer has')
    for (const data of reader.push(piece)) {
      if (data === '[DONE]') return answer.finish()
      const event = answer.event(data)
      if (event !== null && !(await sink.emit(event))) return
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
  const error = failureAnswer(failure)
  const plain = Buffer.from(errorBody(error))
  const body = answering.call.transport.length === 0 ? plain : paddedJson(plain)
  await finish(answering, outcomeOf(failure), digest(body), null)
  answering.call.response.removeHeader('trailer')
  answering.call.response.writeHead(error.status, { 'content-type': 'application/json', 'content-length': body.length, ...error.headers }).end(body)
}

function outcomeOf(failure: unknown): Outcome {
  return failure instanceof EngineFailure && ['refused', 'context', 'busy', 'unreachable'].includes(failure.kind) ? 'refused' : 'error'
}

async function finish(answering: Answering, outcome: Outcome, responseHash: string, sink: SseSink | null): Promise<string> {
  const { call, request, rewrite, body, receiptKey, chatId, answer } = answering
  const { placed, spliced, requestHash, clientNonce, transport, receipt } = call
  const events: ReceiptEvent[] = [
    { type: 'request.received', body_hash: requestHash },
    { type: 'request.forwarded', body_hash: digest(spliced.forwarded) },
    { type: 'veritee.request', client_nonce: clientNonce },
    ...transport,
    { type: 'veritee.rewrite', patch: rewrite.patch, body_hash: digest(body) },
    placed.event,
    externalEngineEvent({ placed, request, rewrite, answer, outcome, receiptKey }),
    ...(sink === null ? [] : [await sink.tree.event()]),
    { type: 'response.returned', body_hash: responseHash },
  ]
  return receipt.finish({ chatId, model: placed.model.name, endpoint: chatEndpoint, events, stream: sink?.tree ?? null, receiptKey })
}

function digest(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

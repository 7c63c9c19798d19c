import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type ReceiptEvent, requestLimits, type SplicedRequest, spliceConstraints } from 'veritee/receipt'
import { readRequestBody, sendError } from '../../http/body.ts'
import { nonceHeader, unknownModel } from '../../http/chat-request.ts'
import { checkExchangeModel } from '../../http/ehbp/open-body.ts'
import { errorBody, HttpError, toHttpError } from '../../http/errors.ts'
import { addReceipt, endPlain, offerReceipt } from '../../http/receipt-trailer.ts'
import { transportEvents } from '../runtime/ehbp/exchange.ts'
import { paddedJson } from '../runtime/ehbp/padding.ts'
import type { PendingReceipt } from '../runtime/ledger.ts'
import { drawBytes } from '../runtime/random.ts'
import { type Completion, type CompletionDelta, type CompletionResult, RequestError, withExactSeed } from './engine/index.ts'
import { EventStream } from './event-stream.ts'
import { openReceipt, type ReceiptDeps } from './sealed/open-receipt.ts'
import { choicesEvents, inferenceEvent, type ServedModel } from './served-model.ts'
import { answerUpstream, isUpstreamEndpoint, type PlacedModel } from './upstream/index.ts'

export interface AnswerDeps extends ReceiptDeps {
  readonly models: ReadonlyMap<string, ServedModel>
  /** Models that engines of other processes run; their names differ from those of `models`. */
  readonly upstream: ReadonlyMap<string, PlacedModel>
  readonly now: () => Date
  /** Silence of a stream after which a comment is sent; tests put a shorter one here. */
  readonly heartbeatMs?: number
}

/** What an answer of an endpoint looks like. Each object is one event of a stream. */
export interface AnswerShape {
  readonly id: string
  whole(result: CompletionResult, deltas: readonly CompletionDelta[]): object
  first(): readonly object[]
  delta(delta: CompletionDelta): readonly object[]
  /** After a complete answer, usage included where it was asked for. */
  last(result: CompletionResult): readonly object[]
  /** An object as an event of a stream. */
  frame(object: object): string
  /** What tells that the answer failed, before the event that ends the stream. */
  failed(error: HttpError): readonly object[]
  /** The event that ends a stream, whole or failed: what tells its reader that nothing is missing. Made when all before it are framed. */
  done(result: CompletionResult): () => string
}

/** One endpoint that generates text. */
export interface GeneratingEndpoint<R extends EndpointRequest> {
  readonly path: string
  /** Throws {@link RequestError}. */
  parse(body: Record<string, unknown>): R
  /** Throws {@link RequestError} and what starting a completion throws. */
  start(request: R, model: ServedModel, signal: AbortSignal): Completion
  shape(request: R, model: ServedModel, completion: Completion, created: number): AnswerShape
}

interface EndpointRequest {
  readonly model: string
  readonly stream: boolean
  readonly ignored: readonly string[]
}

/** A request as it came, before it is known which model it is for. */
interface Received {
  readonly spliced: SplicedRequest
  readonly requestHash: string
  readonly clientNonce: string | null
  /** How the request came, where its body was encrypted: its answer is padded then. */
  readonly transport: readonly ReceiptEvent[]
}

/** What is known of a request once it was read and understood. */
export interface Prepared<R> extends Received {
  readonly request: R
  readonly model: ServedModel
}

/** Runs the model for one request and signs what happened. Never throws. A request that is refused before the model runs has no receipt. */
export async function handleGeneration<R extends EndpointRequest>(
  endpoint: GeneratingEndpoint<R>,
  deps: AnswerDeps,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const abort = new AbortController()
  // Not after each answer: making the reason of an abort takes longer than what it would end.
  response.once('close', () => response.writableFinished || abort.abort())
  const receipt = openReceipt(deps, incoming)
  try {
    const received = await receive(incoming)
    offerReceipt(incoming, response)
    const created = Math.floor(deps.now().getTime() / 1000)
    const placed = upstreamOf(deps, received)
    if (placed !== undefined && isUpstreamEndpoint(endpoint.path))
      return await answerUpstream({
        ...received,
        endpoint: endpoint.path,
        placed,
        created,
        receipt,
        response,
        signal: abort.signal,
        heartbeatMs: deps.heartbeatMs,
      })
    const prepared = understand(deps, received, endpoint.parse)
    const { request, model } = prepared
    const completion = endpoint.start(request, model, abort.signal)
    const shape = endpoint.shape(request, model, completion, created)
    const receiptKey = announce(receipt, response)
    const answer: Answer = { endpoint: endpoint.path, prepared, completion, shape, receipt, receiptKey, response, heartbeatMs: deps.heartbeatMs }
    await (request.stream ? stream(answer) : whole(answer))
  } catch (error) {
    refuse(error, receipt, response)
  }
}

/** Reads a request of any endpoint, for a model of this process. Throws {@link HttpError}, {@link RequestError} and what cannot be read. */
export async function prepare<R extends { readonly model: string }>(
  deps: AnswerDeps,
  incoming: IncomingMessage,
  parse: (body: Record<string, unknown>) => R,
): Promise<Prepared<R>> {
  return understand(deps, await receive(incoming), parse)
}

async function receive(incoming: IncomingMessage): Promise<Received> {
  const clientNonce = nonceHeader(incoming)
  const body = await readRequestBody(incoming, requestLimits.maxLength)
  const read = spliceConstraints(body, requestLimits)
  const spliced = { ...read, value: withExactSeed(read.value, body) }
  if (spliced.constraints.sessionIds !== null)
    throw new HttpError(412, 'session_not_accepted', 'this service runs the model itself and has no sessions to pin')
  checkExchangeModel(incoming, spliced.value.model)
  return { spliced, requestHash: digest(body), clientNonce, transport: transportEvents(incoming, clientNonce) }
}

function upstreamOf({ upstream }: AnswerDeps, { spliced }: Received): PlacedModel | undefined {
  const { model } = spliced.value
  return typeof model === 'string' ? upstream.get(model) : undefined
}

function understand<R extends { readonly model: string }>(
  deps: AnswerDeps,
  received: Received,
  parse: (body: Record<string, unknown>) => R,
): Prepared<R> {
  if (upstreamOf(deps, received) !== undefined)
    throw new RequestError('the external engine of this model is asked for chat completions and responses only', {
      param: 'model',
      code: 'unsupported_value',
    })
  const request = parse(received.spliced.value)
  const model = deps.models.get(request.model)
  if (model === undefined) throw unknownModel(request.model, [...deps.models.keys(), ...deps.upstream.keys()])
  return { ...received, request, model }
}

/** Tells the id of the receipt to come, and gives its key (rule S6), which only this response carries. */
export function announce(receipt: PendingReceipt, response: ServerResponse): Uint8Array {
  const receiptKey = drawBytes(32)
  response.setHeader('x-receipt-id', receipt.id)
  response.setHeader('x-veritee-receipt-key', receiptKey.toString('hex'))
  return receiptKey
}

/** Answers with the error; there will be no receipt. */
export function refuse(error: unknown, receipt: PendingReceipt, response: ServerResponse): void {
  receipt.abandon()
  if (!response.headersSent) {
    response.removeHeader('x-receipt-id')
    response.removeHeader('x-veritee-receipt-key')
    response.removeHeader('trailer')
  }
  sendError(
    response,
    error instanceof RequestError ? new HttpError(error.status, error.type, error.message, { code: error.code, param: error.param }) : error,
  )
}

/** What every receipt of a worker begins with. */
export function requestEvents({ requestHash, spliced, clientNonce, transport, model }: Prepared<unknown>): ReceiptEvent[] {
  return [
    { type: 'request.received', body_hash: requestHash },
    { type: 'request.forwarded', body_hash: digest(spliced.forwarded) },
    { type: 'veritee.request', client_nonce: clientNonce },
    ...transport,
    model.event,
  ]
}

export function digest(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

interface Answer {
  readonly endpoint: string
  readonly prepared: Prepared<EndpointRequest>
  readonly completion: Completion
  readonly shape: AnswerShape
  readonly receipt: PendingReceipt
  readonly receiptKey: Uint8Array
  readonly response: ServerResponse
  readonly heartbeatMs: number | undefined
}

async function whole(answer: Answer): Promise<void> {
  const { completion, shape, response } = answer
  const deltas: CompletionDelta[] = []
  try {
    for await (const delta of completion) deltas.push(delta)
  } catch {
    // The outcome is in the result, which never rejects.
  }
  const result = await completion.result
  const told = attempt(result, () => JSON.stringify(shape.whole(result, deltas)))
  const failed = told.result.outcome === 'error'
  const body = bodyOf(answer.prepared, told.value ?? errorBody(toHttpError(told.result.error)))
  // Nobody is there to take an aborted answer: its receipt is over no bytes at all.
  const sent = result.outcome === 'aborted' ? Buffer.alloc(0) : body
  const text = await answer.receipt.finish({ ...facts(answer, told.result, digest(sent)), stream: null })
  if (result.outcome === 'aborted') return
  endPlain(response, failed ? toHttpError(told.result.error).status : 200, body, text)
}

/** The bytes of a plain answer, padded where they will be encrypted. */
export function bodyOf({ transport }: Pick<Received, 'transport'>, text: string): Buffer {
  const body = Buffer.from(text)
  return transport.length === 0 ? body : paddedJson(body)
}

/** The model ran, so there is a receipt, whatever becomes of its words: where they cannot be told, the answer has failed. */
function attempt<T>(result: CompletionResult, tell: () => T): { readonly result: CompletionResult; readonly value: T | null } {
  if (result.outcome === 'error') return { result, value: null }
  try {
    return { result, value: tell() }
  } catch (error) {
    return { result: { ...result, outcome: 'error', finishReason: null, error }, value: null }
  }
}

async function stream(answer: Answer): Promise<void> {
  const { completion, shape, response, prepared } = answer
  const first = shape.first()
  const events = new EventStream(response, first.length + 1, {
    tell: shape.frame,
    padded: prepared.transport.length > 0,
    heartbeatMs: answer.heartbeatMs,
  })
  const send = (objects: readonly object[]): Promise<void> | undefined => {
    let room: Promise<void> | undefined
    for (const object of objects) room = events.emit(object)
    return room
  }
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' })
  await send(first)
  try {
    for await (const delta of completion) {
      const room = send(shape.delta(delta))
      if (room !== undefined) await room
    }
  } catch {
    // The outcome is in the result, which never rejects.
  }
  const ended = await completion.result
  const { result, value: closing } = attempt(ended, () => {
    const last = ended.finishReason === null ? [] : shape.last(ended)
    return { last, done: ended.outcome === 'aborted' ? null : shape.done(ended) }
  })
  await send(closing === null ? shape.failed(toHttpError(result.error)) : closing.last)
  // What tells the reader that the answer is whole goes out after the receipt is durable, or not at all.
  const done = closing === null ? shape.done(result) : closing.done
  const { bodyHash, event, end } = await events.close(done)
  const { events: log, ...rest } = facts(answer, result, bodyHash)
  addReceipt(response, await answer.receipt.finish({ ...rest, events: [...log.slice(0, -1), event, ...log.slice(-1)], stream: events.tree }))
  end()
}

function facts(
  answer: Answer,
  result: CompletionResult,
  responseHash: string,
): { chatId: string; model: string; endpoint: string; receiptKey: Uint8Array; events: ReceiptEvent[] } {
  const { endpoint, prepared, completion, shape, receiptKey } = answer
  const { model, request } = prepared
  const { promptTokens, parameters } = completion
  return {
    chatId: shape.id,
    model: request.model,
    endpoint,
    receiptKey,
    events: [
      ...requestEvents(prepared),
      inferenceEvent({ model, promptTokens, parameters, result, outcome: result.outcome, ignored: request.ignored, receiptKey }),
      ...choicesEvents(result, receiptKey),
      { type: 'response.returned', body_hash: responseHash },
    ],
  }
}

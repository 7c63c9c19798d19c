import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type ReceiptEvent, requestLimits, type SplicedRequest, StreamTree, spliceConstraints } from 'veritee/receipt'
import { bearer, readRequestBody, sendError, write } from '../../http/body.ts'
import { chatEndpoint, nonceHeader, unknownModel } from '../../http/chat-request.ts'
import { errorBody, HttpError, toHttpError } from '../../http/errors.ts'
import type { Ledger, PendingReceipt } from '../runtime/ledger.ts'
import { type ChatFrame, completionBody, deltaEvent, doneEvent, errorEvent, finishEvent, roleEvent, usageEvent } from './chat-format.ts'
import {
  type ChatRequest,
  type Completion,
  type CompletionDelta,
  type CompletionResult,
  parseChatRequest,
  RequestError,
  startCompletion,
} from './engine/index.ts'
import { choicesEvents, inferenceEvent, type ServedModel } from './served-model.ts'

export interface ChatDeps {
  readonly ledger: Ledger
  readonly models: ReadonlyMap<string, ServedModel>
  readonly now: () => Date
}

/** What is known once a request was read and understood. */
interface Prepared {
  readonly spliced: SplicedRequest
  readonly requestHash: string
  readonly clientNonce: string | null
  readonly request: ChatRequest
  readonly model: ServedModel
}

/** `POST /v1/chat/completions` of a worker: runs the model and signs what happened. Never throws. */
export async function handleChat(deps: ChatDeps, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const abort = new AbortController()
  response.once('close', () => abort.abort())
  const receipt = deps.ledger.open(bearer(incoming))
  try {
    const prepared = await prepare(deps, incoming)
    const receiptKey = randomBytes(32)
    const frame: ChatFrame = { id: `chatcmpl-${randomBytes(16).toString('hex')}`, created: seconds(deps), model: prepared.model.name }
    const { engine, template } = prepared.model
    const completion = startCompletion({ engine, template, request: prepared.request, signal: abort.signal })
    response.setHeader('x-receipt-id', receipt.id)
    response.setHeader('x-veritee-receipt-key', receiptKey.toString('hex'))
    const answer: Answer = { prepared, completion, frame, receipt, receiptKey, response }
    await (prepared.request.stream ? stream(answer) : whole(answer))
  } catch (error) {
    receipt.abandon()
    response.removeHeader('x-receipt-id')
    response.removeHeader('x-veritee-receipt-key')
    sendError(response, requestError(error))
  }
}

async function prepare(deps: ChatDeps, incoming: IncomingMessage): Promise<Prepared> {
  const clientNonce = nonceHeader(incoming)
  const body = await readRequestBody(incoming, requestLimits.maxLength)
  const spliced = spliceConstraints(body, requestLimits)
  if (spliced.constraints.sessionIds !== null)
    throw new HttpError(412, 'session_not_accepted', 'this service runs the model itself and has no sessions to pin')
  const request = parseChatRequest(spliced.value, { handled: ['provider'] })
  const model = deps.models.get(request.model)
  if (model === undefined) throw unknownModel(request.model, [...deps.models.keys()])
  return { spliced, requestHash: digest(body), clientNonce, request, model }
}

function requestError(error: unknown): unknown {
  return error instanceof RequestError ? new HttpError(error.status, error.type, error.message, { code: error.code, param: error.param }) : error
}

interface Answer {
  readonly prepared: Prepared
  readonly completion: Completion
  readonly frame: ChatFrame
  readonly receipt: PendingReceipt
  readonly receiptKey: Uint8Array
  readonly response: ServerResponse
}

async function whole(answer: Answer): Promise<void> {
  const { prepared, completion, frame, response } = answer
  const deltas: CompletionDelta[] = []
  try {
    for await (const delta of completion) deltas.push(delta)
  } catch {
    // The outcome is in the result, which never rejects.
  }
  const result = await completion.result
  const failed = result.outcome === 'error'
  const body = failed ? Buffer.from(errorBody(toHttpError(result.error))) : completionBody(frame, result, deltas, prepared.request)
  // Nobody is there to take an aborted answer: its receipt is over no bytes at all.
  const sent = result.outcome === 'aborted' ? Buffer.alloc(0) : body
  await answer.receipt.finish({ ...facts(answer, result, sent), stream: null })
  if (result.outcome === 'aborted') return
  response.writeHead(failed ? toHttpError(result.error).status : 200, { 'content-type': 'application/json', 'content-length': body.length }).end(body)
}

async function stream(answer: Answer): Promise<void> {
  const { prepared, completion, frame, response } = answer
  const { request } = prepared
  const tree = new StreamTree()
  const hash = createHash('sha256')
  const emit = async (event: Uint8Array): Promise<void> => {
    if (response.destroyed) return
    hash.update(event)
    await tree.append(event)
    await write(response, event)
  }
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' })
  for (let choice = 0; choice < request.n; choice++) await emit(roleEvent(frame, request, choice))
  try {
    for await (const delta of completion) await emit(deltaEvent(frame, request, delta))
  } catch {
    // The outcome is in the result, which never rejects.
  }
  const result = await completion.result
  if (result.finishReason !== null) {
    for (const [choice, { finishReason }] of result.choices.entries()) await emit(finishEvent(frame, request, choice, finishReason))
    if (request.includeUsage) await emit(usageEvent(frame, result))
  }
  if (result.outcome === 'error') await emit(errorEvent(errorBody(toHttpError(result.error))))
  if (result.outcome !== 'aborted') await emit(doneEvent)
  const streamed = await tree.event()
  const { events, ...rest } = factsOver(answer, result, `sha256:${hash.digest('hex')}`)
  await answer.receipt.finish({ ...rest, events: [...events.slice(0, -1), streamed, ...events.slice(-1)], stream: tree })
  response.end()
}

function facts(answer: Answer, result: CompletionResult, body: Uint8Array): ReturnType<typeof factsOver> {
  return factsOver(answer, result, digest(body))
}

function factsOver(
  answer: Answer,
  result: CompletionResult,
  responseHash: string,
): { chatId: string; model: string; endpoint: string; events: ReceiptEvent[] } {
  const { prepared, completion, frame, receiptKey } = answer
  const { model, request, spliced, requestHash, clientNonce } = prepared
  const { promptTokens, parameters } = completion
  return {
    chatId: frame.id,
    model: request.model,
    endpoint: chatEndpoint,
    events: [
      { type: 'request.received', body_hash: requestHash },
      { type: 'request.forwarded', body_hash: digest(spliced.forwarded) },
      { type: 'veritee.request', client_nonce: clientNonce },
      model.event,
      inferenceEvent({ model, promptTokens, parameters, result, outcome: result.outcome, ignored: request.ignored, receiptKey }),
      ...choicesEvents(result, receiptKey),
      { type: 'response.returned', body_hash: responseHash },
    ],
  }
}

function digest(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

function seconds(deps: ChatDeps): number {
  return Math.floor(deps.now().getTime() / 1000)
}

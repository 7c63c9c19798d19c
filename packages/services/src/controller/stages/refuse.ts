import type { ServerResponse } from 'node:http'
import type { ReceiptEvent, UpstreamReceiptEvent } from 'veritee/receipt'
import type { PendingReceipt, UpstreamReceipt } from '../../enclave/runtime/ledger.ts'
import { errorBody, type HttpError } from '../../http/errors.ts'
import type { AdmittedWorker } from '../registry.ts'
import { bodyHash } from '../relay.ts'
import type { WorkerAnswer } from '../worker-answer.ts'
import { header } from './answer-header.ts'
import type { InferenceRequest } from './read-request.ts'

/** What is sent instead of an answer: it is signed too, so that a requester can show what it was told. */
export interface Refusal {
  readonly status: number
  readonly body: Buffer
  readonly headers: { readonly [name: string]: string }
}

export function refusalOf(error: HttpError): Refusal {
  return { status: error.status, body: Buffer.from(errorBody(error)), headers: error.headers }
}

/** A worker's own words. A refusal is an error, as JSON; a worker does not get to redirect the requester. */
export function refusalOfWorker(answer: WorkerAnswer, body: Buffer): Refusal {
  const retryAfter = header(answer, 'retry-after')
  return {
    status: answer.statusCode >= 400 && answer.statusCode <= 599 ? answer.statusCode : 502,
    body,
    headers: retryAfter === null || !/^[0-9]{1,6}$/.test(retryAfter) ? {} : { 'retry-after': retryAfter },
  }
}

/** Refuses a request that went to no worker. */
export async function refuse(request: InferenceRequest, error: HttpError, receipt: PendingReceipt, response: ServerResponse): Promise<void> {
  const failed: ReceiptEvent = { type: 'upstream.verified', result: 'failed', required: true, model_id: request.model, reason: error.message }
  await finish(request, refusalOf(error), { events: [...request.events, failed], outcome: 'refused' }, receipt, response)
}

/** Refuses a request that went to a worker, whose answer is not passed on or was none. */
export async function refuseAfter(
  request: InferenceRequest,
  worker: AdmittedWorker,
  refusal: Refusal,
  said: { readonly upstream: UpstreamReceiptEvent; readonly outcome: 'refused' | 'error'; readonly shown?: UpstreamReceipt | null },
  receipt: PendingReceipt,
  response: ServerResponse,
): Promise<void> {
  const { upstream, outcome, shown = null } = said
  const events = [...upstreamEvents(request, worker), upstream]
  await finish(request, refusal, { events, outcome, session: worker.session, shown }, receipt, response)
}

/** What a receipt says of a request that went to a worker, before it says what came of it. */
export function upstreamEvents(request: InferenceRequest, worker: AdmittedWorker): ReceiptEvent[] {
  const events = [...request.events]
  // Pushed: a literal with `...` among other things goes through an iterator, which costs more than the events.
  events.push(
    { type: 'request.forwarded', body_hash: request.forwardedHash },
    { type: 'upstream.verified', result: 'verified', required: true, model_id: request.model, session_id: worker.session.id },
  )
  return events
}

export function absent(reason: string): UpstreamReceiptEvent {
  return { type: 'veritee.upstream_receipt', digest: null, result: 'absent', reason }
}

async function finish(
  { model, endpoint }: InferenceRequest,
  { status, body, headers }: Refusal,
  said: {
    readonly events: readonly ReceiptEvent[]
    readonly outcome: 'refused' | 'error'
    readonly session?: AdmittedWorker['session']
    /** A worker's receipt that is not cited as a match, for whoever asked to look at. */
    readonly shown?: UpstreamReceipt | null
  },
  receipt: PendingReceipt,
  response: ServerResponse,
): Promise<void> {
  await receipt.finish({
    chatId: null,
    model,
    endpoint,
    stream: null,
    ...(said.session === undefined ? {} : { session: said.session }),
    ...(said.shown === undefined || said.shown === null ? {} : { upstream: said.shown }),
    events: [...said.events, { type: 'veritee.outcome', outcome: said.outcome }, { type: 'response.returned', body_hash: bodyHash(body) }],
  })
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': body.length, 'x-receipt-id': receipt.id, ...headers }).end(body)
}

import type { ServerResponse } from 'node:http'
import { fromHex, isHex } from 'veritee/bytes'
import type { ReceiptEvent } from 'veritee/receipt'
import type { PendingReceipt } from '../../enclave/runtime/ledger.ts'
import { HttpError } from '../../http/errors.ts'
import { holdBytes } from '../../http/held-bytes.ts'
import { receiptOfTrailers } from '../../http/receipt-trailer.ts'
import type { CancelSignal } from '../cancellation.ts'
import type { AdmittedWorker, Registry } from '../registry.ts'
import { heldPlain, maxPlainBytes, plainEvents, type Relayed, relayStream, streamEvents } from '../relay.ts'
import { checkUpstream, told, type UpstreamCheck } from '../upstream.ts'
import { readWhole } from '../worker-answer.ts'
import { header } from './answer-header.ts'
import type { Outcome } from './exchange.ts'
import type { InferenceRequest } from './read-request.ts'
import { absent, refusalOf, refusalOfWorker, refuseAfter, upstreamEvents } from './refuse.ts'
import type { Served } from './served.ts'
import { streamFormOf } from './stream-form.ts'

/** What an answer goes with. */
export interface Exchange {
  readonly request: InferenceRequest
  readonly receipt: PendingReceipt
  readonly response: ServerResponse
  /** Aborted when the requester leaves, or when its time is up. */
  readonly signal: CancelSignal
  /** When the request came, on the clock of `performance.now()`. */
  readonly arrived: number
}

/** Passes an answer on, checks the worker's receipt for it, and signs this controller's own before the answer ends. */
export function relay(registry: Registry, exchange: Exchange, served: Served): Promise<Outcome> {
  const { receipt, response } = exchange
  const { answer, refusal } = served
  if (refusal !== null) return passRefusal(exchange, served, refusal)
  response.setHeader('x-receipt-id', receipt.id)
  const receiptKey = receiptKeyOf(answer)
  if (receiptKey !== null) response.setHeader('x-veritee-receipt-key', receiptKey)
  const streams = header(answer, 'content-type')?.startsWith('text/event-stream') === true
  return streams ? passStream(registry, exchange, served, receiptKey) : passPlain(registry, exchange, served, receiptKey)
}

async function passRefusal(exchange: Exchange, { lease, answer }: Served, refusal: Buffer): Promise<Outcome> {
  const said = { upstream: absent(`the worker refused the request with status ${answer.statusCode}`), outcome: 'refused' } as const
  await refuseAfter(exchange.request, lease.worker, refusalOfWorker(answer, refusal), said, exchange.receipt, exchange.response)
  return { outcome: 'refused', usage: null }
}

async function passPlain(registry: Registry, exchange: Exchange, served: Served, receiptKey: string | null): Promise<Outcome> {
  const { response } = exchange
  let relayed: Relayed
  try {
    // Of many answers at a time, as of many requests: no worker may take the memory of this enclave.
    const whole = await readWhole(served.answer, maxPlainBytes, (bytes) => holdBytes(response.req, bytes))
    relayed = heldPlain(served.answer.statusCode, whole)
  } catch (cause) {
    return await withoutItsEnd(exchange, served, cause)
  }
  const took = secondsOf(served)
  const check = await checkReceipt(exchange.request, served, relayed, receiptKey)
  heed(registry, served, check)
  if (check.event.result !== 'match') return await withheld(exchange, served, check)
  judge(exchange, served, relayed, check, took)
  const signed = sign(exchange, served.lease.worker, relayed, check, plainEvents(relayed))
  // Nothing else of the answer and its check is kept while the commit is waited for.
  const { held, outcome } = relayed
  const { usage } = check
  await signed
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': held?.length ?? 0 }).end(held)
  return { outcome, usage }
}

/** A plain answer that did not come whole: a time limit's own error, or that the worker broke off. */
async function withoutItsEnd({ request, receipt, response, signal }: Exchange, { lease }: Served, cause: unknown): Promise<Outcome> {
  const broken = (): HttpError => new HttpError(502, 'server_error', 'the worker broke off its answer', { code: 'upstream_broken', cause })
  const error = cause instanceof HttpError ? cause : broken()
  // Time may have run out for many reasons, and so may memory.
  if (!signal.aborted && error.status === 502) lease.failed()
  await refuseAfter(request, lease.worker, refusalOf(error), { upstream: absent(error.message), outcome: 'error' }, receipt, response)
  return { outcome: 'error', usage: null }
}

async function withheld({ request, receipt, response }: Exchange, { lease }: Served, { event, receipt: shown }: UpstreamCheck): Promise<Outcome> {
  const message = `the worker's answer was withheld: its receipt is a ${event.result}`
  const error = new HttpError(502, 'server_error', message, { code: 'upstream_receipt_mismatch' })
  await refuseAfter(request, lease.worker, refusalOf(error), { upstream: event, outcome: 'error', shown }, receipt, response)
  return { outcome: 'error', usage: null }
}

async function passStream(registry: Registry, exchange: Exchange, served: Served, receiptKey: string | null): Promise<Outcome> {
  const { request, response } = exchange
  const { lease, answer } = served
  // How long an answer took says nothing of the worker where it had to wait for its reader.
  let readerIsSlow = false
  response.once('drain', () => {
    readerIsSlow = true
  })
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' })
  let firstAt: number | null = null
  const relayed = await relayStream(answer, response, streamFormOf(request.endpoint), () => {
    firstAt = performance.now()
  })
  const took = readerIsSlow ? null : secondsOf(served)
  const check = await checkReceipt(request, served, relayed, receiptKey)
  heed(registry, served, check)
  judge(exchange, served, relayed, check, took)
  const firstMs = firstAt === null ? null : firstAt - exchange.arrived
  await sign(exchange, lease.worker, relayed, check, await streamEvents(relayed), firstMs)
  response.end(relayed.last ?? undefined)
  return { outcome: relayed.outcome, usage: check.usage }
}

/** As it is passed on; null where none came that could be one. */
function receiptKeyOf(answer: Served['answer']): string | null {
  const key = header(answer, 'x-veritee-receipt-key')
  return key !== null && isHex(key, 32) ? key : null
}

function secondsOf({ began }: Served): number {
  return (performance.now() - began) / 1000
}

/** What routing learns of the worker. An answer that its requester left, or held up until its time was over, tells nothing (rule S19). */
function judge({ request, signal }: Exchange, { lease }: Served, relayed: Relayed, check: UpstreamCheck, seconds: number | null): void {
  if (signal.aborted) return
  if (relayed.outcome === 'error') lease.failed()
  if (relayed.outcome !== 'complete') return
  lease.succeeded()
  const received = relayed.held?.length ?? relayed.received?.bytes ?? 0
  if (check.usage !== null && seconds !== null) lease.measured(check.usage, { sent: request.forwardedBytes, received }, seconds)
}

/** The check of rule S10. */
function checkReceipt(
  request: InferenceRequest,
  { lease: { worker }, answer, upstreamNonce }: Served,
  relayed: Relayed,
  receiptKey: string | null,
): Promise<UpstreamCheck> {
  return checkUpstream(worker, header(answer, 'x-receipt-id'), {
    requestHash: request.forwardedHash,
    clientNonce: upstreamNonce,
    responseHash: relayed.receivedHash,
    complete: relayed.complete,
    stream: relayed.received,
    receiptKey: receiptKey === null ? null : fromHex(receiptKey),
    offered: relayed.trailers === undefined ? null : receiptOfTrailers(relayed.trailers),
  })
}

/** Whatever is not a match ends the worker's service. */
function heed(registry: Registry, { lease: { worker } }: Served, { event }: UpstreamCheck): void {
  const { result } = event
  if (result !== 'match') registry.quarantine(worker, `its receipt did not match: ${told(event)}`, result === 'mismatch' ? 'party' : 'session')
}

/** `events`: those that describe the answer. */
function sign(
  { request, receipt }: Exchange,
  worker: AdmittedWorker,
  relayed: Relayed,
  check: UpstreamCheck,
  events: readonly ReceiptEvent[],
  firstMs: number | null = null,
): Promise<unknown> {
  const said = upstreamEvents(request, worker)
  said.push(check.event)
  for (const event of events) said.push(event)
  return receipt.finish({
    firstMs: firstMs ?? undefined,
    chatId: relayed.chatId,
    model: request.model,
    endpoint: request.endpoint,
    stream: relayed.returned,
    upstream: check.receipt ?? undefined,
    usage: check.usage ?? undefined,
    session: worker.session,
    events: said,
  })
}

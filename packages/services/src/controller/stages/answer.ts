import type { ServerResponse } from 'node:http'
import { fromHex, isHex } from 'veritee/bytes'
import type { ReceiptEvent } from 'veritee/receipt'
import type { PendingReceipt } from '../../enclave/runtime/ledger.ts'
import { HttpError } from '../../http/errors.ts'
import { holdBytes } from '../../http/held-bytes.ts'
import { receiptOfTrailers } from '../../http/receipt-trailer.ts'
import type { CancelSignal } from '../cancellation.ts'
import type { AdmittedWorker, Registry } from '../registry.ts'
import { holdPlain, plainEvents, type Relayed, relayStream, streamEvents } from '../relay.ts'
import { checkUpstream, told, type UpstreamCheck } from '../upstream.ts'
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
export async function relay(registry: Registry, exchange: Exchange, served: Served): Promise<Outcome> {
  const { request, receipt, response, signal } = exchange
  const { lease, answer } = served
  if (served.refusal !== null) {
    const said = { upstream: absent(`the worker refused the request with status ${answer.statusCode}`), outcome: 'refused' } as const
    await refuseAfter(request, lease.worker, refusalOfWorker(answer, served.refusal), said, receipt, response)
    return { outcome: 'refused', usage: null }
  }
  response.setHeader('x-receipt-id', receipt.id)
  const receiptKey = receiptKeyOf(answer)
  if (receiptKey !== null) response.setHeader('x-veritee-receipt-key', receiptKey)
  if (header(answer, 'content-type')?.startsWith('text/event-stream') === true) return await passStream(registry, exchange, served)
  // Of many answers at a time, as of many requests: no worker may take the memory of this enclave.
  const relayed = await holdPlain(answer, (bytes) => holdBytes(response.req, bytes)).catch(withoutItsEnd)
  if (relayed instanceof HttpError) {
    // Time may have run out for many reasons, and so may memory.
    if (!signal.aborted && relayed.status === 502) lease.failed()
    const said = { upstream: absent(relayed.message), outcome: 'error' } as const
    await refuseAfter(request, lease.worker, refusalOf(relayed), said, receipt, response)
    return { outcome: 'error', usage: null }
  }
  const took = secondsOf(served)
  const check = await checkReceipt(registry, request, served, relayed)
  if (check.event.result !== 'match') {
    const error = new HttpError(502, 'server_error', `the worker's answer was withheld: its receipt is a ${check.event.result}`, {
      code: 'upstream_receipt_mismatch',
    })
    await refuseAfter(request, lease.worker, refusalOf(error), { upstream: check.event, outcome: 'error', shown: check.receipt }, receipt, response)
    return { outcome: 'error', usage: null }
  }
  judge(exchange, served, relayed, check, took)
  await sign(exchange, lease.worker, relayed, check, plainEvents(relayed))
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': relayed.held?.length ?? 0 }).end(relayed.held)
  return { outcome: relayed.outcome, usage: check.usage }
}

async function passStream(registry: Registry, exchange: Exchange, served: Served): Promise<Outcome> {
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
  const check = await checkReceipt(registry, request, served, relayed)
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

/** A plain answer that did not come whole, as an error: a time limit's own, or that the worker broke off. */
function withoutItsEnd(cause: unknown): HttpError {
  if (cause instanceof HttpError) return cause
  return new HttpError(502, 'server_error', 'the worker broke off its answer', { code: 'upstream_broken', cause })
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

/** The check of rule S10; whatever is not a match ends the worker's service. */
async function checkReceipt(
  registry: Registry,
  request: InferenceRequest,
  { lease: { worker }, answer, upstreamNonce }: Served,
  relayed: Relayed,
): Promise<UpstreamCheck> {
  const receiptKey = receiptKeyOf(answer)
  const check = await checkUpstream(worker, header(answer, 'x-receipt-id'), {
    requestHash: request.forwardedHash,
    clientNonce: upstreamNonce,
    responseHash: relayed.receivedHash,
    complete: relayed.complete,
    stream: relayed.received,
    receiptKey: receiptKey === null ? null : fromHex(receiptKey),
    offered: receiptOfTrailers(relayed.trailers ?? {}),
  })
  const { result } = check.event
  if (result !== 'match') registry.quarantine(worker, `its receipt did not match: ${told(check.event)}`, result === 'mismatch' ? 'party' : 'session')
  return check
}

/** `events`: those that describe the answer. */
function sign(
  { request, receipt }: Exchange,
  worker: AdmittedWorker,
  relayed: Relayed,
  check: UpstreamCheck,
  events: readonly ReceiptEvent[],
  firstMs: number | null = null,
): Promise<string> {
  return receipt.finish({
    firstMs: firstMs ?? undefined,
    chatId: relayed.chatId,
    model: request.model,
    endpoint: request.endpoint,
    stream: relayed.returned,
    upstream: check.receipt ?? undefined,
    usage: check.usage ?? undefined,
    session: worker.session,
    events: [...upstreamEvents(request, worker), check.event, ...events],
  })
}

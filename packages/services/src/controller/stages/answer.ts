import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { isHex } from 'veritee/bytes'
import type { ReceiptEvent } from 'veritee/receipt'
import type { PendingReceipt } from '../../enclave/runtime/ledger.ts'
import { sendJson, write } from '../../http/body.ts'
import { errorBody, HttpError } from '../../http/errors.ts'
import type { AdmittedWorker, Registry } from '../registry.ts'
import { digestOf, holdPlain, type Relayed, relayStream, responseEvents } from '../relay.ts'
import { checkUpstream, readAll, type UpstreamCheck } from '../upstream.ts'
import type { Settlement } from './access.ts'
import { header } from './answer-header.ts'
import type { Served } from './dispatch.ts'
import type { InferenceRequest } from './read-request.ts'
import { streamFormOf } from './stream-form.ts'

/** What an answer came to, for accounts and routing. */
export type Outcome = Pick<Settlement, 'outcome' | 'usage'>

/** Passes an answer on, checks the worker's receipt for it, and signs this controller's own before the answer ends. */
export async function relay(
  registry: Registry,
  request: InferenceRequest,
  served: Served,
  receipt: PendingReceipt,
  response: ServerResponse,
): Promise<Outcome> {
  const { worker, answer } = served
  if (answer.statusCode !== 200) return await relayRefusal(request, served, receipt, response)
  response.setHeader('x-receipt-id', receipt.id)
  const receiptKey = header(answer, 'x-veritee-receipt-key')
  if (receiptKey !== null && isHex(receiptKey, 32)) response.setHeader('x-veritee-receipt-key', receiptKey)
  if (header(answer, 'content-type')?.startsWith('text/event-stream') !== true) {
    const relayed = await holdPlain(answer)
    const check = await checkReceipt(registry, request, served, relayed)
    if (check.event.result !== 'match') return await withhold(request, served, check, receipt, response)
    await sign(request, worker, relayed, check, receipt)
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': relayed.held?.length ?? 0 }).end(relayed.held)
    return { outcome: relayed.outcome, usage: check.usage }
  }
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' })
  const relayed = await relayStream(answer.body, response, streamFormOf(request.endpoint))
  const check = await checkReceipt(registry, request, served, relayed)
  await sign(request, worker, relayed, check, receipt)
  if (relayed.last !== null) await write(response, relayed.last)
  response.end()
  return { outcome: relayed.outcome, usage: check.usage }
}

/** The check of rule S10; whatever is not a match ends the worker's service. */
async function checkReceipt(
  registry: Registry,
  request: InferenceRequest,
  { worker, answer, upstreamNonce }: Served,
  relayed: Relayed,
): Promise<UpstreamCheck> {
  const check = await checkUpstream(worker, header(answer, 'x-receipt-id'), {
    requestHash: request.forwardedHash,
    clientNonce: upstreamNonce,
    responseHash: relayed.receivedHash,
    complete: relayed.complete,
    stream: relayed.received,
  })
  const { result, reason } = check.event
  if (result !== 'match') registry.quarantine(worker, `its receipt did not match: ${reason ?? result}`, result === 'mismatch' ? 'keyset' : 'session')
  return check
}

async function sign(
  request: InferenceRequest,
  worker: AdmittedWorker,
  relayed: Relayed,
  check: UpstreamCheck,
  receipt: PendingReceipt,
): Promise<void> {
  await receipt.finish({
    chatId: relayed.chatId,
    model: request.model,
    endpoint: request.endpoint,
    stream: relayed.returned,
    ...(check.receipt === null ? {} : { upstream: check.receipt }),
    session: worker.session,
    events: [...upstreamEvents(request, worker), check.event, ...(await responseEvents(relayed))],
  })
}

function upstreamEvents(request: InferenceRequest, worker: AdmittedWorker): ReceiptEvent[] {
  return [
    ...request.events,
    { type: 'request.forwarded', body_hash: request.forwardedHash },
    { type: 'upstream.verified', result: 'verified', required: true, model_id: request.model, session_id: worker.session.id },
  ]
}

/** A plain answer without a matching receipt is not delivered: the requester could not verify it. */
async function withhold(
  request: InferenceRequest,
  { worker }: Served,
  check: UpstreamCheck,
  receipt: PendingReceipt,
  response: ServerResponse,
): Promise<Outcome> {
  const error = new HttpError(502, 'server_error', `the worker's answer was withheld: its receipt is a ${check.event.result}`, {
    code: 'upstream_receipt_mismatch',
  })
  const body = Buffer.from(errorBody(error))
  const hash = digestOf(createHash('sha256').update(body))
  const events: ReceiptEvent[] = [
    ...upstreamEvents(request, worker),
    check.event,
    { type: 'veritee.outcome', outcome: 'error' },
    { type: 'response.returned', body_hash: hash },
  ]
  await receipt.finish({ chatId: null, model: request.model, endpoint: request.endpoint, stream: null, session: worker.session, events })
  sendJson(response, body.toString('utf8'), error.status)
  return { outcome: 'error', usage: null }
}

/** The worker understood the request and will not serve it (too long, a parameter it does not have, busy): its own words, under our receipt. */
async function relayRefusal(
  request: InferenceRequest,
  { worker, answer }: Served,
  receipt: PendingReceipt,
  response: ServerResponse,
): Promise<Outcome> {
  const body = await readAll(answer.body, 65_536)
  const events: ReceiptEvent[] = [
    ...upstreamEvents(request, worker),
    { type: 'veritee.upstream_receipt', digest: null, result: 'absent', reason: `the worker refused the request with status ${answer.statusCode}` },
    { type: 'veritee.outcome', outcome: 'refused' },
    { type: 'response.returned', body_hash: digestOf(createHash('sha256').update(body)) },
  ]
  await receipt.finish({ chatId: null, model: request.model, endpoint: request.endpoint, stream: null, session: worker.session, events })
  const retryAfter = header(answer, 'retry-after')
  // A refusal is an error; a worker does not get to redirect the requester.
  response.writeHead(answer.statusCode >= 400 && answer.statusCode <= 599 ? answer.statusCode : 502, {
    'content-type': 'application/json',
    'content-length': body.length,
    'x-receipt-id': receipt.id,
    ...(retryAfter === null || !/^[0-9]{1,6}$/.test(retryAfter) ? {} : { 'retry-after': retryAfter }),
  })
  response.end(body)
  return { outcome: 'refused', usage: null }
}

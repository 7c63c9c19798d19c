import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import { isHex } from 'veritee/bytes'
import { type ReceiptEvent, requestLimits, type SplicedRequest, spliceConstraints } from 'veritee/receipt'
import type { Ledger, PendingReceipt } from '../enclave/runtime/ledger.ts'
import { bearer, readRequestBody, sendError, sendJson, write } from '../http/body.ts'
import { drainingHeader, nonceHeader, unknownModel } from '../http/chat-request.ts'
import { errorBody, HttpError } from '../http/errors.ts'
import type { AdmittedWorker, Registry } from './registry.ts'
import { digestOf, holdPlain, type Relayed, relayStream, responseEvents } from './relay.ts'
import { checkUpstream, readAll, type UpstreamCheck } from './upstream.ts'

export interface ForwardDeps {
  readonly ledger: Ledger
  readonly registry: Registry
}

interface Request {
  /** One of those that run a model. */
  readonly endpoint: string
  readonly spliced: SplicedRequest
  readonly model: string
  readonly clientNonce: string | null
  /** What every receipt of this request begins with. */
  readonly events: readonly ReceiptEvent[]
  readonly forwardedHash: string
}

interface Served {
  readonly worker: AdmittedWorker
  readonly answer: Dispatcher.ResponseData
  readonly upstreamNonce: string
}

/** An endpoint that runs a model, at a controller: routes to a verified worker, passes bytes on unchanged, checks the worker's receipt, signs its own. Never throws. */
export async function handleForward(endpoint: string, deps: ForwardDeps, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const abort = new AbortController()
  response.once('close', () => abort.abort())
  const receipt = deps.ledger.open(bearer(incoming))
  try {
    const request = await readRequest(endpoint, incoming)
    const candidates = candidatesFor(deps.registry, request)
    if (candidates instanceof HttpError) return await refuse(request, candidates, receipt, response)
    const served = await dispatch(deps.registry, candidates, request, abort.signal)
    if (served instanceof HttpError) return await refuse(request, served, receipt, response)
    try {
      await relay(deps.registry, request, served, receipt, response)
    } finally {
      served.worker.outstanding--
    }
  } catch (error) {
    receipt.abandon()
    response.removeHeader('x-receipt-id')
    sendError(response, error)
  }
}

async function readRequest(endpoint: string, incoming: IncomingMessage): Promise<Request> {
  const clientNonce = nonceHeader(incoming)
  const body = await readRequestBody(incoming, requestLimits.maxLength)
  const spliced = spliceConstraints(body, requestLimits)
  const { model } = spliced.value
  if (typeof model !== 'string' || model.length > 256)
    throw new HttpError(400, 'invalid_request_error', 'model: expected the name of a model', { param: 'model' })
  const forwardedHash = digestOf(createHash('sha256').update(spliced.forwarded))
  return {
    endpoint,
    spliced,
    model,
    clientNonce,
    forwardedHash,
    events: [
      { type: 'request.received', body_hash: digestOf(createHash('sha256').update(body)) },
      { type: 'veritee.request', client_nonce: clientNonce },
    ],
  }
}

/** Workers for the request, or the refusal of aci/1 section 5.3. Throws where no worker at all knows the model. */
function candidatesFor(registry: Registry, { spliced, model }: Request): AdmittedWorker[] | HttpError {
  const { constraints } = spliced
  const candidates = registry.candidates(model)
  if (constraints.sessionIds !== null) {
    const pinned = candidates.filter((worker) => constraints.sessionIds?.includes(worker.session.id))
    return pinned.length > 0 ? pinned : new HttpError(412, 'session_not_accepted', 'none of the pinned sessions can serve this model now')
  }
  if (candidates.length > 0) return candidates
  if (registry.all().some((worker) => worker.service.report.descriptor.models.some(({ name }) => name === model)))
    return new HttpError(503, 'upstream_verification_failed', 'no verified worker serves this model now', { headers: { 'retry-after': '5' } })
  throw unknownModel(model, registry.models())
}

/** Tries the least busy workers, at most three, as long as none has answered. */
async function dispatch(
  registry: Registry,
  candidates: readonly AdmittedWorker[],
  request: Request,
  signal: AbortSignal,
): Promise<Served | HttpError> {
  for (const worker of candidates.slice(0, 3)) {
    // Trying another may have taken minutes: one that was set aside meanwhile, or came back with other keys, is not the one that was chosen, nor pinned.
    if (worker !== candidates[0] && !registry.candidates(request.model).includes(worker)) continue
    const upstreamNonce = request.clientNonce ?? randomBytes(32).toString('hex')
    worker.outstanding++
    try {
      const answer = await worker.pool.request({
        method: 'POST',
        path: request.endpoint,
        headers: { 'content-type': 'application/json', 'x-veritee-nonce': upstreamNonce },
        body: request.spliced.forwarded,
        signal,
      })
      if (answer.statusCode === 503 && header(answer, drainingHeader) !== null) {
        // It says so over its pinned connection: it answers nothing more, and comes back, if it does, with a challenge.
        worker.outstanding--
        registry.quarantine(worker, 'it is stopping', 'session')
        // It broke off: that is nothing more to it.
        await answer.body.dump().catch(() => undefined)
        continue
      }
      return { worker, answer, upstreamNonce }
    } catch (error) {
      worker.outstanding--
      if (signal.aborted) throw new HttpError(499, 'invalid_request_error', 'the requester went away', { cause: error })
      if (error instanceof Error && 'code' in error && error.code === 'channel_mismatch')
        registry.quarantine(worker, 'its TLS key is no longer the attested one', 'session')
    }
  }
  return new HttpError(503, 'upstream_verification_failed', 'no verified worker could be reached', { headers: { 'retry-after': '5' } })
}

/** A refusal is signed too, so that a requester can show what it was told. */
async function refuse(request: Request, error: HttpError, receipt: PendingReceipt, response: ServerResponse): Promise<void> {
  const body = Buffer.from(errorBody(error))
  await receipt.finish({
    chatId: null,
    model: request.model,
    endpoint: request.endpoint,
    stream: null,
    events: [
      ...request.events,
      { type: 'upstream.verified', result: 'failed', required: true, model_id: request.model, reason: error.message },
      { type: 'veritee.outcome', outcome: 'refused' },
      { type: 'response.returned', body_hash: digestOf(createHash('sha256').update(body)) },
    ],
  })
  response
    .writeHead(error.status, { 'content-type': 'application/json', 'content-length': body.length, 'x-receipt-id': receipt.id, ...error.headers })
    .end(body)
}

async function relay(registry: Registry, request: Request, served: Served, receipt: PendingReceipt, response: ServerResponse): Promise<void> {
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
    return
  }
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' })
  const relayed = await relayStream(answer.body, response)
  const check = await checkReceipt(registry, request, served, relayed)
  await sign(request, worker, relayed, check, receipt)
  if (relayed.last !== null) await write(response, relayed.last)
  response.end()
}

/** The check of rule S10; whatever is not a match ends the worker's service. */
async function checkReceipt(
  registry: Registry,
  request: Request,
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

async function sign(request: Request, worker: AdmittedWorker, relayed: Relayed, check: UpstreamCheck, receipt: PendingReceipt): Promise<void> {
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

function upstreamEvents(request: Request, worker: AdmittedWorker): ReceiptEvent[] {
  return [
    ...request.events,
    { type: 'request.forwarded', body_hash: request.forwardedHash },
    { type: 'upstream.verified', result: 'verified', required: true, model_id: request.model, session_id: worker.session.id },
  ]
}

/** A plain answer without a matching receipt is not delivered: the requester could not verify it. */
async function withhold(
  request: Request,
  { worker }: Served,
  check: UpstreamCheck,
  receipt: PendingReceipt,
  response: ServerResponse,
): Promise<void> {
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
}

/** The worker understood the request and will not serve it (too long, a parameter it does not have, busy): its own words, under our receipt. */
async function relayRefusal(request: Request, { worker, answer }: Served, receipt: PendingReceipt, response: ServerResponse): Promise<void> {
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
}

function header(answer: Dispatcher.ResponseData, name: string): string | null {
  const value = answer.headers[name]
  return typeof value === 'string' ? value : null
}

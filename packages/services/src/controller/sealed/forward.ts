import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { ehbpHeaders } from 'veritee/ehbp'
import { HttpError } from '../../http/errors.ts'
import { SlowReader } from '../../http/slow-reader.ts'
import type { CancelSignal } from '../cancellation.ts'
import type { ForwardDeps } from '../forward.ts'
import type { AdmittedWorker, Registry } from '../registry.ts'
import { bodyHash, digestOf } from '../relay.ts'
import { type Outcome, type Turn, withTurn } from '../stages/exchange.ts'
import { told } from '../upstream.ts'
import { readWhole, type WorkerAnswer } from '../worker-answer.ts'
import { OpaqueRecord, unstated } from './record.ts'
import { type OpaqueAnswer, type OpaqueRequest, opaqueHead, readOpaque, sendOpaque } from './send.ts'
import { checkStatement, type StatementCheck } from './statement.ts'

/** Of one encrypted answer, whatever it holds. */
const maxAnswerBytes = 256 << 20

/**
 * An endpoint that runs a model, for a body that is encrypted to the worker of a session (rule S4): goes to that worker unread, its answer comes back unread, and the
 * receipt is over the encrypted bytes on both sides. Never throws.
 */
export function forwardSealed(endpoint: string, deps: ForwardDeps, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const { registry } = deps
  return withTurn(deps, incoming, response, async ({ receipt, signal, admit }) => {
    const { request, sent } = await begin(endpoint, registry, incoming, signal, admit)
    return await relayTo(registry, new OpaqueRecord(request, receipt), sent, response)
  })
}

/** Reads a request, asks who may, and sends it on. The body ends with this: an answer may take long. */
async function begin(
  endpoint: string,
  registry: Registry,
  incoming: IncomingMessage,
  signal: CancelSignal,
  admit: Turn['admit'],
): Promise<{ readonly request: OpaqueRequest; readonly sent: OpaqueAnswer | HttpError }> {
  const read = await readOpaque(endpoint, incoming)
  const { request } = read
  if (admit !== null) await admit(modelsOf(registry, request), request.bytes, null)
  return { request, sent: await sendOpaque(registry, read, signal) }
}

/** Whose use is asked for: that of the one model of the worker, or of whichever it likes. */
function modelsOf({ routing }: Registry, { sessionId }: OpaqueRequest): string {
  const models = routing.ofSession(sessionId)?.service.report.descriptor.models ?? []
  return models.length === 1 && models[0] !== undefined ? models[0].name : '*'
}

async function relayTo(registry: Registry, record: OpaqueRecord, sent: OpaqueAnswer | HttpError, response: ServerResponse): Promise<Outcome> {
  if (sent instanceof HttpError) return await record.refuse(sent, null, response)
  const { worker, answer } = sent
  try {
    if (answer.headers[ehbpHeaders.responseNonce] === undefined) return await relayPlain(registry, record, worker, answer, response)
    const { status, headers } = opaqueHead(answer)
    response.writeHead(status, { ...headers, 'x-receipt-id': record.receipt.id, 'cache-control': 'no-store' })
    // Whatever comes of it, the requester knows where to find the receipt.
    response.flushHeaders()
    const relayed = await relayBody(answer, response)
    const workerReceiptId = headers[ehbpHeaders.workerReceiptId]
    const check = workerReceiptId === undefined ? null : await checkWorker(registry, worker, record, workerReceiptId, relayed)
    const outcome = relayed.gone ? 'aborted' : relayed.complete ? (status === 200 ? 'complete' : 'refused') : 'error'
    await record.sign(worker, {
      upstream: check?.event ?? unstated(status),
      stated: check?.stated?.text ?? null,
      responseHash: relayed.hash,
      outcome,
    })
    // Which bytes are the last cannot be seen here, so it is the end of the body that waits for the receipt. Cut off where the worker broke off: nothing that this
    // controller could append would be the worker's.
    if (relayed.complete && !relayed.gone) response.end()
    else response.destroy()
    return { outcome, usage: usageOf(check) }
  } finally {
    sent.end()
  }
}

interface RelayedBytes {
  readonly hash: string
  readonly complete: boolean
  /** The requester left. */
  readonly gone: boolean
}

async function relayBody(answer: WorkerAnswer, response: ServerResponse): Promise<RelayedBytes> {
  const hash = createHash('sha256')
  const reader = new SlowReader(response, answer)
  let length = 0
  let complete = false
  try {
    await answer.read((part) => {
      if (response.destroyed) return answer.abort()
      length += part.length
      if (length > maxAnswerBytes) throw new HttpError(502, 'server_error', 'the worker sent more than an answer has')
      hash.update(part)
      if (!response.write(part)) reader.wait()
    })
    complete = true
  } catch {
    // Broken off by the worker, or by the requester: the receipt says which.
  } finally {
    reader.end()
  }
  const gone = response.destroyed
  return { hash: digestOf(hash), complete: complete && !gone, gone }
}

async function checkWorker(
  registry: Registry,
  worker: AdmittedWorker,
  { request }: OpaqueRecord,
  receiptId: string,
  { hash, complete }: RelayedBytes,
): Promise<StatementCheck> {
  const { enc, clientNonce, sessionId, hash: requestHash } = request
  const check = await checkStatement(worker, { receiptId, enc, clientNonce, sessionId, requestHash, responseHash: complete ? hash : null })
  const { result } = check.event
  if (result !== 'match')
    registry.quarantine(worker, `its statement did not match: ${told(check.event)}`, result === 'mismatch' ? 'party' : 'session')
  return check
}

/** Neither opened nor encrypted: a stale key, or a worker that cannot take more. A plain success would be somebody's words who could not read the request. */
async function relayPlain(
  registry: Registry,
  record: OpaqueRecord,
  worker: AdmittedWorker,
  answer: WorkerAnswer,
  response: ServerResponse,
): Promise<Outcome> {
  const { bytes: body } = await readWhole(answer, 65_536)
  const { status, headers } = opaqueHead(answer)
  if (status < 400) {
    registry.quarantine(worker, 'it answered an encrypted request in plain', 'session')
    return await record.refuse(new HttpError(502, 'server_error', 'the worker answered an encrypted request in plain'), worker, response)
  }
  await record.sign(worker, { upstream: unstated(answer.statusCode), stated: null, responseHash: bodyHash(body), outcome: 'refused' })
  response.writeHead(status, { ...headers, 'content-length': body.length, 'x-receipt-id': record.receipt.id }).end(body)
  return { outcome: 'refused', usage: null }
}

function usageOf(check: StatementCheck | null): Outcome['usage'] {
  const { prompt_tokens: promptTokens = null, completion_tokens: completionTokens = null } = check?.stated?.statement ?? {}
  return promptTokens === null || completionTokens === null ? null : { promptTokens, completionTokens }
}

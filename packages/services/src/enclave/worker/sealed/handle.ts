import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { parseJson, Shape } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import { readRequestBody, sendError, sendJson } from '../../../http/body.ts'
import { nonceHeader, sealedReceiptsPath } from '../../../http/chat-request.ts'
import { expectOpened } from '../../../http/ehbp/expect-sealed.ts'
import { checkExchange, checkExchangeModel, type OpenedBody, openBody, sessionHeader } from '../../../http/ehbp/open-body.ts'
import { errorBody, HttpError, toHttpError } from '../../../http/errors.ts'
import { demandFound, demandProof, type Kept } from '../../../http/proof-routes.ts'
import { transportEvents } from '../../runtime/ehbp/exchange.ts'
import type { SealedStatements } from '../../runtime/ehbp/statements.ts'
import type { Identity } from '../../runtime/identity.ts'
import { type Ledger, prefixProofText } from '../../runtime/ledger.ts'
import { digest } from '../answer.ts'

export interface SealedDeps {
  readonly identity: Identity
  readonly ledger: Ledger
  readonly statements: SealedStatements
  /** By path. */
  readonly inference: ReadonlyMap<string, RequestListener>
  readonly kept: () => Kept
}

/**
 * A request whose body is encrypted to this worker (rule S4): opened, held against the line in front of it, and then like any other; its answer is encrypted. One that
 * was carried to another path, or that names another session or nonce than its line, is refused with a receipt. Never throws.
 */
export async function handleSealed(deps: SealedDeps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    const path = request.url ?? ''
    const handle = path === sealedReceiptsPath ? fetchReceipt(deps) : deps.inference.get(path)
    if (handle === undefined || request.method !== 'POST') throw new HttpError(404, 'not_found', 'no such route for an encrypted body')
    const { ehbp } = deps.identity
    if (ehbp === null) throw new TypeError('handleSealed: a worker without a key')
    const opened = await openBody(request, response, ehbp, 'demanded')
    try {
      checkExchange(request, opened.exchange)
    } catch (error) {
      return await refuseUnbound(deps, path, error, opened, request, response)
    }
    expectOpened(request, opened.body)
    await handle(request, response)
  } catch (error) {
    sendError(response, error)
  }
}

/** Whoever has the receipt can show that somebody carried the body elsewhere, or that the requester did. */
async function refuseUnbound(
  { ledger, identity, statements }: SealedDeps,
  endpoint: string,
  failure: unknown,
  { exchange, body: sent }: OpenedBody,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (!(failure instanceof VeriteeError)) throw failure
  const error = toHttpError(failure)
  const body = Buffer.from(errorBody(error))
  const clientNonce = nonceHeader(request)
  const receipt = statements.open(ledger, identity, exchange, { clientNonce, sessionId: sessionHeader(request) })
  await receipt.finish({
    chatId: null,
    model: null,
    endpoint,
    stream: null,
    events: [
      { type: 'request.received', body_hash: digest(sent) },
      { type: 'veritee.request', client_nonce: clientNonce },
      ...transportEvents(request, clientNonce),
      { type: 'veritee.outcome', outcome: 'refused' },
      { type: 'response.returned', body_hash: digest(body) },
    ],
  })
  response.writeHead(error.status, { 'content-type': 'application/json', 'x-receipt-id': receipt.id }).end(body)
}

const shape = new Shape('malformed_document')
const maxQuestion = 1024

/** `POST /v1/veritee/receipts`: the receipt of an encrypted exchange, or the proof for a part of its stream, to who holds the exchange's own credential. */
function fetchReceipt({ kept }: SealedDeps): RequestListener {
  return async (request, response) => {
    const question = Buffer.from(await readRequestBody(request, maxQuestion)).toString('utf8')
    checkExchangeModel(request, null)
    const o = shape.object(parseJson(question, { maxLength: maxQuestion, maxDepth: 2 }), 'question', ['credential', 'prefix', 'receipt_id'])
    const found = demandFound(await kept().find(shape.string(o.receipt_id, 'receipt_id', 128), shape.hex(o.credential, 'credential', 32)))
    const prefix = o.prefix === null ? null : shape.integer(o.prefix, 'prefix', 1 << 30)
    sendJson(response, prefix === null ? found.text : demandProof(await prefixProofText(found.stream, prefix)))
  }
}

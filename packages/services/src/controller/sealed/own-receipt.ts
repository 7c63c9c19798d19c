import type { IncomingMessage, ServerResponse } from 'node:http'
import { fromUtf8, parseJson, Shape } from 'veritee/bytes'
import { prefixProofText } from '../../enclave/runtime/ledger.ts'
import { readRequestBody, sendError, sendJson } from '../../http/body.ts'
import { checkExchangeModel } from '../../http/ehbp/open-body.ts'
import { HttpError } from '../../http/errors.ts'
import { demandFound, demandProof, type Kept } from '../../http/proof-routes.ts'
import type { ForwardDeps } from '../forward.ts'

const shape = new Shape('malformed_document')
const maxQuestion = 1024

/**
 * `POST /v1/veritee/receipts` with a body encrypted to this controller: one of its receipts, the worker's receipt that it cites, or a proof for a part of a stream, to who holds the credential of the request. So neither question nor
 * answer is seen by whoever ends TLS in front (rule S6). It runs nothing, and has no receipt. Never throws.
 */
export async function ownReceipt({ access }: ForwardDeps, kept: () => Kept, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    // Opening a body uses up a little of the key: as for other bodies, who may is asked first.
    const refusal = (await access?.authenticate?.(incoming)) ?? null
    if (refusal !== null) throw refusal
    const question = parseJson(fromUtf8(await readRequestBody(incoming, maxQuestion)), { maxLength: maxQuestion, maxDepth: 2 })
    checkExchangeModel(incoming, null)
    const o = shape.object(question, 'question', ['credential', 'document', 'prefix', 'receipt_id'])
    const credential = shape.nullableString(o.credential, 'credential', 512)
    const document = shape.oneOf(o.document, 'document', ['receipt', 'upstream'])
    const prefix = o.prefix === null ? null : shape.integer(o.prefix, 'prefix', 1 << 30)
    const found = demandFound(await kept().find(shape.string(o.receipt_id, 'receipt_id', 128), credential))
    if (document === 'receipt') return sendJson(response, prefix === null ? found.text : demandProof(await prefixProofText(found.stream, prefix)))
    if (found.upstream === null) throw new HttpError(404, 'not_found', 'this receipt cites no worker receipt')
    sendJson(response, prefix === null ? found.upstream.text : demandProof(await found.upstream.prefixProof(prefix)))
  } catch (error) {
    sendError(response, error)
  }
}

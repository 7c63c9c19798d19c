import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { PendingReceipt } from '../../enclave/runtime/ledger.ts'
import { errorBody, type HttpError } from '../../http/errors.ts'
import { digestOf } from '../relay.ts'
import type { InferenceRequest } from './read-request.ts'

/** A refusal is signed too, so that a requester can show what it was told. */
export async function refuse(request: InferenceRequest, error: HttpError, receipt: PendingReceipt, response: ServerResponse): Promise<void> {
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

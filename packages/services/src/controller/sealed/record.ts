import type { ServerResponse } from 'node:http'
import type { ReceiptEvent, Outcome as ReceiptOutcome } from 'veritee/receipt'
import type { PendingReceipt } from '../../enclave/runtime/ledger.ts'
import { errorBody, type HttpError } from '../../http/errors.ts'
import type { AdmittedWorker } from '../registry.ts'
import { bodyHash } from '../relay.ts'
import type { Outcome } from '../stages/exchange.ts'
import type { OpaqueRequest } from './send.ts'

/** What came of an exchange with a worker. */
export interface OpaqueFacts {
  readonly upstream: ReceiptEvent
  /** The worker's statement where it matched: kept with the receipt, which cites it. */
  readonly stated: string | null
  readonly responseHash: string
  readonly outcome: ReceiptOutcome
}

/** The event for an answer without a statement. */
export function unstated(status: number): ReceiptEvent {
  return { type: 'veritee.upstream_receipt', digest: null, result: 'absent', reason: `the worker refused the request with status ${status}` }
}

/** The receipt of one exchange whose content stays unknown. */
export class OpaqueRecord {
  readonly request: OpaqueRequest
  readonly receipt: PendingReceipt

  constructor(request: OpaqueRequest, receipt: PendingReceipt) {
    this.request = request
    this.receipt = receipt
  }

  async sign(worker: AdmittedWorker, facts: OpaqueFacts): Promise<void> {
    const events: ReceiptEvent[] = [
      { type: 'request.forwarded', body_hash: this.request.hash },
      { type: 'upstream.verified', result: 'verified', required: true, model_id: '', session_id: worker.session.id },
      facts.upstream,
    ]
    await this.#finish(events, facts, worker)
  }

  /** In plain: this controller holds no key of the exchange. `worker` is the one that was asked, if any was. */
  async refuse(error: HttpError, worker: AdmittedWorker | null, response: ServerResponse): Promise<Outcome> {
    const body = Buffer.from(errorBody(error))
    const outcome = worker === null ? 'refused' : 'error'
    const facts = { stated: null, responseHash: bodyHash(body), outcome } as const
    const reason = error.message
    if (worker === null) await this.#finish([{ type: 'upstream.verified', result: 'failed', required: true, model_id: '', reason }], facts, null)
    else await this.sign(worker, { ...facts, upstream: { type: 'veritee.upstream_receipt', digest: null, result: 'absent', reason } })
    response
      .writeHead(error.status, {
        'content-type': 'application/json',
        'content-length': body.length,
        'x-receipt-id': this.receipt.id,
        ...error.headers,
      })
      .end(body)
    return { outcome, usage: null }
  }

  async #finish(upstream: readonly ReceiptEvent[], facts: Omit<OpaqueFacts, 'upstream'>, worker: AdmittedWorker | null): Promise<void> {
    const { path, sessionId, enc, clientNonce } = this.request
    const { stated, responseHash, outcome } = facts
    await this.receipt.finish({
      chatId: null,
      model: null,
      endpoint: path,
      stream: null,
      ...(worker !== null && { session: worker.session }),
      // Its stream is not known here, and proofs about it are for the requester alone.
      ...(stated !== null && {
        upstream: { text: Buffer.from(stated), events: null, prefixProof: () => Promise.reject(new TypeError('no stream is known')) },
      }),
      events: [
        { type: 'request.received', body_hash: this.request.hash },
        { type: 'veritee.request', client_nonce: clientNonce },
        { type: 'veritee.opaque', extension: 'veritee.ehbp.v1', session_id: sessionId, enc },
        ...upstream,
        { type: 'veritee.outcome', outcome },
        { type: 'response.returned', body_hash: responseHash },
      ],
    })
  }
}

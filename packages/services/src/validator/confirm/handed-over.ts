import { fromHex, type Json, jcsDigest, utf8 } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import type { FraudContext } from 'veritee/fraud'
import { auditViewOf } from 'veritee/log'
import { policyFor } from 'veritee/policy'
import { evaluateReport, eventOf, type ModelEvent, parseReceipt, parseReport, type Receipt, verifyReceipt, verifyReport } from 'veritee/receipt'
import { type ConfirmationRequest, epochWindow, type ScoringPolicy } from 'veritee/scoring'
import type { ExchangeRecord } from '../../replay/index.ts'
import { workerId } from '../audit/audit.ts'
import { maxSkewSeconds } from '../audit/bounds.ts'

/** What a request hands over, as the worker signed it. */
export interface HandedOver {
  readonly exchange: ExchangeRecord
  readonly model: ModelEvent
  /** As the report describes it: digest of its files. */
  readonly weights: string
  readonly receipt: Receipt
}

export interface HandedOverContext {
  readonly policy: Pick<ScoringPolicy, 'epoch'>
  /** Of the admission manifest: under which machines have their names. */
  readonly salt: string
  /** Whose evidence counts. */
  readonly evidence: Omit<FraudContext, 'at'>
}

/**
 * Verifies what another validator hands over (spec/confirmation.md, "Handing over"): the worker's evidence as of the time of the record, under the manifest's section for workers; that it is the worker which the
 * request names; its receipt, of this epoch and of weights that it announces; and that the audit view is the one named. As of no time of its own, so that it comes out the same whenever it is done.
 * Not verified: that the bodies are what the receipt is over, which the replay does, and the request's signature.
 *
 * Throws `confirmation_request_malformed` where the documents are not those that the request names, and what verifying them throws.
 */
export async function verifyHandedOver(request: ConfirmationRequest, { policy, salt, evidence }: HandedOverContext): Promise<HandedOver> {
  const { at, epoch, exchange, keyset } = request
  const need = (holds: boolean, expected: string): void => {
    if (!holds) throw fail('confirmation_request_malformed', `expected ${expected}`)
  }
  const { opens, closes } = epochWindow(policy, epoch)
  need(at >= opens && at < closes, 'a time of the epoch')
  const judgedAt = new Date(at * 1000)
  const report = await verifyReport(parseReport(exchange.report), 'stated', evidence.trust, judgedAt)
  need(report.keysetDigest === keyset, 'the report of the keyset that is named')
  const section = { ...policyFor(evidence.policy, 'worker'), maxAttestationAge: 'any' as const }
  const { error } = evaluateReport(report, section, { role: 'worker', at: judgedAt, attestedAt: null, channel: 'stored' })
  if (error !== null) throw fail(error.code, error.message)
  const id = await workerId(salt, report)
  const { worker } = request
  need(id !== null && id.operator === worker.operator && id.platform === worker.platform && id.slot === worker.slot, 'the worker that is named')
  const nothing = { requestHash: null, responseHash: null, clientNonce: null }
  const receipt = await verifyReceipt(parseReceipt(exchange.receipt), report.keyset, keyset, nothing)
  const receiptKey = exchange.receipt_key === null ? null : fromHex(exchange.receipt_key)
  const view = await auditViewOf(receipt, receiptKey)
  need((await jcsDigest(view as unknown as Json)) === request.view, 'the receipt that is named')
  need(view.served_at >= opens - maxSkewSeconds && view.served_at < closes + maxSkewSeconds, 'a receipt of the epoch')
  const model = eventOf(receipt, 'veritee.model')
  const announced = report.descriptor.models.find(({ name }) => name === model?.name)
  if (model === undefined || announced === undefined) throw fail('confirmation_request_malformed', 'expected the answer of a model that is announced')
  const weights = (files: readonly { readonly sha256: string }[]): string => files.map(({ sha256 }) => sha256).join()
  need(weights(model.files) === weights(announced.files), 'the answer of the weights that are announced: others are a fault that shows by itself')
  return {
    exchange: {
      receipt: exchange.receipt,
      request: utf8(exchange.request),
      response: utf8(exchange.response),
      receiptKey,
      signer: { keyset: report.keyset, keysetDigest: report.keysetDigest },
    },
    model,
    weights: await jcsDigest(announced.files as unknown as Json),
    receipt,
  }
}

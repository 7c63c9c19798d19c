import { fromBase64 } from '../../bytes/base64.ts'
import { fromUtf8 } from '../../bytes/bytes.ts'
import { parseJson, Shape } from '../../bytes/index.ts'
import { fail } from '../../errors.ts'
import { type Content, maxSessionBytes } from '../../receipt/index.ts'
import type { ProofEvidence } from '../exchange/proving.ts'

const shape = new Shape('session_mismatch')

/**
 * What a requester hands over of an answer that verified: the worker's receipt with its key, the report that binds the worker's keyset, and both bodies. Throws `receipt_missing` where something of it did not come,
 * as where the answer was not verified or the receipt commits to no key.
 */
export function contentOf({ requestBody, responseBody, report, seen, failure }: ProofEvidence): Content {
  const relayed = seen.workerReceipt !== null
  const receipt = relayed ? seen.workerReceipt : seen.receipt
  if (failure !== null || receipt === null || seen.receiptKey === null)
    throw fail('receipt_missing', 'expected an answer that verified, with a receipt and its key')
  const workerReport = !relayed ? report : (seen.worker?.report ?? reportIn(seen.session))
  return { report: workerReport, receipt, receiptKey: seen.receiptKey, request: requestBody, response: responseBody }
}

/** The report in the evidence of a session, which was verified before. */
function reportIn(session: string | null): string {
  if (session === null) throw fail('receipt_missing', 'expected the session of the worker')
  const limits = { maxLength: maxSessionBytes, maxDepth: 20 }
  const data = shape.string(
    shape.record(shape.record(parseJson(session, limits), 'session').evidence, 'evidence').data,
    'evidence.data',
    maxSessionBytes,
  )
  const evidence = shape.record(parseJson(fromUtf8(fromBase64(data.slice(data.indexOf(',') + 1))), limits), 'evidence')
  return JSON.stringify(evidence.report)
}

import { concatAll, fromUtf8, utf8 } from '../../bytes/bytes.ts'
import { fail } from '../../errors.ts'
import { maxReceiptBytes } from '../../receipt/index.ts'
import { type EhbpKey, sealRequest } from '../../seal/ehbp/index.ts'
import type { Service } from '../establish.ts'
import { serviceMessage } from '../fetch-text.ts'
import { beginOpening } from './opening.ts'

export interface ReceiptQuestion {
  readonly receiptId: string
  /** Of the exchange: known to the two sides only. */
  readonly credential: string
  /** For the proof that so many events are a prefix; null for the receipt itself. */
  readonly prefix: number | null
}

const path = '/v1/veritee/receipts'

/** Asks the worker for a receipt by a body sealed to it (spec/ehbp-binding.md), through its controller where there is a session. Throws `receipt_missing`, `ehbp_*`, `response_too_large`. */
export async function fetchSealedReceipt(
  service: Service,
  to: { readonly key: EhbpKey; readonly sessionId: string | null },
  { receiptId, credential, prefix }: ReceiptQuestion,
  headers: { readonly [name: string]: string },
  signal: AbortSignal,
): Promise<string> {
  const { transport } = service
  const question = utf8(JSON.stringify({ credential, prefix, receipt_id: receiptId }))
  const request = await sealRequest(to.key, { method: 'POST', model: null, path, session_id: to.sessionId }, question)
  const response = await transport.send({ method: 'POST', path, headers: { ...headers, ...request.headers }, body: request.body, signal })
  const { body } = await beginOpening(request, response)
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of body) {
    length += part.length
    if (length > maxReceiptBytes) throw fail('response_too_large', `expected at most ${maxReceiptBytes} bytes`)
    parts.push(part)
  }
  const answer = concatAll(parts)
  if (response.status !== 200)
    throw fail('receipt_missing', `the worker answered ${response.status}: ${serviceMessage(new TextDecoder().decode(answer))}`)
  return fromUtf8(answer)
}

import { fromBase64, fromHex, parseJson, Shape, toBase64, toHex } from 'veritee/bytes'
import type { ExchangeRecord } from './claim.ts'

const shape = new Shape('malformed_document')
const maxBody = 1 << 26

/** One record as one line: {"receipt","request_b64","response_b64","receipt_key"}. It holds prompt and answer: keep it as you keep those. The report is not in it. */
export function formatRecord({ receipt, request, response, receiptKey }: ExchangeRecord): string {
  return JSON.stringify({
    receipt,
    request_b64: toBase64(request),
    response_b64: toBase64(response),
    receipt_key: receiptKey === null ? null : toHex(receiptKey),
  })
}

/** Reads one line. Throws `malformed_json`, `malformed_document`, `malformed_encoding`. */
export function parseRecord(line: string): ExchangeRecord {
  const value = parseJson(line, { maxLength: 4 * maxBody, maxDepth: 2 })
  const o = shape.object(value, 'record', ['receipt', 'request_b64', 'response_b64', 'receipt_key'])
  return {
    receipt: shape.string(o.receipt, 'receipt', 1 << 20),
    request: fromBase64(shape.string(o.request_b64, 'request_b64', maxBody)),
    response: fromBase64(shape.string(o.response_b64, 'response_b64', maxBody)),
    receiptKey: o.receipt_key === null ? null : fromHex(shape.hex(o.receipt_key, 'receipt_key', 32)),
    signer: null,
  }
}

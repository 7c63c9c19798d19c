import { fromBase64, toBase64 } from '../bytes/base64.ts'
import { fromHex, toHex } from '../bytes/hex.ts'
import { parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import { maxReceiptBytes } from './receipt.ts'
import { maxReportBytes } from './report.ts'

/** One exchange as its requester hands it over to be run again (spec/content.md, rule S6): in clear, with the key that joins it to the audit view in the log. Nothing in it is verified. */
export interface Content {
  /** The worker's report, as it came. */
  readonly report: string
  /** The worker's receipt, as it came. */
  readonly receipt: string
  /** `X-Veritee-Receipt-Key`, 32 bytes. */
  readonly receiptKey: Uint8Array
  /** The request body before it was encrypted, byte for byte: as sent, or as the controller forwarded it. */
  readonly request: Uint8Array
  /** The response body, byte for byte. */
  readonly response: Uint8Array
}

/** UTF-16 units of the longest document, and bytes of the bodies in it. */
export const maxContentLength: number = 6 << 20
export const maxContentRequest: number = 1 << 20
export const maxContentResponse: number = 2 << 20
const version = 'veritee.content.v1'
const shape = new Shape('malformed_document')

/** The document. Throws `malformed_document` for bodies that are too long to be handed over. */
export function contentText({ report, receipt, receiptKey, request, response }: Content): string {
  if (request.length > maxContentRequest || response.length > maxContentResponse)
    throw shape.refuse('content', `a request of at most ${maxContentRequest} bytes and a response of at most ${maxContentResponse}`)
  return JSON.stringify({
    version,
    report,
    receipt,
    receipt_key: toHex(receiptKey),
    request_b64: toBase64(request),
    response_b64: toBase64(response),
  })
}

/** Reads a document: shape and bounds only; what is in it is verified by nobody so far. Throws `malformed_json`, `malformed_document`, `malformed_encoding`. */
export function parseContent(text: string): Content {
  const o = shape.object(parseDocument(text, { maxLength: maxContentLength, maxDepth: 2 }, 'malformed_document', 'the content'), 'content', [
    'version',
    'report',
    'receipt',
    'receipt_key',
    'request_b64',
    'response_b64',
  ])
  shape.oneOf(o.version, 'version', [version])
  const body = (value: unknown, at: string, maxBytes: number): Uint8Array => {
    const bytes = fromBase64(shape.string(value, at, maxContentLength))
    if (bytes.length > maxBytes) throw shape.refuse(at, `at most ${maxBytes} bytes`)
    return bytes
  }
  return {
    report: shape.string(o.report, 'report', maxReportBytes),
    receipt: shape.string(o.receipt, 'receipt', maxReceiptBytes),
    receiptKey: fromHex(shape.hex(o.receipt_key, 'receipt_key', 32)),
    request: body(o.request_b64, 'request_b64', maxContentRequest),
    response: body(o.response_b64, 'response_b64', maxContentResponse),
  }
}

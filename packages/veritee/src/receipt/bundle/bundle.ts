import { type Collateral, collateralFromJson } from '../../attestation/index.ts'
import { fromBase64 } from '../../bytes/base64.ts'
import { equal } from '../../bytes/bytes.ts'
import { type MemberSpan, type ParsedJson, parseDocumentSpans } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import { maxReceiptBytes, parseReceipt, type Receipt } from '../receipt.ts'
import { type Report, reportFromJson } from '../report.ts'
import { maxSessionBytes } from '../session.ts'

/** Everything needed to verify a quote, and what was done under it, offline at any later time (spec/evidence-bundle.md). As parsed: nothing is verified. */
export interface Bundle {
  readonly quote: Uint8Array
  readonly collateral: Collateral
  /** Of the service that the quote is of. */
  readonly report: Report | null
  /** One inference of that service. */
  readonly exchange: BundledExchange | null
}

export interface BundledExchange {
  /** The bytes sent and received; null where the bundle keeps them back. */
  readonly requestBody: Uint8Array | null
  readonly responseBody: Uint8Array | null
  readonly receipt: Receipt
  /** The session that the receipt cites, as the text served. */
  readonly session: string | null
  readonly workerReceipt: Receipt | null
}

/** UTF-16 units of the largest bundle. */
export const maxBundleLength: number = 4 << 20
const maxQuoteLength = 65_536
const maxDepth = 24
const shape = new Shape('bundle_malformed')

/**
 * Parses an evidence bundle: strict JSON of at most 4 Mi characters with exactly the members of spec/evidence-bundle.md. Documents inside are read by
 * their own readers from the text as it stands. The quote beside a report must be the report's own.
 *
 * Verifies nothing; see `verifyBundle`. Throws `bundle_malformed`, `malformed_encoding` and every code of the readers of collateral, report and receipt.
 */
export function parseBundle(text: string): Bundle {
  const parsed = strict(text)
  const o = shape.object(parsed.value, 'bundle', ['version', 'quote_b64', 'collateral', 'report', 'exchange'])
  shape.oneOf(o.version, 'version', ['veritee.bundle.v1'])
  const quote = fromBase64(shape.string(o.quote_b64, 'quote_b64', maxQuoteLength))
  const report = o.report === null ? null : reportFromJson(o.report)
  if (report !== null && !equal(report.quote, quote)) throw shape.refuse('report', 'a report over the quote of the bundle')
  if (o.exchange !== null && report === null)
    throw shape.refuse('exchange', 'none without a report: a receipt is signed by a key that a report binds')
  return { quote, collateral: collateralFromJson(o.collateral), report, exchange: o.exchange === null ? null : exchangeOf(o.exchange, text, parsed) }
}

function strict(text: string): ParsedJson {
  return parseDocumentSpans(text, { maxLength: maxBundleLength, maxDepth }, 'bundle_malformed', 'the bundle')
}

function exchangeOf(value: unknown, text: string, { spans }: ParsedJson): BundledExchange {
  const o = shape.object(value, 'exchange', ['request_b64', 'response_b64', 'receipt', 'session', 'worker_receipt'])
  const members: readonly MemberSpan[] = spans.get(o) ?? []
  const slice = (name: string, maxLength: number): string | null => {
    const span = members.find((member) => member.name === name)
    if (o[name] === null || span === undefined) return null
    const found = text.slice(span.valueStart, span.end)
    if (found.length > maxLength) throw shape.refuse(`exchange.${name}`, `at most ${maxLength} characters`)
    return found
  }
  const body = (name: 'request_b64' | 'response_b64'): Uint8Array | null =>
    o[name] === null ? null : fromBase64(shape.string(o[name], `exchange.${name}`, maxBundleLength))
  const receipt = slice('receipt', maxReceiptBytes)
  if (receipt === null) throw shape.refuse('exchange.receipt', 'a receipt')
  const workerReceipt = slice('worker_receipt', maxReceiptBytes)
  return {
    requestBody: body('request_b64'),
    responseBody: body('response_b64'),
    receipt: parseReceipt(receipt),
    session: slice('session', maxSessionBytes),
    workerReceipt: workerReceipt === null ? null : parseReceipt(workerReceipt),
  }
}

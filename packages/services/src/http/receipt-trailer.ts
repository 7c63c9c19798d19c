import { hash } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { exchangeOf } from '../enclave/runtime/ehbp/exchange.ts'
import { isSealed } from './ehbp/expect-sealed.ts'

/**
 * A worker's receipt as a trailer of the answer that it is for, so that a controller need not fetch it: an optimisation, and never the only way
 * (rule S10). Specified in spec/receipt-events.md, section "With the answer".
 */
const trailerName = 'x-veritee-receipt'
/** In characters of base64url. Trailers count with the headers of many HTTP implementations, which take 16 KiB of both; a receipt may be of any length. */
const maxTrailerLength = 4096

/** What a controller says with its request to have it. There is no hop between, so it needs no `Connection: TE`. */
export const acceptsTrailers: { readonly te: 'trailers' } = { te: 'trailers' }

/**
 * At a worker, before the headers go out: the receipt will be with the answer, if who asks takes trailers. The answer then has no length.
 * Never where the answer is encrypted: a trailer is not, and its receipt is not for whoever carries it (rule S4).
 */
export function offerReceipt(incoming: IncomingMessage, response: ServerResponse): void {
  if (exchangeOf(incoming) !== null) return
  if (!isSealed(incoming) && /(?:^|[\s,])trailers(?:$|[\s,;])/i.test(String(incoming.headers.te ?? ''))) response.setHeader('trailer', trailerName)
}

/** True where {@link offerReceipt} has promised it. */
function offersReceipt(response: ServerResponse): boolean {
  return response.hasHeader('trailer')
}

/** Before the end of an answer, once its receipt is durable: the receipt, or where that is too long its digest, to be fetched. Does nothing where none was promised. */
export function addReceipt(response: ServerResponse, receipt: Buffer): void {
  if (!offersReceipt(response)) return
  const value = receipt.toString('base64url')
  response.addTrailers([[trailerName, value.length <= maxTrailerLength ? value : `sha256:${hash('sha256', receipt, 'hex')}`]])
}

/** Sends a plain answer whose receipt is durable, and the receipt where it was promised. */
export function endPlain(response: ServerResponse, status: number, body: Uint8Array, receipt: Buffer): void {
  // What has trailers has no length.
  response.writeHead(status, { 'content-type': 'application/json', ...(!offersReceipt(response) && { 'content-length': body.length }) })
  addReceipt(response, receipt)
  response.end(body)
}

/** What came with an answer, not judged in any way. */
export type OfferedReceipt = { readonly text: string } | { readonly digest: string }

/** At a controller; null where nothing came that could be one. */
export function receiptOfTrailers(trailers: IncomingHttpHeaders): OfferedReceipt | null {
  const value = trailers[trailerName]
  if (typeof value !== 'string' || value.length === 0 || value.length > maxTrailerLength) return null
  if (value.length === 71 && /^sha256:[0-9a-f]{64}$/.test(value)) return { digest: value }
  // Node's decoder takes the digits of both alphabets, looks at the low byte of each character only, and passes over what is none: then there are fewer bytes.
  // To look at each character by a regular expression takes twice as long as to decode them.
  if (value.length % 4 === 1 || value.includes('+') || value.includes('/') || Buffer.byteLength(value) !== value.length) return null
  const bytes = Buffer.from(value, 'base64url')
  return bytes.length === Math.floor((value.length * 3) / 4) ? { text: bytes.toString('utf8') } : null
}

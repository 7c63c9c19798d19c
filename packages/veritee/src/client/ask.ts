import * as crypto from '#crypto'
import { concatAll, utf8 } from '../bytes/bytes.ts'
import { sha256Digest } from '../bytes/digest.ts'
import { toHex } from '../bytes/hex.ts'
import { fail, VeriteeError } from '../errors.ts'
import { type Exchange, type VerifiedExchange, verifyExchange } from '../receipt/exchange.ts'
import { eventOf, maxReceiptBytes, parseReceipt, upstreamOf } from '../receipt/receipt.ts'
import { maxSessionBytes } from '../receipt/session.ts'
import { EventSplitter, StreamTree } from '../receipt/stream.ts'
import { checkStillVerified, type Service } from './connect.ts'
import { fetchText, serviceMessage } from './fetch-text.ts'
import type { TransportResponse } from './transport.ts'

/** Bytes of the longest response kept for verification. */
const maxResponseBytes = 64 << 20
/** Events of the longest stream: each costs far more memory than the two bytes it may have. */
const maxEvents = 1 << 20

export interface AskOptions {
  readonly signal?: AbortSignal
  /** Called with each whole event of a stream, as raw bytes, before the proof stands. Return false to stop early. */
  readonly onEvent?: (event: Uint8Array) => boolean | undefined
}

/** An answer with its proof: the raw bytes on both sides, and the documents that prove it, for keeping. */
export interface Answer {
  readonly requestBody: Uint8Array
  readonly responseBody: Uint8Array
  readonly contentType: string
  readonly receiptId: string
  readonly clientNonce: string
  readonly records: { readonly receipt: string; readonly session: string | null; readonly workerReceipt: string | null }
  readonly proof: VerifiedExchange
}

/**
 * Sends one request body to a verified service and verifies the answer: receipt, session, worker evidence and worker receipt (`verifyExchange`).
 * A stream that is left early yields `verified-prefix`.
 *
 * Throws `service_refused` (with the service's message) for an error answer, `keyset_changed`, `receipt_missing` and the codes of `verifyExchange`.
 */
export async function ask(service: Service, path: string, requestBody: Uint8Array, options: AskOptions = {}): Promise<Answer> {
  checkStillVerified(service, null)
  const clientNonce = toHex(crypto.randomBytes(32))
  const abort = new AbortController()
  const response = await service.transport.send({
    method: 'POST',
    path,
    headers: { ...authorization(service), 'content-type': 'application/json', 'x-veritee-nonce': clientNonce },
    body: requestBody,
    signal: options.signal === undefined ? abort.signal : AbortSignal.any([abort.signal, options.signal]),
  })
  try {
    checkStillVerified(service, response.headers['x-aci-keyset-digest'] ?? 'none')
  } catch (error) {
    // Nobody reads on: give the connection up rather than hold it open.
    abort.abort()
    throw error
  }
  const contentType = response.headers['content-type'] ?? ''
  const streaming = response.status === 200 && contentType.startsWith('text/event-stream')
  const received = await receive(response, streaming, options, abort)
  if (response.status !== 200)
    throw fail(
      'service_refused',
      `${service.transport.origin}${path} answered ${response.status}: ${serviceMessage(new TextDecoder().decode(received.body))}`,
    )
  const receiptId = response.headers['x-receipt-id']
  if (receiptId === undefined || !/^[\w-]{1,128}$/.test(receiptId)) throw fail('receipt_missing', 'the answer names no receipt')
  const exchange: Exchange = {
    requestBody,
    responseHash: await sha256Digest(received.body),
    stream: received.stream,
    complete: received.complete,
    clientNonce,
  }
  const { records, proof } = await prove(service, receiptId, exchange)
  return { requestBody, responseBody: received.body, contentType, receiptId, clientNonce, records, proof }
}

function authorization(service: Service): { [name: string]: string } {
  return service.options.apiKey === undefined ? {} : { authorization: `Bearer ${service.options.apiKey}` }
}

interface Received {
  readonly body: Uint8Array
  readonly stream: StreamTree | null
  readonly complete: boolean
}

async function receive(response: TransportResponse, streaming: boolean, options: AskOptions, abort: AbortController): Promise<Received> {
  const parts: Uint8Array[] = []
  const stream = streaming ? new StreamTree() : null
  const splitter = new EventSplitter()
  let length = 0
  let callback: { readonly error: unknown } | null = null
  try {
    for await (const part of response.body) {
      length += part.length
      if (length > maxResponseBytes) throw fail('response_too_large', `expected at most ${maxResponseBytes} bytes`)
      if (stream === null) {
        parts.push(part)
        continue
      }
      for (const event of splitter.push(part)) {
        parts.push(event)
        if (parts.length > maxEvents) throw fail('response_too_large', `expected at most ${maxEvents} events`)
        await stream.append(event)
        let wanted: boolean | undefined
        try {
          wanted = options.onEvent?.(event)
        } catch (error) {
          callback = { error }
          throw error
        }
        if (wanted === false) {
          abort.abort()
          return { body: concatAll(parts), stream, complete: false }
        }
      }
    }
  } catch (cause) {
    // A failure of the caller's own callback is the caller's, not a broken stream.
    if (callback !== null) throw callback.error
    if (cause instanceof VeriteeError) throw cause
    // Cut off or aborted: what came whole can still be verified as a prefix.
    if (stream === null || stream.leaves.length === 0) throw fail('service_unavailable', `the answer broke off after ${length} bytes`, cause)
    return { body: concatAll(parts), stream, complete: false }
  }
  // Bytes after the last blank line belong to the body that the receipt hashes; they are no event.
  return { body: concatAll([...parts, splitter.rest]), stream, complete: true }
}

async function prove(service: Service, receiptId: string, exchange: Exchange): Promise<Pick<Answer, 'records' | 'proof'>> {
  const get = (path: string, maxBytes: number): Promise<string> =>
    fetchText(service.transport, { method: 'GET', path, headers: authorization(service) }, maxBytes, 'receipt_missing')
  const prefix = exchange.complete || exchange.stream === null ? null : exchange.stream.leaves.length
  const receipt = await get(`/v1/aci/receipts/${receiptId}`, maxReceiptBytes)
  const prefixProof = prefix === null ? null : await get(`/v1/aci/receipts/${receiptId}?prefix=${prefix}`, maxReceiptBytes)
  const stated = parseReceipt(receipt)
  const upstream = upstreamOf(stated)
  const verified = upstream?.result === 'verified' ? upstream : null
  // Where the controller itself says that the worker's receipt did not match, there is none to fetch, and verification says so.
  const cited = verified !== null && eventOf(stated, 'veritee.upstream_receipt')?.result === 'match'
  const session = verified === null ? null : { id: verified.session_id, text: await get(`/v1/aci/sessions/${verified.session_id}`, maxSessionBytes) }
  const workerPath = `/v1/veritee/receipts/${receiptId}/upstream`
  const workerReceipt = !cited ? null : await get(workerPath, maxReceiptBytes)
  const workerPrefixProof = !cited || prefix === null ? null : await get(`${workerPath}?prefix=${prefix}`, maxReceiptBytes)
  const { report, options } = service
  const records = { receipt, prefixProof, session, workerReceipt, workerPrefixProof }
  const proof = await verifyExchange(exchange, records, report, options.policy, options.trust, options.now())
  return { records: { receipt, session: session?.text ?? null, workerReceipt }, proof }
}

/** The body of a chat request: what OpenAI's API takes. */
export function chatBody(
  model: string,
  prompt: string,
  options: { readonly stream?: boolean; readonly maxTokens?: number; readonly temperature?: number; readonly seed?: number } = {},
): Uint8Array {
  return utf8(
    JSON.stringify({
      model,
      messages: [{ role: 'user', content: prompt }],
      ...(options.stream === true ? { stream: true } : {}),
      ...(options.maxTokens === undefined ? {} : { max_tokens: options.maxTokens }),
      ...(options.temperature === undefined ? {} : { temperature: options.temperature }),
      ...(options.seed === undefined ? {} : { seed: options.seed }),
    }),
  )
}

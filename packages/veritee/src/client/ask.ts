import * as crypto from '#crypto'
import { utf8 } from '../bytes/bytes.ts'
import { fromHex, isHex, toHex } from '../bytes/hex.ts'
import { fail, VeriteeError } from '../errors.ts'
import { anchoredNonce, type NonceAnchor } from '../log/index.ts'
import { checkReceiptKey, type Exchange, type VerifiedExchange } from '../receipt/index.ts'
import { checkStillVerified, type Service } from './establish.ts'
import { type GetDocument, proveExchange, type Records, receiptIdOf } from './exchange/documents.ts'
import { Receiving } from './exchange/receiving.ts'
import { fetchText, serviceMessage } from './fetch-text.ts'
import type { TransportResponse } from './transport.ts'

export interface AskOptions {
  readonly signal?: AbortSignal
  /**
   * Makes the nonce of a checkpoint of the log that receipts promise, so that an absence from it takes only the leaves since (see `anchoredNonce`). Its salt must be fresh: with one that was
   * used before, an older answer could pass for this one. Whoever wants to prove an omission keeps it.
   */
  readonly anchor?: NonceAnchor
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
  readonly records: Records
  readonly proof: VerifiedExchange
}

/**
 * Sends one request body to a verified service and verifies the answer: receipt, session, worker evidence and worker receipt (`verifyExchange`).
 * A stream that is left early yields `verified-prefix`.
 *
 * Throws `service_refused` (with the service's message) for an error answer, `keyset_changed`, `receipt_missing`, `receipt_key_mismatch` and the codes of
 * `verifyExchange`.
 */
export async function ask(service: Service, path: string, requestBody: Uint8Array, options: AskOptions = {}): Promise<Answer> {
  checkStillVerified(service, null)
  const clientNonce = options.anchor === undefined ? toHex(crypto.randomBytes(32)) : await anchoredNonce(options.anchor)
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
  const { receiving, complete } = await receive(response, streaming, options, abort)
  const responseBody = receiving.body
  if (response.status !== 200)
    throw fail(
      'service_refused',
      `${service.transport.origin}${path} answered ${response.status}: ${serviceMessage(new TextDecoder().decode(responseBody))}`,
    )
  const receiptId = receiptIdOf(response.headers)
  const exchange: Exchange = { requestBody, responseHash: await receiving.digest(), stream: receiving.stream, complete, clientNonce }
  const get: GetDocument = (document, maxBytes) =>
    fetchText(service.transport, { method: 'GET', path: document, headers: authorization(service) }, maxBytes, 'receipt_missing')
  const { records, proof } = await proveExchange(get, receiptId, exchange, service)
  const key = response.headers['x-veritee-receipt-key']
  if (isHex(key, 32)) await checkReceiptKey((proof.worker ?? proof).receipt, fromHex(key))
  return { requestBody, responseBody, contentType, receiptId, clientNonce, records, proof }
}

function authorization(service: Service): { [name: string]: string } {
  return service.options.apiKey === undefined ? {} : { authorization: `Bearer ${service.options.apiKey}` }
}

interface Received {
  readonly receiving: Receiving
  readonly complete: boolean
}

async function receive(response: TransportResponse, streaming: boolean, options: AskOptions, abort: AbortController): Promise<Received> {
  const receiving = new Receiving(streaming)
  let callback = null as { readonly error: unknown } | null
  try {
    for await (const part of response.body) {
      for (const event of receiving.split(part)) {
        await receiving.keep(event)
        if (!streaming) continue
        let wanted: boolean | undefined
        try {
          wanted = options.onEvent?.(event)
        } catch (error) {
          callback = { error }
          throw error
        }
        if (wanted === false) {
          abort.abort()
          return { receiving, complete: false }
        }
      }
    }
  } catch (cause) {
    // A failure of the caller's own callback is the caller's, not a broken stream.
    if (callback !== null) throw callback.error
    if (cause instanceof VeriteeError) throw cause
    // Cut off or aborted: what came whole can still be verified as a prefix.
    if (!receiving.hasPrefix) throw fail('service_unavailable', `the answer broke off after ${receiving.length} bytes`, cause)
    return { receiving, complete: false }
  }
  receiving.end()
  return { receiving, complete: true }
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

import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { fromHex, isHex } from 'veritee/bytes'
import {
  checkBinding,
  checkBoundModel,
  ehbpHeaders,
  ehbpVersion,
  FrameOpener,
  keyProblem,
  maxBindingBytes,
  responseKeys,
  unbindBody,
} from 'veritee/ehbp'
import { VeriteeError } from 'veritee/errors'
import { requestLimits } from 'veritee/receipt'
import { exchangeOf, keepExchange, type OpenedExchange } from '../../enclave/runtime/ehbp/exchange.ts'
import type { EhbpRecipient } from '../../enclave/runtime/ehbp/recipient.ts'
import { sealResponse } from '../../enclave/runtime/ehbp/sealed-response.ts'
import { HttpError } from '../errors.ts'
import { holdBytes } from '../held-bytes.ts'

/** Frames of one body, empty ones included. */
const maxFrames = 65_536

/** What is left of a body that was refused is not read. */
const closing = { connection: 'close' }

/**
 * Opens the encrypted body of a request (spec/ehbp-binding.md), part by part as it comes, and keeps it for whoever reads the request. From its first frame on everything
 * written to the response is encrypted. `demanded`: the body must begin with the line that binds it; else where the requester says so. What came in clear is held against
 * the line by the caller: {@link checkExchange}.
 *
 * Throws {@link HttpError}: in plain 400 and 422 (the key is not this one, or takes no more), encrypted 400 for what was sent before, and for what does not hold after the
 * first frame.
 */
export async function openBody(
  request: IncomingMessage,
  response: ServerResponse,
  recipient: EhbpRecipient,
  line: 'demanded' | 'as-said',
): Promise<OpenedExchange> {
  const encHeader = request.headers[ehbpHeaders.encapsulatedKey]
  if (!isHex(encHeader, 32)) throw malformed(`${ehbpHeaders.encapsulatedKey}: expected 64 lower-case hex digits`)
  const said = request.headers[ehbpHeaders.binding]
  if (said !== undefined && said !== ehbpVersion) throw malformed(`${ehbpHeaders.binding}: expected ${ehbpVersion}`)
  const enc = fromHex(encHeader)
  const context = await recipient.setup(enc).catch((cause: unknown) => {
    throw malformed(`${ehbpHeaders.encapsulatedKey}: expected an X25519 key`, cause)
  })
  const opener = new FrameOpener(context.request, { maxBytes: requestLimits.maxLength + maxBindingBytes, maxFrames })
  const begin = async (): Promise<Begun> => {
    const accepted = recipient.accept(enc)
    if (accepted === 'full') throw staleKey()
    const responseNonce = randomBytes(32)
    const keys = await responseKeys(context, responseNonce)
    const nonce = responseNonce.toString('hex')
    const responseHash = sealResponse(response, keys, nonce)
    if (accepted === 'seen')
      throw new HttpError(400, 'invalid_request_error', 'this encrypted body was sent before; encrypt it anew', {
        code: 'ehbp_replayed',
        headers: closing,
      })
    return { responseNonce: nonce, receiptCredential: keys.receiptCredential, responseHash }
  }
  const { plain, requestHash, begun } = await readFrames(request, opener, begin)
  const { responseNonce, receiptCredential, responseHash } = begun
  const bound = line === 'demanded' || said !== undefined ? unbound(plain) : { binding: null, body: plain }
  const exchange: OpenedExchange = { ...bound, enc: encHeader, responseNonce, receiptCredential, wire: { requestHash, responseHash } }
  keepExchange(request, exchange)
  return exchange
}

interface Begun {
  readonly responseNonce: string
  readonly receiptCredential: string
  readonly responseHash: Promise<string>
}

/** Reads all frames; `begin` is called once the first has opened. */
async function readFrames(
  request: IncomingMessage,
  opener: FrameOpener,
  begin: () => Promise<Begun>,
): Promise<{ readonly plain: Buffer; readonly requestHash: string; readonly begun: Begun }> {
  const hash = createHash('sha256')
  const plain: Uint8Array[] = []
  let begun: Begun | null = null
  try {
    // Left early, the request stays open: it is to be answered.
    for await (const part of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      holdBytes(request, part.length)
      hash.update(part)
      let failure: unknown = null
      try {
        plain.push(...(await opener.push(part)))
      } catch (cause) {
        failure = cause
      }
      // Also where a later frame of the same part failed: from its first frame on a body has been sent.
      if (begun === null && opener.opened > 0) begun = await begin()
      if (failure !== null) throw failure
    }
    opener.end()
  } catch (cause) {
    if (cause instanceof HttpError) throw cause
    // That the first frame does not open is all that can be told: the body may be for another key.
    if (cause instanceof VeriteeError && cause.code === 'ehbp_not_authentic' && opener.opened === 0) throw staleKey()
    throw malformed('the encrypted body is malformed, changed or broken off', cause)
  }
  if (begun === null) throw malformed('the encrypted body is empty')
  return { plain: Buffer.concat(plain), requestHash: `sha256:${hash.digest('hex')}`, begun }
}

function unbound(plain: Uint8Array): Pick<OpenedExchange, 'binding' | 'body'> {
  try {
    return unbindBody(plain)
  } catch (cause) {
    throw malformed('the encrypted body does not begin with the line that binds it to its request', cause)
  }
}

/** Holds what came in clear against the line of an opened body, where there is one. Throws `ehbp_binding_mismatch`. */
export function checkExchange(request: IncomingMessage, { binding }: OpenedExchange): void {
  if (binding === null) return
  checkBinding(binding, {
    method: request.method ?? '',
    path: request.url ?? '',
    session_id: header(request, ehbpHeaders.session),
    client_nonce: header(request, ehbpHeaders.nonce),
  })
}

function header({ headers }: IncomingMessage, name: string): string | null {
  const value = headers[name]
  return typeof value === 'string' ? value : null
}

/** `X-Veritee-Session` where it is a session id, else null. */
export function sessionHeader(request: IncomingMessage): string | null {
  const value = header(request, ehbpHeaders.session)
  return isHex(value, 32) ? value : null
}

/** The same for the model that the body names. */
export function checkExchangeModel(request: IncomingMessage, model: unknown): void {
  const binding = exchangeOf(request)?.binding ?? null
  if (binding !== null) checkBoundModel(binding, typeof model === 'string' ? model : null)
}

function malformed(message: string, cause?: unknown): HttpError {
  return new HttpError(400, 'invalid_request_error', message, { code: 'ehbp_malformed', cause, headers: closing })
}

function staleKey(): HttpError {
  return new HttpError(422, 'invalid_request_error', 'the body is not encrypted to the present key of this service', {
    problem: keyProblem,
    headers: closing,
  })
}

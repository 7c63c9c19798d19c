import { createHash, type Hash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { fromHex, isHex } from 'veritee/bytes'
import { type Binding, checkBinding, checkBoundModel, ehbpHeaders, ehbpVersion, keyProblem, maxBindingBytes, unbindBody } from 'veritee/ehbp'
import { VeriteeError } from 'veritee/errors'
import { requestLimits } from 'veritee/receipt'
import { exchangeOf, keepExchange, type OpenedExchange } from '../../enclave/runtime/ehbp/exchange.ts'
import { FrameDecryptor } from '../../enclave/runtime/ehbp/frames.ts'
import { AnswerKeys, type RecipientContext } from '../../enclave/runtime/ehbp/key-schedule.ts'
import type { EhbpRecipient } from '../../enclave/runtime/ehbp/recipient.ts'
import { sealResponse } from '../../enclave/runtime/ehbp/sealed-response.ts'
import { HttpError } from '../errors.ts'
import { holdBytes } from '../held-bytes.ts'
import { joined, readParts } from '../read-parts.ts'

/** Frames of one body, empty ones included. */
const maxFrames = 65_536

/** What is left of a body that was refused is not read. */
const closing = { connection: 'close' }

/** What of the plain text of a body a request was bound by. */
interface Bound {
  readonly binding: Binding | null
  readonly body: Uint8Array
}

/** `body`: without the line. The caller lets go of it as soon as it can; the exchange does not lead to it. */
export interface OpenedBody {
  readonly exchange: OpenedExchange
  readonly body: Uint8Array
}

/**
 * Opens the encrypted body of a request (spec/ehbp-binding.md), part by part as it comes, and keeps what it was for whoever reads the request. From its first frame on everything
 * written to the response is encrypted. `demanded`, at a worker: the body must begin with the line that binds it, and what goes over the wire is hashed for the worker's statement; else the line is there where the requester says
 * so. What came in clear is held against the line by the caller: {@link checkExchange}.
 *
 * Throws {@link HttpError}: in plain 400 and 422 (the key is not this one, or takes no more), encrypted 400 for what was sent before, and for what does not hold after the
 * first frame.
 */
export async function openBody(
  request: IncomingMessage,
  response: ServerResponse,
  recipient: EhbpRecipient,
  line: 'demanded' | 'as-said',
): Promise<OpenedBody> {
  const encHeader = request.headers[ehbpHeaders.encapsulatedKey]
  if (!isHex(encHeader, 32)) throw malformed(`${ehbpHeaders.encapsulatedKey}: expected 64 lower-case hex digits`)
  const said = request.headers[ehbpHeaders.binding]
  if (said !== undefined && said !== ehbpVersion) throw malformed(`${ehbpHeaders.binding}: expected ${ehbpVersion}`)
  const opening = new Opening(request, response, recipient, fromHex(encHeader), line === 'demanded')
  const { plain, answer, wire } = await readParts(
    request,
    (part) => opening.take(part),
    () => opening.end(),
    brokenOff,
  )
  const { binding, body } = line === 'demanded' || said !== undefined ? unbound(plain) : { binding: null, body: plain }
  const { responseNonce, keys } = answer
  // A getter here would give each exchange a shape of its own, which V8 makes and collects at the cost of a cipher.
  const exchange: OpenedExchange = { enc: encHeader, responseNonce, receiptCredential: credentialOf(keys), binding, wire }
  keepExchange(request, exchange)
  return { exchange, body }
}

// Not where the body is opened: a function made there would lead to all of it, for as long as the exchange is kept.
function credentialOf(keys: AnswerKeys): () => string {
  return () => keys.receiptCredential
}

interface Answer {
  readonly responseNonce: string
  readonly keys: AnswerKeys
  readonly responseHash: Promise<string> | null
}

interface WholeBody {
  readonly plain: Buffer
  readonly answer: Answer
  readonly wire: OpenedExchange['wire']
}

/** One body that is being opened. */
class Opening {
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  readonly #recipient: EhbpRecipient
  readonly #context: RecipientContext
  readonly #frames: FrameDecryptor
  readonly #plain: Buffer[] = []
  /** Of the body as it comes, where somebody wants it. */
  readonly #hash: Hash | null
  #answer: Answer | null = null

  constructor(request: IncomingMessage, response: ServerResponse, recipient: EhbpRecipient, enc: Uint8Array, hashed: boolean) {
    this.#request = request
    this.#response = response
    this.#recipient = recipient
    try {
      this.#context = recipient.setup(enc)
    } catch (cause) {
      throw malformed(`${ehbpHeaders.encapsulatedKey}: expected an X25519 key`, cause)
    }
    this.#frames = new FrameDecryptor(this.#context.request, { maxBytes: requestLimits.maxLength + maxBindingBytes, maxFrames })
    this.#hash = hashed ? createHash('sha256') : null
  }

  take(part: Buffer): void {
    holdBytes(this.#request, part.length)
    this.#hash?.update(part)
    let failure: unknown = null
    try {
      this.#frames.push(part, (plain) => this.#plain.push(plain))
    } catch (cause) {
      failure = cause
    }
    // Also where a later frame of the same part failed: from its first frame on a body has been sent.
    if (this.#answer === null && this.#frames.opened > 0) this.#answer = this.#begin()
    if (failure !== null) throw this.#refusal(failure)
  }

  /** All of it, once. */
  end(): WholeBody {
    try {
      this.#frames.end()
    } catch (cause) {
      throw brokenOff(cause)
    }
    const answer = this.#answer
    if (answer === null) throw malformed('the encrypted body is empty')
    const plain = joined(this.#plain)
    // The request, with the listeners that lead here, is there as long as its answer.
    this.#plain.length = 0
    const { responseHash } = answer
    const wire = this.#hash === null || responseHash === null ? null : { requestHash: `sha256:${this.#hash.digest('hex')}`, responseHash }
    return { plain, answer, wire }
  }

  /** Once the first frame has opened. */
  #begin(): Answer {
    const accepted = this.#recipient.accept(this.#context.enc)
    if (accepted === 'full') throw staleKey()
    const drawn = randomBytes(32)
    const responseNonce = drawn.toString('hex')
    const keys = new AnswerKeys(this.#context, drawn)
    const responseHash = sealResponse(this.#response, keys, responseNonce, this.#hash !== null)
    if (accepted === 'seen')
      throw new HttpError(400, 'invalid_request_error', 'this encrypted body was sent before; encrypt it anew', {
        code: 'ehbp_replayed',
        headers: closing,
      })
    return { responseNonce, keys, responseHash }
  }

  #refusal(cause: unknown): HttpError {
    // That the first frame does not open is all that can be told: the body may be for another key.
    if (cause instanceof VeriteeError && cause.code === 'ehbp_not_authentic' && this.#frames.opened === 0) return staleKey()
    return brokenOff(cause)
  }
}

function brokenOff(cause?: unknown): HttpError {
  return malformed('the encrypted body is malformed, changed or broken off', cause)
}

function unbound(plain: Uint8Array): Bound {
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

import { hash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tokenOfAuthorization } from 'veritee/tokens'
import { sealedBody } from './ehbp/expect-sealed.ts'
import { errorBody, HttpError, toHttpError } from './errors.ts'
import { holdBytes } from './held-bytes.ts'
import { joined, readParts } from './read-parts.ts'

/** The whole request body, bounded in bytes, and opened where it was encrypted. Throws 413, 400 and {@link holdBytes}' 503 as {@link HttpError}; the connection closes after a body that is too large. */
export function readRequestBody(request: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  const opening = sealedBody(request)
  if (opening !== null) return opening.then((body) => (body.length > maxBytes ? Promise.reject(tooLarge(maxBytes)) : body))
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return Promise.reject(tooLarge(maxBytes))
  const parts: Buffer[] = []
  let length = 0
  const take = (part: Buffer): void => {
    length += part.length
    if (length > maxBytes) throw tooLarge(maxBytes)
    holdBytes(request, part.length)
    parts.push(part)
  }
  return readParts(request, take, () => joined(parts), brokenOff)
}

// Not where the body is read: functions made there would lead to its parts, and this one is kept until the answer is over.
function brokenOff(cause?: unknown): HttpError {
  return new HttpError(400, 'invalid_request_error', 'the request body broke off', { cause })
}

function tooLarge(maxBytes: number): HttpError {
  return new HttpError(413, 'invalid_request_error', `expected a body of at most ${maxBytes} bytes`, {
    code: 'body_too_large',
    headers: { connection: 'close' },
  })
}

/** Answers with an error in OpenAI's shape, or, where the response has begun, cuts the connection. Returns the body sent. */
export function sendError(response: ServerResponse, error: unknown): string {
  const known = toHttpError(error)
  const body = errorBody(known)
  if (response.headersSent) response.destroy()
  else
    response
      .writeHead(known.status, {
        'content-type': known.problem?.mediaType ?? 'application/json',
        'content-length': Buffer.byteLength(body),
        ...known.headers,
      })
      .end(body)
  return body
}

export function sendJson(response: ServerResponse, text: string, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }).end(text)
}

/**
 * Writes; where the peer takes no more at the moment, gives a promise that is kept when it does. Gives false where the peer has gone, which a peer that takes nothing for `stalledMs` has:
 * it would hold a slot of the engine for as long as it likes.
 */
export function write(response: ServerResponse, bytes: Uint8Array, stalledMs = 60_000): boolean | Promise<boolean> {
  if (response.destroyed || response.writableEnded) return false
  return response.write(bytes) || drained(response, stalledMs)
}

async function drained(response: ServerResponse, stalledMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<void>()
  response.once('drain', resolve)
  response.once('close', resolve)
  const timer = setTimeout(() => response.destroy(), stalledMs)
  await promise
  clearTimeout(timer)
  response.off('drain', resolve)
  response.off('close', resolve)
  return !response.destroyed
}

/** The part of a request that says who asks. */
interface Asking {
  readonly headers: { readonly authorization?: string | undefined }
}

/**
 * What a receipt is bound to, and given out for: the bearer token of a request, or the digest of its access token, told apart by a space, which no bearer token has. Null where there is neither.
 * Whether either is good for anything is not asked here.
 */
export function credentialOf(request: Asking): string | null {
  const found = bearer(request)
  const { authorization } = request.headers
  if (found !== null || authorization === undefined) return found
  const token = tokenOfAuthorization(authorization)
  return token === null ? null : `PrivateToken ${hash('sha256', token, 'hex')}`
}

/** The bearer token of a request, or null. */
export function bearer(request: Asking): string | null {
  const { authorization } = request.headers
  return authorization !== undefined && /^Bearer [\x21-\x7e]{1,512}$/.test(authorization) ? authorization.slice('Bearer '.length) : null
}

import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { ErrorCode } from 'veritee/errors'
import { bearer } from './body.ts'
import { HttpError } from './errors.ts'
import type { RateLimit } from './rate-limit.ts'

export interface CredentialCheck {
  /** The credential; at least 32 characters. */
  readonly token: string
  /** Of wrong guesses, by address. */
  readonly rateLimit: RateLimit
  readonly code: ErrorCode
}

/** Throws 401 unless the request has the credential, and 429 after too many wrong ones. Hashed first, so that neither length nor content of the credential shows in the time this takes. */
export function demandCredential({ token, rateLimit, code }: CredentialCheck, request: IncomingMessage): void {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  if (timingSafeEqual(digest(bearer(request) ?? ''), digest(token))) return
  const headers = { connection: 'close' }
  const wait = rateLimit.take(request.socket.remoteAddress ?? 'unknown')
  if (wait > 0) throw new HttpError(429, 'rate_limit_error', `retry in ${wait} s`, { headers: { ...headers, 'retry-after': String(wait) } })
  throw new HttpError(401, 'unauthorized', 'expected the credential of the admin interface', { code, headers })
}

import type { IncomingMessage, ServerResponse } from 'node:http'
import { maxTokenBatch, requestBytes } from 'veritee/tokens'
import { readRequestBody, sendError } from '../../../http/body.ts'
import { HttpError } from '../../../http/errors.ts'
import type { KeyAccess } from '../key-access.ts'
import type { AccessTokens } from './access-tokens.ts'
import type { TokenIssuer } from './issuer.ts'

const mediaType = { request: 'application/private-token-request', response: 'application/private-token-response' }

/**
 * `POST /v1/veritee/tokens`: blind signatures for who has an API key with the right to them, charged before they are made (spec/access-tokens.md). Of what is signed nothing is kept: it could not
 * be told from a random number. Never throws.
 */
export async function issueTokens(
  keys: KeyAccess,
  tokens: AccessTokens,
  issuer: TokenIssuer,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const key = keys.identify(incoming)
    if (key instanceof HttpError) throw key
    if (key.access_tokens !== true || key.models !== null)
      throw new HttpError(403, 'invalid_request_error', 'this API key has no right to access tokens', { code: 'access_tokens_not_allowed' })
    if (incoming.headers['content-type'] !== mediaType.request) throw malformed(`Content-Type: expected ${mediaType.request}`)
    const blinded = elementsOf(await readRequestBody(incoming, maxTokenBatch * requestBytes), issuer)
    // While the body came, the key may have been revoked.
    const again = keys.identify(incoming)
    if (again instanceof HttpError) throw again
    const { request_tokens: each } = issuer.terms
    if (!issuer.hasRoom(blinded.length))
      throw new HttpError(503, 'server_error', 'as many access tokens as one keyset may have; there is another one soon', {
        code: 'access_tokens_exhausted',
        headers: { 'retry-after': '60' },
      })
    const refusal = keys.charge(again, blinded.length, blinded.length * each)
    if (refusal !== null) throw refusal
    issuer.reserve(blinded.length)
    const signed: Buffer[] = []
    for (const element of blinded) {
      // Who left is charged, and gets nothing of it.
      if (response.destroyed) return
      signed.push(await issuer.signInTurn(element))
    }
    tokens.totals.issued += signed.length
    const body = Buffer.concat(signed)
    response.writeHead(200, { 'content-type': mediaType.response, 'content-length': body.length, 'cache-control': 'no-store' }).end(body)
  } catch (error) {
    sendError(response, error)
  }
}

function elementsOf(body: Uint8Array, issuer: TokenIssuer): Uint8Array[] {
  const count = body.length / requestBytes
  if (!Number.isInteger(count) || count === 0) throw malformed(`expected 1 to ${maxTokenBatch} requests of ${requestBytes} bytes`)
  const truncated = Number.parseInt(issuer.key.id.slice(-2), 16)
  return Array.from({ length: count }, (_, i) => {
    const request = body.subarray(i * requestBytes, (i + 1) * requestBytes)
    if (request[0] !== 0 || request[1] !== 2 || request[2] !== truncated) throw malformed('expected requests of type 2 under the key of this keyset')
    const blinded = request.subarray(3)
    if (!issuer.isElement(blinded)) throw malformed('expected blinded elements below the modulus')
    return blinded
  })
}

function malformed(message: string): HttpError {
  return new HttpError(400, 'invalid_request_error', message, { code: 'access_token_request_malformed' })
}

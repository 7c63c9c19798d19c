import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { TLSSocket } from 'node:tls'
import { fromUtf8, toHex } from 'veritee/bytes'
import { spkiOf } from 'veritee/client'
import { fail, VeriteeError } from 'veritee/errors'
import type { AdmissionRules } from '../../enclave/runtime/admission/rules.ts'
import { verifyControllerReport } from '../../enclave/runtime/admission/verify-controller.ts'
import type { Identity } from '../../enclave/runtime/identity.ts'
import { readRequestBody, sendError, sendJson } from '../../http/body.ts'
import { HttpError } from '../../http/errors.ts'
import type { RateLimit } from '../../http/rate-limit.ts'
import { RegistrationNonces } from '../admission/nonces.ts'
import type { Circle } from './circle.ts'
import { checkProof, joinedText, maxMessageLength, parseJoin, parseStateMessage, proofOf, toldText } from './message.ts'

export interface PeerRoutesOptions {
  readonly circle: Circle
  /** The keys in force, by which this replica shows itself. */
  readonly identity: () => Identity
  /** What is demanded of another replica: its section `controller`. */
  readonly rules: AdmissionRules
  /** That all replicas of one operator have. */
  readonly secret: string
  readonly now: () => Date
  /** Quotes and verifications cost time: this many per address (rule S22). */
  readonly limit: RateLimit
}

/** New keys beside old ones of some replicas. */
const maxVerified = 256

/**
 * Where replicas speak to each other, for a listener of its own with TLS that asks for the other's key (rules S8 and S22): `GET /v1/aci/attestation`, `POST nonce`,
 * `POST join` and `POST state` below `/v1/veritee/peers/`. `join` verifies the other enclave over a nonce of this one and demands that the connection shows a TLS key of
 * the keyset in that evidence; from then on connections that show this key are of that replica. Never throws.
 */
export function createPeerRoutes(options: PeerRoutesOptions): RequestListener {
  const { circle, identity, rules, secret, now, limit } = options
  const nonces = new RegistrationNonces(now)
  /** By the TLS key that it shows: who it is, and until when (Unix seconds). */
  const verified = new Map<string, { readonly digest: string; readonly until: number }>()

  const join = async (request: IncomingMessage): Promise<string> => {
    const asked = parseJoin(fromUtf8(await readRequestBody(request, maxMessageLength)))
    const shown = shownBy(request)
    if (shown === null) throw fail('channel_mismatch', 'expected a TLS connection on which the replica shows its key')
    nonces.take(asked.nonce)
    const { report, until } = await verifyControllerReport(asked.report, { nonce: asked.nonce, attestedAt: now(), rules, now })
    if (!report.keyset.tls_public_keys.some(({ spki_sha256 }) => spki_sha256 === shown))
      throw fail('channel_mismatch', `the connection shows TLS key ${shown}, which the evidence of the replica does not bind`)
    const { keysetDigest: own } = identity()
    const nonce = asked.nonce
    checkProof(secret, { purpose: 'veritee.replicas.join.v1', from: report.keysetDigest, to: own, nonce }, asked.proof)
    verified.delete(shown)
    verified.set(shown, { digest: report.keysetDigest, until })
    const [oldest] = verified.keys()
    if (verified.size > maxVerified && oldest !== undefined) verified.delete(oldest)
    if (!asked.wantsKey) circle.heard(report.keysetDigest, asked.state)
    const proof = proofOf(secret, { purpose: 'veritee.replicas.joined.v1', from: own, to: report.keysetDigest, nonce })
    return joinedText({ proof, storeSecret: asked.wantsKey ? toHex(circle.own.storeSecret()) : null, ...circle.answerTo(asked.state) })
  }

  const state = async (request: IncomingMessage): Promise<string> => {
    const shown = shownBy(request)
    const known = shown === null ? undefined : verified.get(shown)
    if (known === undefined || now().getTime() / 1000 >= known.until)
      throw fail('replica_not_verified', 'expected a connection of a replica that was verified here within the hour')
    const told = parseStateMessage(fromUtf8(await readRequestBody(request, maxMessageLength)))
    circle.heard(known.digest, told)
    return toldText(circle.answerTo(told))
  }

  const routes: { readonly [route: string]: (request: IncomingMessage) => Promise<string> } = {
    'POST /v1/veritee/peers/nonce': async () => JSON.stringify({ nonce: nonces.give(), keyset_digest: identity().keysetDigest }),
    'POST /v1/veritee/peers/join': join,
    'POST /v1/veritee/peers/state': state,
    'GET /v1/aci/attestation': async (request) => identity().report(nonceOf(request), { priority: 'admission' }),
  }
  const limited = new Set(['POST /v1/veritee/peers/join', 'GET /v1/aci/attestation'])
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    try {
      const route = `${request.method} ${new URL(request.url ?? '/', 'http://localhost').pathname}`
      const run = Object.hasOwn(routes, route) ? routes[route] : undefined
      if (run === undefined) throw new HttpError(404, 'not_found', 'no such route', { headers: { connection: 'close' } })
      const wait = limited.has(route) ? limit.take(request.socket.remoteAddress ?? 'unknown') : 0
      if (wait > 0) throw new HttpError(429, 'rate_limit_error', 'too many from this address', { headers: { 'retry-after': String(wait) } })
      response.setHeader('cache-control', 'no-store')
      sendJson(response, await run(request))
    } catch (error) {
      sendError(response, coded(error))
    }
  }
  return (request, response) => void answer(request, response)
}

function nonceOf(request: IncomingMessage): string {
  const nonce = new URL(request.url ?? '/', 'http://localhost').searchParams.get('nonce')
  if (nonce === null || !/^[0-9a-f]{64}$/.test(nonce)) throw new HttpError(400, 'invalid_request_error', 'nonce: expected 64 lower-case hex digits')
  return nonce
}

function shownBy({ socket }: IncomingMessage): string | null {
  return socket instanceof TLSSocket ? spkiOf(socket) : null
}

/** The other replica must learn which check failed. */
function coded(error: unknown): unknown {
  if (!(error instanceof VeriteeError)) return error
  const status = error.code === 'replica_malformed' ? 400 : error.kind === 'unavailable' ? 503 : 403
  return new HttpError(status, 'replica_refused', error.message, { code: error.code, cause: error })
}

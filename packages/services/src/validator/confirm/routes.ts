import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { fromUtf8 } from 'veritee/bytes'
import { maxConfirmationRequestLength } from 'veritee/scoring'
import { sendError, sendJson } from '../../http/body.ts'
import { HttpError } from '../../http/errors.ts'
import { type Listening, listen } from '../../http/listen.ts'
import { RateLimit } from '../../http/rate-limit.ts'
import { InTurn } from '../in-turn.ts'
import { acceptRequest, type ConfirmationDesk } from './accept.ts'
import { askerOf } from './asker.ts'
import { announcedBy, announcementHeader, Lanes } from './lanes.ts'

/**
 * Where other validators hand over answers to be run again: `POST /confirmations`. Anybody may ask: the signature of a validator of the policy is the credential. `rateLimit` is of validators, and of addresses for
 * what none of them signed: behind a proxy all have one address, and a stranger must not take the turn of a validator.
 */
export function confirmationRoutes(desk: ConfirmationDesk, rateLimit: RateLimit): RequestListener {
  const turn = new InTurn()
  const lanes = new Lanes()
  return (request, response) => {
    answer({ desk, rateLimit, turn, lanes }, request, response).catch((error: unknown) => sendError(response, error))
  }
}

interface Deps {
  readonly desk: ConfirmationDesk
  readonly rateLimit: RateLimit
  /** One is verified at a time, whoever asks. */
  readonly turn: InTurn
  readonly lanes: Lanes
}

async function answer({ desk, rateLimit, turn, lanes }: Deps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== 'POST' || request.url !== '/confirmations') {
    request.resume()
    throw new HttpError(404, 'not_found', 'expected POST /confirmations')
  }
  const others = desk.policy.validators.map(({ key }) => key).filter((key) => key !== desk.validator)
  const announced = await announcedBy(request.headers[announcementHeader], others)
  // A character takes three bytes at most.
  const body = await lanes.read(request, announced, 3 * maxConfirmationRequestLength)
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(body)
  const wait = rateLimit.take((await askerOf(text, others)) ?? request.socket.remoteAddress ?? 'unknown')
  if (wait > 0) throw new HttpError(429, 'rate_limit_error', `retry in ${wait} s`, { headers: { 'retry-after': String(wait), connection: 'close' } })
  await turn.run(() => acceptRequest(desk, fromUtf8(body)))
  sendJson(response, '{"kept":true}', 202)
}

export interface ConfirmBind {
  readonly host: string
  readonly port: number
  readonly behindTls: boolean
}

/** Starts the listener; null where there is none to start. Throws `usage` for an address beyond loopback without TLS, and `port_unavailable`. */
export async function listenForConfirmations(bind: ConfirmBind | null, desk: ConfirmationDesk): Promise<Listening | null> {
  if (bind === null) return null
  // Every request has a credential of its own, so that there are no keys to ask for.
  const place = { ...bind, tls: null, simulated: false, apiKeys: true }
  return listen(place, confirmationRoutes(desk, new RateLimit({ perSecond: 2, burst: 64, now: desk.now })))
}

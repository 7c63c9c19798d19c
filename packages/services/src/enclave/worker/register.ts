import { parseJson, Shape, utf8 } from 'veritee/bytes'
import { nodeTransport, readBody, type Transport } from 'veritee/client'
import { fail } from 'veritee/errors'
import { type Registration, signRegistration } from '../runtime/admission/registration.ts'
import type { Identity } from '../runtime/identity.ts'
import type { VerifiedControllers } from './controllers.ts'

/** The worker that registers. */
export interface Registering {
  readonly identity: Pick<Identity, 'keyset' | 'keysetDigest' | 'receiptKeyId' | 'operatorSignature' | 'signRegistration'>
  readonly tickets: { give(): string }
  /** Who verifies the controller before the worker says anything of itself; null for a direct service. */
  readonly controllers: Pick<VerifiedControllers, 'verify'> | null
}

export interface Registered {
  readonly sessionId: string
  /** Keyset digest of the controller that admitted it. */
  readonly controller: string
}

const shape = new Shape('malformed_document')
const maxAnswer = 65_536

/**
 * Asks a controller for admission at its control port (spec/admission.md): verifies the controller, takes a nonce, and sends what the worker's keyset signed for that controller alone. The
 * controller comes back to `workerUrl` with a challenge of its own before it answers.
 * Throws what {@link VerifiedControllers.verify} throws, `keyset_changed`, `service_refused` with the controller's reason, `service_unavailable`,
 * `malformed_document`.
 */
export async function registerWorker(controlUrl: string, workerUrl: string, worker: Registering): Promise<Registered> {
  const transport = nodeTransport(controlUrl)
  try {
    const { controller, answer } = await say(transport, '/v1/workers', 'register', workerUrl, worker)
    return { sessionId: shape.hex(shape.record(answer, 'answer').session_id, 'session_id', 32), controller }
  } finally {
    transport.close()
  }
}

/** Tells a controller that the worker goes: no more requests, and what is known of it is forgotten once those under way have ended. Throws as {@link registerWorker}. */
export async function leaveController(controlUrl: string, workerUrl: string, worker: Registering): Promise<void> {
  const transport = nodeTransport(controlUrl)
  try {
    await say(transport, '/v1/workers/leave', 'leave', workerUrl, worker)
  } finally {
    transport.close()
  }
}

async function say(
  transport: Transport,
  path: string,
  purpose: Registration['purpose'],
  url: string,
  worker: Registering,
): Promise<{ readonly controller: string; readonly answer: unknown }> {
  const verified = purpose === 'leave' ? null : ((await worker.controllers?.verify(transport)) ?? null)
  const given = shape.record(await post(transport, '/v1/workers/nonce', '', 200), 'answer')
  const nonce = shape.hex(given.nonce, 'nonce', 32)
  const controller = shape.digest(given.keyset_digest, 'keyset_digest')
  if (verified !== null && controller !== verified) throw fail('keyset_changed', `verified ${verified}, the controller now names ${controller}`)
  const { identity } = worker
  const ticket = purpose === 'register' ? worker.tickets.give() : null
  const text = signRegistration(identity, { purpose, url, controller, nonce, ticket, operatorSignature: identity.operatorSignature })
  return { controller, answer: await post(transport, path, text, purpose === 'register' ? 201 : 200) }
}

async function post(transport: Transport, path: string, body: string, expected: number): Promise<unknown> {
  const headers = { 'content-type': 'application/json' }
  const response = await transport.send({ method: 'POST', path, headers, body: utf8(body) })
  const answer = parseJson(new TextDecoder().decode(await readBody(response, maxAnswer)), { maxLength: maxAnswer, maxDepth: 8 })
  if (response.status !== expected) throw fail('service_refused', `the controller did not admit this worker: ${JSON.stringify(answer).slice(0, 600)}`)
  return answer
}

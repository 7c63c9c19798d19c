import type { HttpBindings } from '@hono/node-server'
import { type Context, Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { fail, VeriteeError } from 'veritee/errors'
import { maxRegistrationLength, type Registration, verifyRegistration } from '../enclave/runtime/admission/registration.ts'
import { errorBody, HttpError, toHttpError } from '../http/errors.ts'
import { openApi } from '../http/openapi/document.ts'
import { type AttestationDeps, addAttestation, type Env } from '../http/proof-routes.ts'
import type { RateLimit } from '../http/rate-limit.ts'
import type { RegistrationNonces } from './admission/nonces.ts'
import type { AdmittedWorker, Registry } from './registry.ts'

export interface ControlDeps {
  readonly registry: Registry
  readonly registerLimit: RateLimit
  readonly nonces: RegistrationNonces
  /** Of the keys in force. */
  readonly keysetDigest: () => string
  /** With it workers verify this controller here, before they say anything of themselves (rule S13). */
  readonly attestation: AttestationDeps
  readonly now: () => Date
}

const tooLong = new HttpError(413, 'invalid_request_error', `expected at most ${maxRegistrationLength} bytes`)
const bounded = bodyLimit({ maxSize: maxRegistrationLength, onError: () => Promise.reject(tooLong) })

/**
 * Port 21005: workers ask for admission here (spec/admission.md). What they say is signed by their keyset and for this controller alone, which is checked before
 * anything is connected to; who they are, the evidence decides.
 */
export function createControlRoutes(deps: ControlDeps): Hono<Env> {
  const { registry, nonces, keysetDigest } = deps
  const app = new Hono<{ Bindings: HttpBindings }>()
  addAttestation(app, deps.attestation)
  app.post('/v1/workers/nonce', (c) => c.json({ nonce: nonces.give(), keyset_digest: keysetDigest() }))
  app.post('/v1/workers', bounded, async (c) => {
    return await orRefused(async () => {
      const { url, keysetDigest: digest, ticket, operatorSignature } = await said(deps, c, 'register')
      const claimed = { ownKeys: deps.keysetDigest(), ...(ticket !== null && { ticket }), ...(operatorSignature !== null && { operatorSignature }) }
      return c.json(described(await registry.admit(url, digest, claimed)), 201)
    })
  })
  app.post('/v1/workers/leave', bounded, async (c) => {
    return await orRefused(async () => {
      const { keysetDigest: digest } = await said(deps, c, 'leave')
      if (!registry.leave(digest)) throw new HttpError(404, 'not_found', 'no worker with this keyset is admitted')
      return c.json({ keyset_digest: digest })
    })
  })
  app.get('/v1/workers', (c) => c.json({ workers: registry.all().map(described) }))
  // For a worker that wants to know whether it is still known; its keyset digest is public.
  app.get('/v1/workers/:keyset', (c) => {
    const worker = registry.withKeyset(c.req.param('keyset'))
    if (worker === undefined) throw new HttpError(404, 'not_found', 'no worker with this keyset is admitted')
    return c.json(described(worker))
  })
  const document = openApi('control')
  app.get('/openapi.json', (c) => c.body(document, 200, { 'content-type': 'application/json' }))
  app.notFound((c) => reply(new HttpError(404, 'not_found', `no such route: ${c.req.method} ${c.req.path.slice(0, 200)}`)))
  app.onError((error) => reply(toHttpError(error)))
  return app
}

/** What a worker says, verified; the nonce is used up. Throws 429 and what `verifyRegistration` throws, `registration_misdirected`, `registration_replayed`. */
async function said(deps: ControlDeps, c: Context<Env>, purpose: Registration['purpose']): ReturnType<typeof verifyRegistration> {
  const wait = deps.registerLimit.take(c.env.incoming.socket.remoteAddress ?? 'unknown')
  if (wait > 0)
    throw new HttpError(429, 'rate_limit_error', `too many registrations from this address; retry in ${wait} s`, {
      headers: { 'retry-after': String(wait) },
    })
  const registration = await verifyRegistration(await c.req.text(), deps.now())
  if (registration.purpose !== purpose || registration.controller !== deps.keysetDigest())
    throw fail('registration_misdirected', `expected one to ${purpose} at ${deps.keysetDigest()}, found one to ${registration.purpose} elsewhere`)
  deps.nonces.take(registration.nonce)
  return registration
}

/** The worker must learn why it was not admitted, with the code of the check that failed. */
async function orRefused<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    if (!(error instanceof VeriteeError) || error.kind === 'configuration') throw error
    const status = error.code === 'registration_malformed' ? 400 : error.kind === 'unavailable' ? 502 : 403
    throw new HttpError(status, 'admission_refused', error.message, { code: error.code, cause: error })
  }
}

function described(worker: AdmittedWorker): object {
  const { report } = worker.service
  return {
    url: worker.origin,
    keyset_digest: report.keysetDigest,
    session_id: worker.session.id,
    models: report.descriptor.models.map(({ name }) => name),
    simulated: report.claims.simulated,
    expires_at: worker.session.document.expires_at,
    quarantine: worker.quarantine,
    operator: worker.party.operator,
    platform: worker.party.platform,
  }
}

function reply(error: HttpError): Response {
  return new Response(errorBody(error), { status: error.status, headers: { 'content-type': 'application/json', ...error.headers } })
}

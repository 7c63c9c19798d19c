import type { HttpBindings } from '@hono/node-server'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { parseJson, Shape } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import { errorBody, HttpError, toHttpError } from '../http/errors.ts'
import { openApi } from '../http/openapi/document.ts'
import type { Env } from '../http/proof-routes.ts'
import type { RateLimit } from '../http/rate-limit.ts'
import type { AdmittedWorker, Registry } from './registry.ts'

export interface ControlDeps {
  readonly registry: Registry
  readonly registerLimit: RateLimit
}

const shape = new Shape('malformed_document')

/** Port 21005: workers ask for admission here. What they say of themselves is only where to look; the evidence decides. */
export function createControlRoutes({ registry, registerLimit }: ControlDeps): Hono<Env> {
  const app = new Hono<{ Bindings: HttpBindings }>()
  app.post(
    '/v1/workers',
    bodyLimit({ maxSize: 65_536, onError: () => Promise.reject(new HttpError(413, 'invalid_request_error', 'expected at most 65536 bytes')) }),
    async (c) => {
      const wait = registerLimit.take(c.env.incoming.socket.remoteAddress ?? 'unknown')
      if (wait > 0)
        throw new HttpError(429, 'rate_limit_error', `too many registrations from this address; retry in ${wait} s`, {
          headers: { 'retry-after': String(wait) },
        })
      const o = shape.object(parseJson(await c.req.text(), { maxLength: 65_536, maxDepth: 4 }), 'registration', ['url', 'keyset_digest'], ['ticket'])
      const ticket = Object.hasOwn(o, 'ticket') ? { ticket: shape.hex(o.ticket, 'ticket', 16) } : {}
      try {
        const worker = await registry.admit(shape.string(o.url, 'url', 512), shape.digest(o.keyset_digest, 'keyset_digest'), ticket)
        return c.json(described(worker), 201)
      } catch (error) {
        // The worker must learn why it was not admitted, with the code of the check that failed.
        if (error instanceof VeriteeError && error.kind !== 'configuration')
          throw new HttpError(error.kind === 'unavailable' ? 502 : 403, 'admission_refused', error.message, { code: error.code, cause: error })
        throw error
      }
    },
  )
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

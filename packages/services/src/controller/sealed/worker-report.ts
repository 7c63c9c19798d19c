import type { Hono } from 'hono'
import { isHex } from 'veritee/bytes'
import { maxReportBytes } from 'veritee/receipt'
import { HttpError } from '../../http/errors.ts'
import { type Env, text } from '../../http/proof-routes.ts'
import type { RateLimit } from '../../http/rate-limit.ts'
import type { Registry } from '../registry.ts'
import { callWorker, readWhole } from '../worker-answer.ts'

export interface WorkerReportDeps {
  readonly registry: Registry
  /** Each costs a worker a quote. */
  readonly quoteLimit: RateLimit
}

const timeoutMs = 30_000

/**
 * `GET /v1/veritee/workers/{session_id}/attestation?nonce=`: the worker's own report for the requester's nonce, byte for byte as it came over the pinned connection (rule S4).
 * Nothing in it is this controller's word: the requester verifies it.
 */
export function addWorkerReports(app: Hono<Env>, { registry, quoteLimit }: WorkerReportDeps): void {
  app.get('/v1/veritee/workers/:session/attestation', async (c) => {
    const nonce = c.req.query('nonce')
    if (!isHex(nonce, 32)) throw new HttpError(400, 'invalid_request_error', 'nonce: expected 64 lower-case hex digits', { param: 'nonce' })
    const worker = registry.routing.ofSession(c.req.param('session'))
    if (worker === null) throw new HttpError(404, 'not_found', 'no worker may serve under this session now')
    const wait = quoteLimit.take(c.env.incoming.socket.remoteAddress ?? 'unknown')
    if (wait > 0)
      throw new HttpError(429, 'rate_limit_error', `too many challenges from this address; retry in ${wait} s`, {
        headers: { 'retry-after': String(wait) },
      })
    const asked = { method: 'GET', path: `/v1/aci/attestation?nonce=${nonce}`, headers: {}, body: null } as const
    const answer = await callWorker(worker.pool, asked, AbortSignal.timeout(timeoutMs)).catch((cause: unknown) => {
      throw new HttpError(503, 'upstream_verification_failed', 'the worker could not be reached', { headers: { 'retry-after': '5' }, cause })
    })
    const { bytes: report } = await readWhole(answer, maxReportBytes)
    if (answer.statusCode === 200) return text(c, report.toString('utf8'))
    throw new HttpError(answer.statusCode === 429 ? 429 : 502, 'server_error', `the worker answered ${answer.statusCode} to the challenge`, {
      headers: { 'retry-after': '5' },
    })
  })
}

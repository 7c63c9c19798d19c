import type { IncomingMessage } from 'node:http'
import type { HttpBindings } from '@hono/node-server'
import { type Context, Hono } from 'hono'
import type { Identity } from '../enclave/runtime/identity.ts'
import { type Lookup, prefixProofText } from '../enclave/runtime/ledger.ts'
import type { DocumentKind } from '../enclave/runtime/receipts/archive.ts'
import { credentialOf } from './body.ts'
import { errorBody, HttpError, toHttpError } from './errors.ts'
import type { RateLimit } from './rate-limit.ts'
import type { Tickets } from './tickets.ts'

export type Env = { Bindings: HttpBindings }

/** See {@link Generations}. */
export interface Kept {
  find(idOrChatId: string, credential: string | null): Promise<Lookup>
  document(kind: DocumentKind, name: string): Promise<string | null>
}

export interface ProofDeps {
  readonly identity: Identity
  /** Receipts of this keyset and of those before it, and the reports that bind them. */
  readonly kept: () => Kept
  /** Challenged reports cost a quote each: this many per address (rule S22). */
  readonly quoteLimit: RateLimit
  /** Recognises challenges of controllers that this service registered with. */
  readonly tickets?: Tickets
  /** See {@link AttestationDeps.isPeer}. */
  readonly isPeer?: (request: IncomingMessage) => boolean
  /** See {@link AttestationDeps.releases}. */
  readonly releases?: () => string
}

/** The part of aci/1 that every service has: report and receipts. Errors are in OpenAI's shape, unknown paths too. */
export function createProofRoutes(deps: ProofDeps): Hono<Env> {
  const app = new Hono<Env>()
  addAttestation(app, { ...deps, identity: () => deps.identity })
  app.get('/v1/aci/receipts/:id', async (c) => {
    const found = demandFound(await deps.kept().find(c.req.param('id'), requesterOf(c)))
    const prefix = c.req.query('prefix')
    if (prefix === undefined) return text(c, found.text)
    return text(c, demandProof(await prefixProofText(found.stream, parsePrefix(prefix))))
  })
  // For receipts of a keyset that is no longer in force: aci/1 has no place for its report.
  app.get('/v1/veritee/keysets/:digest', async (c) => {
    const report = await deps.kept().document('keyset', c.req.param('digest'))
    if (report === null) throw new HttpError(404, 'not_found', 'no receipt of this keyset is kept here')
    return text(c, report)
  })
  app.get('/healthz', (c) => c.json({ status: 'ok' }))
  app.notFound((c) => answer(c, new HttpError(404, 'not_found', `no such route: ${c.req.method} ${c.req.path.slice(0, 200)}`)))
  app.onError((error, c) => answer(c, toHttpError(error)))
  return app
}

export interface AttestationDeps extends Pick<ProofDeps, 'quoteLimit' | 'tickets'> {
  readonly identity: () => Identity
  /** Whether the other side of a connection is one that this service has verified itself: its challenges go first (rules S11 and S22). */
  readonly isPeer?: (request: IncomingMessage) => boolean
  /** Release statements of this service, as `servedReleasesText` writes them; none where it has none. */
  readonly releases?: () => string
}

const noReleases = '{"statements":[],"version":"veritee.releases.v1"}'

/** The report, over the caller's nonce where there is one, and release statements, which are hints beside it (rule S25). */
export function addAttestation(app: Hono<Env>, deps: AttestationDeps): void {
  app.get('/v1/aci/attestation', async (c) => {
    const nonce = c.req.query('nonce') ?? null
    if (nonce !== null && !/^[0-9a-f]{64}$/.test(nonce))
      throw new HttpError(400, 'invalid_request_error', `nonce: expected 64 lower-case hex digits, found ${nonce.length} characters`, {
        param: 'nonce',
      })
    const ticket = nonce !== null && deps.tickets?.take(c.req.header('x-veritee-admission')) === true
    const admission = ticket || (nonce !== null && deps.isPeer?.(c.env.incoming) === true)
    if (nonce !== null && !admission) {
      const wait = deps.quoteLimit.take(c.env.incoming.socket.remoteAddress ?? 'unknown')
      if (wait > 0)
        throw new HttpError(429, 'rate_limit_error', `too many challenges from this address; retry in ${wait} s`, {
          headers: { 'retry-after': String(wait) },
        })
    }
    return text(c, await deps.identity().report(nonce, admission ? { priority: 'admission' } : {}))
  })
  app.get('/v1/veritee/releases', (c) => text(c, deps.releases?.() ?? noReleases))
}

/** aci/1 section 7.6: no credential is 401, a wrong one is as if the receipt did not exist. */
export function demandFound(lookup: Lookup): Extract<Lookup, { kind: 'found' }> {
  if (lookup.kind === 'found') return lookup
  if (lookup.kind === 'unauthorized') throw new HttpError(401, 'unauthorized', 'this receipt needs the API key that made the request')
  throw new HttpError(404, 'not_found', 'no such receipt, or it has expired')
}

export function parsePrefix(value: string): number {
  if (!/^[1-9][0-9]{0,8}$/.test(value))
    throw new HttpError(400, 'invalid_request_error', 'prefix: expected a number of events, at least 1', { param: 'prefix' })
  return Number(value)
}

export function demandProof(proof: string | null): string {
  if (proof === null) throw new HttpError(404, 'not_found', 'this receipt has no stream of that many events')
  return proof
}

export function requesterOf(c: Context<Env>): string | null {
  return credentialOf({ headers: { authorization: c.req.header('authorization') } })
}

export function text(c: Context<Env>, body: string): Response {
  return c.body(body, 200, { 'content-type': 'application/json' })
}

function answer(_c: Context<Env>, error: HttpError): Response {
  return new Response(errorBody(error), { status: error.status, headers: { 'content-type': 'application/json', ...error.headers } })
}

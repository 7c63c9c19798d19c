import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { fromUtf8, type Json, jcs, parseJson, Shape } from 'veritee/bytes'
import { releasesPath } from 'veritee/client'
import { fail, VeriteeError } from 'veritee/errors'
import type { ReceiptArchive } from '../../enclave/runtime/receipts/archive.ts'
import { readRequestBody, sendError, sendJson } from '../../http/body.ts'
import { type CredentialCheck, demandCredential } from '../../http/credential.ts'
import { HttpError } from '../../http/errors.ts'
import type { Ban } from '../admission/bans.ts'
import type { BanTrailView } from '../replicas/ban-trail.ts'
import { type ApiKey, parseLimits, parseWanted } from './api-key.ts'
import type { KeyRing } from './key-ring.ts'
import { chargesOf } from './usage.ts'

export interface AdminDeps {
  readonly ring: KeyRing
  readonly archive: ReceiptArchive
  readonly bans: BanDesk
  readonly credential: Omit<CredentialCheck, 'code'>
  /** Answers what shows this enclave to whoever is about to send the credential. */
  readonly proof: RequestListener
}

/** Whom this controller has barred, and how a ban ends before its time. */
export interface BanDesk {
  list(): readonly Ban[]
  /** With the reason, for log and trail. False where no such ban stands. Throws what the store throws, and then nothing is lifted. */
  lift(subject: string, reason: string): Promise<boolean>
  /** What was made and lifted, as all controllers of the store have told it. Throws what the store throws. */
  trail(): Promise<BanTrailView>
}

const prefix = '/admin/v1/'
const maxBodyBytes = 65_536
const shape = new Shape('malformed_document')

/**
 * The admin interface of a controller, for a listener of its own (rule S22): `GET keys`, `POST keys`, `POST keys/revoke`, `POST keys/limits`, `GET keys/usage?id=&after=`, `GET bans`, `POST bans/lift`, `GET bans/trail` below
 * `/admin/v1/`, to whoever has the credential; and without it the report of this enclave and its release statements, so that the credential goes to a verified one. No answer holds a key
 * but the one that makes it. Never throws.
 */
export function createAdmin(deps: AdminDeps): RequestListener {
  return (request, response) => {
    if (request.method === 'GET' && (request.url?.startsWith('/v1/aci/attestation') === true || request.url === releasesPath))
      return deps.proof(request, response)
    return handle(deps, request, response)
  }
}

async function handle(deps: AdminDeps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    demandCredential({ ...deps.credential, code: 'admin_credential_invalid' }, request)
    const url = new URL(request.url ?? '/', 'http://localhost')
    const route = `${request.method} ${url.pathname.startsWith(prefix) ? url.pathname.slice(prefix.length) : ''}`
    const run = Object.hasOwn(routes, route) ? routes[route] : undefined
    if (run === undefined) throw new HttpError(404, 'not_found', 'no such route', { headers: { connection: 'close' } })
    const body = request.method === 'GET' ? null : await bodyOf(request)
    response.setHeader('cache-control', 'no-store')
    sendJson(response, jcs(await run(deps, body, url.searchParams)), route === 'POST keys' ? 201 : 200)
  } catch (error) {
    sendError(response, known(error))
  }
}

type Route = (deps: AdminDeps, body: unknown, query: URLSearchParams) => Promise<Json>

const routes: { readonly [route: string]: Route } = {
  'GET keys': async ({ ring }) => ({ keys: ring.keys.map(shown), version: ring.version, problem: ring.problem }),
  'POST keys': async ({ ring }, body) => {
    const { key, record } = await ring.create(parseWanted(body, 'body', shape))
    return { ...shown(record), key, version: ring.version }
  },
  'POST keys/revoke': async ({ ring }, body) => {
    const { id } = shape.object(body, 'body', ['id'])
    return { ...shown(await ring.revoke(shape.string(id, 'id', 20))), version: ring.version }
  },
  'POST keys/limits': async ({ ring }, body) => {
    const { id, limits } = shape.object(body, 'body', ['id', 'limits'])
    return { ...shown(await ring.limit(shape.string(id, 'id', 20), parseLimits(limits, 'body.limits', shape))), version: ring.version }
  },
  'GET keys/usage': async ({ ring, archive }, _body, query) => {
    const after = query.get('after') ?? '0'
    if (!/^[0-9]{1,15}$/.test(after)) throw shape.refuse('after', 'a number')
    const record = ring.keys.find(({ id }) => id === query.get('id'))
    if (record === undefined) throw fail('api_key_unknown', 'no key of this id')
    const { charges, next } = await chargesOf(archive, record.tag, Number(after))
    return { id: record.id, charges: charges as unknown as Json, next }
  },
  'GET bans': async ({ bans }) => ({ bans: bans.list().slice(-maxListed) as unknown as Json }),
  'POST bans/lift': async ({ bans }, body) => {
    const o = shape.object(body, 'body', ['subject', 'reason'])
    const subject = shape.string(o.subject, 'subject', 200)
    const reason = shape.string(o.reason, 'reason', 200)
    if (!/^[ -~]+$/.test(reason)) throw shape.refuse('reason', 'visible ASCII characters')
    if (!(await bans.lift(subject, reason))) throw new HttpError(404, 'not_found', 'no ban of this subject stands')
    return { subject, lifted: true }
  },
  'GET bans/trail': async ({ bans }) => {
    const { entries, missing } = await bans.trail()
    return { entries: entries.slice(-maxListed) as unknown as Json, missing }
  },
}

/** Those of late; a list of all could be longer than an answer. */
const maxListed = 1000

/** Without the tag: it is nobody's business. */
function shown({ tag: _tag, ...key }: ApiKey): { [name: string]: Json } {
  return { ...key } as unknown as { [name: string]: Json }
}

const statuses: { readonly [code: string]: number } = { api_key_unknown: 404, api_keys_full: 409, api_keys_busy: 503 }

/** Whoever has the credential is told why. */
function known(error: unknown): unknown {
  if (!(error instanceof VeriteeError)) return error
  const status = statuses[error.code] ?? (error.kind === 'unavailable' ? 503 : 400)
  return new HttpError(status, status === 503 ? 'server_error' : 'invalid_request_error', error.message, { code: error.code })
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  return parseJson(fromUtf8(await readRequestBody(request, maxBodyBytes)), { maxLength: maxBodyBytes, maxDepth: 8 })
}

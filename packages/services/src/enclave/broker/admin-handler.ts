import type { IncomingMessage, ServerResponse } from 'node:http'
import { fromBase64, fromUtf8, type Json, jcs, parseJson, Shape } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import { readRequestBody, sendError, sendJson } from '../../http/body.ts'
import { demandCredential } from '../../http/credential.ts'
import { HttpError } from '../../http/errors.ts'
import type { RateLimit } from '../../http/rate-limit.ts'
import type { LoggedStore } from './freshness/index.ts'
import type { BrokerStore } from './store/index.ts'
import { type BrokerState, limits, own, policyDigest, put, readResourceName, resourcePolicy, revoke, rotate } from './store/index.ts'

export interface AdminDeps {
  readonly store: BrokerStore
  /** Where a change is not answered before a log knows of it; null where no log does. */
  readonly logged: LoggedStore | null
  /** The credential; at least 32 characters. */
  readonly token: string
  readonly rateLimit: RateLimit
  readonly now: () => Date
}

export const adminPrefix = '/admin/v1'
const maxBodyBytes = 1 << 20
const shape = new Shape('kbs_request_malformed')

export function isAdminPath(url: string | undefined): boolean {
  return url?.startsWith(`${adminPrefix}/`) === true
}

/**
 * Serves `POST resources`, `POST rotate`, `POST revoke`, `GET resources` and `GET audit` below {@link adminPrefix}, to whoever has the credential. Bodies are
 * closed JSON; answers hold no value of any resource, and no route gives one. Never throws.
 */
export async function handleAdmin(deps: AdminDeps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    demandCredential({ ...deps, code: 'broker_credential_invalid' }, request)
    const route = `${request.method} ${(request.url ?? '').slice(adminPrefix.length + 1)}`
    const run = Object.hasOwn(routes, route) ? routes[route] : undefined
    if (run === undefined) throw new HttpError(404, 'not_found', 'no such route', { headers: { connection: 'close' } })
    const body = request.method === 'GET' ? null : await bodyOf(request)
    sendJson(response, jcs(await run(deps, body)), route === 'POST resources' ? 201 : 200)
  } catch (error) {
    sendError(response, known(error))
  }
}

const statuses: { readonly [code: string]: number } = {
  broker_resource_exists: 409,
  kbs_resource_unknown: 404,
  kbs_resource_revoked: 409,
  broker_limit: 413,
}

/** Whoever has the credential is told everything but values. */
function known(error: unknown): unknown {
  if (!(error instanceof VeriteeError)) return error
  const { code, kind, message } = error
  const status = statuses[code] ?? (kind === 'unavailable' || code.startsWith('broker_store') ? 503 : 400)
  return new HttpError(status, status === 503 ? 'server_error' : 'invalid_request_error', message, { code })
}

type Route = (deps: AdminDeps, body: unknown) => Promise<Json>

const routes: { readonly [route: string]: Route } = {
  'POST resources': async (deps, body) => {
    const o = shape.object(body, 'body', ['resource', 'value', 'policy', 'evidence'])
    const name = readResourceName(shape.string(o.resource, 'resource', 256))
    const offered = { value: valueText(o.value), ...policyOf(o.policy, shape.oneOf(o.evidence, 'evidence', ['veritee', 'quote'])) }
    return summary(await changed(deps, (state) => put(state, name, offered, deps.now())), name)
  },
  'POST rotate': async (deps, body) => {
    const o = shape.object(body, 'body', ['resource', 'value'], ['policy', 'evidence'])
    const name = readResourceName(shape.string(o.resource, 'resource', 256))
    if (Object.hasOwn(o, 'policy') !== Object.hasOwn(o, 'evidence')) throw shape.refuse('body', 'policy and evidence together, or neither')
    const terms = Object.hasOwn(o, 'policy') ? policyOf(o.policy, shape.oneOf(o.evidence, 'evidence', ['veritee', 'quote'])) : {}
    return summary(await changed(deps, (state) => rotate(state, name, { value: valueText(o.value), ...terms }, deps.now())), name)
  },
  'POST revoke': async (deps, body) => {
    const o = shape.object(body, 'body', ['resource'])
    const name = readResourceName(shape.string(o.resource, 'resource', 256))
    return summary(await changed(deps, (state) => revoke(state, name, deps.now())), name)
  },
  'GET resources': async ({ store }) => ({
    resources: Object.keys(store.state.resources)
      .sort()
      .map((name) => summary(store.state, name)),
    generation: store.generation,
    store: store.source,
    log_head: store.state.head?.index ?? null,
  }),
  'GET audit': async ({ store }) => ({ audit: store.state.audit, refusals: store.state.refusals, generation: store.generation }) as unknown as Json,
}

/** In force as soon as it is on disk; answered once a log knows of it, so that what was answered cannot be rolled back. */
async function changed({ store, logged }: AdminDeps, next: (state: BrokerState) => BrokerState): Promise<BrokerState> {
  const state = await store.commit(next)
  try {
    await logged?.advance()
  } catch (cause) {
    if (cause instanceof VeriteeError && cause.code === 'broker_store_rolled_back') throw cause
    throw fail(
      'kbs_log_stale',
      'the change is made and in force, and the log does not show it yet: until it does, it can be rolled back with the store',
      cause,
    )
  }
  return state
}

/** Base64 of 1 byte to 64 KiB. The text is kept out of errors. */
function valueText(value: unknown): string {
  const text = shape.string(value, 'value', 2 * limits.valueBytes)
  const wrong = fail('broker_limit', `expected a value of 1 to ${limits.valueBytes} bytes, in base64 with padding`)
  try {
    const { length } = fromBase64(text)
    if (length > 0 && length <= limits.valueBytes) return text
  } catch {
    throw wrong
  }
  throw wrong
}

/** The policy travels as the text that was reviewed, so that what is kept is that. */
function policyOf(value: unknown, evidence: 'veritee' | 'quote'): { policy: string; evidence: 'veritee' | 'quote' } {
  const policy = shape.string(value, 'policy', limits.policyLength)
  resourcePolicy(policy, evidence)
  return { policy, evidence }
}

function summary(state: BrokerState, name: string): Json {
  const found = own(state, name)
  if (found === undefined) throw fail('kbs_resource_unknown', `no resource ${name}`)
  const { version, value, policy, evidence, changed } = found
  return { resource: name, version, revoked: value === null, evidence, policy_digest: policyDigest(policy), changed }
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const bytes = await readRequestBody(request, maxBodyBytes)
  try {
    return parseJson(fromUtf8(bytes), { maxLength: maxBodyBytes, maxDepth: 8 })
  } catch (cause) {
    // The parser's message names a place, never what stands there.
    throw fail('kbs_request_malformed', `expected strict JSON: ${(cause as Error).message}`, cause)
  }
}

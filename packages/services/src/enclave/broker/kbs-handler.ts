import type { IncomingMessage, ServerResponse } from 'node:http'
import { fromUtf8 } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import type { Verdict } from 'veritee/policy'
import { bearer, readRequestBody, sendJson } from '../../http/body.ts'
import { HttpError } from '../../http/errors.ts'
import type { RateLimit } from '../../http/rate-limit.ts'
import type { PeerReleases } from '../runtime/admission/releases.ts'
import { extensionName, extensionVersion, kbsPrefix, releasesExtension, releasesVersion, sealJwe, sessionCookie } from '../runtime/kbs/index.ts'
import { type Attested, measurementOf } from './attested.ts'
import type { Decision } from './decision.ts'
import { type EvidenceTrust, maxRequestBytes, readAuth, verifyEvidence } from './evidence.ts'
import type { LoggedStore, WitnessedLog } from './freshness/index.ts'
import { judge, type Prepared, prepare } from './judge.ts'
import type { Places } from './places.ts'
import { type ProblemType, problemOf, sendProblem } from './problem.ts'
import type { Sessions } from './sessions.ts'
import type { BrokerStore } from './store/index.ts'
import { type AuditEntry, live, own, policyDigest, readResourceName, recorded } from './store/index.ts'
import type { TokenIssuer } from './token.ts'

export interface KbsDeps {
  readonly sessions: Sessions
  readonly evidence: EvidenceTrust
  readonly store: BrokerStore
  readonly tokens: TokenIssuer
  readonly rateLimit: RateLimit
  readonly places: Places
  /** What must not be older than the policy of the broker allows; null where no log is configured. */
  readonly log: WitnessedLog | null
  /** What that log must show of the store; null where nothing is added to it. */
  readonly logged: LoggedStore | null
  /** Where policies demand release statements. */
  readonly releases: PeerReleases
  /** Told of times that the vendor has signed, as far as verified evidence holds them. */
  readonly sawSignedTime: (at: Date) => void
  readonly now: () => Date
  readonly onDecision: (decision: Decision) => void
}

/** What is known of a request so far, for the trail. */
interface Asked {
  resource: string | null
  attested: Attested | null
  verdict: Verdict | null
  policy: string | null
  type: ProblemType
}

/** Steps of the protocol, by their path. */
type Step = 'auth' | 'attest' | 'resource'
const problemTypes: { readonly [S in Step]: ProblemType } = { auth: 'AttestationError', attest: 'AttestationError', resource: 'PolicyDeny' }

/** Bytes of `POST auth`. */
const maxAuthBytes = 8192

/** True for the paths that {@link handleKbs} answers. */
export function isKbsPath(url: string | undefined): boolean {
  return url?.startsWith(`${kbsPrefix}/`) === true
}

/** Serves `POST auth`, `POST attest` and `GET resource/...`. Every refusal but `kbs_busy` is recorded, every release before it is sent. Never throws. */
export async function handleKbs(deps: KbsDeps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [plugin = '', ...rest] = (request.url ?? '').slice(kbsPrefix.length + 1).split('/')
  const step = (['auth', 'attest', 'resource'] as const).find((name) => name === plugin)
  const method = step === 'resource' ? 'GET' : 'POST'
  if (step === undefined || request.method !== method || (step !== 'resource' && rest.length > 0)) {
    request.resume()
    return sendProblem(response, { status: 404, type: 'PluginNotFound', code: null, detail: 'no such path, or another method' })
  }
  const asked: Asked = { resource: null, attested: null, verdict: null, policy: null, type: problemTypes[step] }
  try {
    const wait = deps.rateLimit.take(request.socket.remoteAddress ?? 'unknown')
    if (wait > 0)
      throw new HttpError(429, 'rate_limit_error', `too many requests from this address; retry in ${wait} s`, {
        headers: { 'retry-after': String(wait) },
      })
    if (step === 'auth') await auth(deps, request, response)
    else if (step === 'attest') await attest(deps, request, response, asked)
    else await release(deps, request, response, rest.join('/'), asked)
  } catch (error) {
    const problem = problemOf(error, asked.type)
    sendProblem(response, problem)
    // Who comes too often was not judged, and must not be able to have the trail written over and over.
    if (problem.code === 'kbs_busy') return
    const refusal = entry(deps, asked, 'refusal', null, problem.code ?? 'failed')
    deps.store.note((state) => recorded(state, refusal))
    deps.onDecision({ ...refusal, checks: asked.verdict?.checks ?? [] })
  }
}

async function auth(deps: KbsDeps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const tee = readAuth(await textOf(request, maxAuthBytes))
  const { id, nonce, expires } = deps.sessions.challenge(tee)
  setCookie(request, response, id, expires)
  sendJson(response, JSON.stringify({ nonce, 'extra-params': { [extensionName]: extensionVersion, [releasesExtension]: releasesVersion } }))
}

async function attest(deps: KbsDeps, request: IncomingMessage, response: ServerResponse, asked: Asked): Promise<void> {
  const leave = deps.places.enter(request.socket.remoteAddress ?? 'unknown')
  let attested: Attested
  try {
    // Taken before anything is looked at: whatever comes of it, this nonce has served.
    const challenge = deps.sessions.take(cookieOf(request))
    attested = deps.sessions.attest(await verifyEvidence(await textOf(request, maxRequestBytes), challenge, deps.evidence))
  } finally {
    leave()
  }
  asked.attested = attested
  deps.sawSignedTime(attested.claims.collateral.latestIssue)
  setCookie(request, response, attested.id, attested.expires)
  sendJson(response, JSON.stringify({ token: deps.tokens.issue(attested, deps.now()) }))
}

async function release(deps: KbsDeps, request: IncomingMessage, response: ServerResponse, name: string, asked: Asked): Promise<void> {
  request.resume()
  const attested = identify(deps, request, asked)
  asked.attested = attested
  const resource = readResourceName(name)
  asked.resource = resource
  await deps.log?.ready()
  await deps.logged?.ready()
  const there = own(deps.store.state, resource)
  let prepared: Prepared | null = null
  if (there !== undefined && there.value !== null) {
    asked.policy = policyDigest(there.policy)
    prepared = await prepare(attested, there, deps.releases)
  }
  let sealed = ''
  let released: Omit<AuditEntry, 'seq'> | null = null
  // In one commit with the record: what is revoked or rotated before it is not released, and nothing is released of which the disk does not know.
  await deps.store.commit((state) => {
    deps.logged?.demand()
    const found = live(state, resource)
    asked.policy = policyDigest(found.policy)
    deps.log?.demand(resource, found.version)
    const verdict = judge(attested, found, deps.sessions.timeOf(attested), prepared)
    asked.verdict = verdict
    if (verdict.error !== null) throw fail(verdict.error.code, verdict.error.message)
    const value = Buffer.from(found.value, 'base64')
    sealed = JSON.stringify(sealJwe(attested.pubkey, value))
    value.fill(0)
    released = entry(deps, asked, 'release', found.version, null)
    return recorded(state, released)
  })
  sendJson(response, sealed)
  if (released !== null) deps.onDecision({ ...(released as Omit<AuditEntry, 'seq'>), checks: asked.verdict?.checks ?? [] })
}

/** By the session's cookie or, where that leads nowhere, by the token; as Trustee does. */
function identify(deps: KbsDeps, request: IncomingMessage, asked: Asked): Attested {
  const cookie = cookieOf(request)
  const token = bearer(request) ?? longBearer(request)
  asked.type = token === null ? 'TokenNotFound' : 'TokenVerifierError'
  let attested: Attested
  try {
    if (cookie === null) throw fail('kbs_session_unknown', 'expected a session or a token')
    attested = deps.sessions.ofSession(cookie)
  } catch (error) {
    if (token === null || !(error instanceof VeriteeError)) throw error
    attested = deps.sessions.ofToken(deps.tokens.read(token, deps.now()))
  }
  asked.type = 'PolicyDeny'
  return attested
}

/** A token is longer than API keys are. */
function longBearer(request: IncomingMessage): string | null {
  return /^Bearer ([\w.-]{1,12288})$/.exec(request.headers.authorization ?? '')?.[1] ?? null
}

function cookieOf(request: IncomingMessage): string | null {
  return new RegExp(`(?:^|; )${sessionCookie}=([0-9a-f]{32})(?:;|$)`).exec(request.headers.cookie ?? '')?.[1] ?? null
}

function setCookie(request: IncomingMessage, response: ServerResponse, id: string, expires: Date): void {
  const secure = 'encrypted' in request.socket ? '; Secure' : ''
  response.setHeader('set-cookie', `${sessionCookie}=${id}; Path=${kbsPrefix}; Expires=${expires.toUTCString()}; HttpOnly; SameSite=Strict${secure}`)
}

async function textOf(request: IncomingMessage, maxBytes: number): Promise<string> {
  const bytes = await readRequestBody(request, maxBytes)
  try {
    return fromUtf8(bytes)
  } catch (cause) {
    throw fail('kbs_request_malformed', 'expected UTF-8', cause)
  }
}

function entry(
  deps: KbsDeps,
  { resource, attested, policy }: Asked,
  event: 'release' | 'refusal',
  version: number | null,
  code: string | null,
): Omit<AuditEntry, 'seq'> {
  return {
    at: deps.now().toISOString(),
    event,
    resource,
    version,
    policy,
    code,
    measurement: attested === null ? null : measurementOf(attested.claims),
    descriptor: attested?.bound?.digest ?? null,
    simulated: attested?.claims.simulated ?? null,
  }
}

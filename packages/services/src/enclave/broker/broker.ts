import { createHash } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { type Collateral, createVerifierCache, type Quote, type Trust } from 'veritee/attestation'
import type { Json } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import type { ServiceDescriptor } from 'veritee/receipt'
import type { ReleaseDocument } from 'veritee/release'
import { sendError } from '../../http/body.ts'
import { createProofRoutes, type Kept } from '../../http/proof-routes.ts'
import { RateLimit } from '../../http/rate-limit.ts'
import { release } from '../../release.ts'
import { type FlooredClock, flooredClock } from '../runtime/admission/clock.ts'
import { PeerReleases } from '../runtime/admission/releases.ts'
import { configurationDigest, createIdentity, type Identity } from '../runtime/identity.ts'
import { protocolVersion } from '../runtime/kbs/index.ts'
import type { Quoter } from '../runtime/quote.ts'
import { handleAdmin, isAdminPath } from './admin-handler.ts'
import type { Decision } from './decision.ts'
import { LoggedStore, WitnessedLog, type WitnessedLogOptions } from './freshness/index.ts'
import { handleKbs, isKbsPath } from './kbs-handler.ts'
import { Places } from './places.ts'
import { Sessions } from './sessions.ts'
import { type BrokerStore, withReleaseSeen } from './store/index.ts'
import { createTokenIssuer } from './token.ts'

export interface BrokerOptions {
  /** Of this enclave: for the broker's own report, which model owners verify before they give a key away. */
  readonly quoter: Quoter
  readonly collateral: () => Collateral
  /** Roots for the evidence of those who ask. What chains to another root than Intel's is simulated, whatever stands here (rule S15). */
  readonly trust: Trust
  /** Further roots, asked for with each piece of evidence: those of simulated machines, which are made when these start. Null outside simulation. */
  readonly simulatedRoots?: (() => Promise<readonly Uint8Array[]>) | null
  /** Collateral for evidence that comes without, as Trustee's clients send it; null refuses such evidence. */
  readonly peerCollateral: ((quote: Quote) => Promise<Collateral>) | null
  readonly store: BrokerStore
  /** The credential of the admin interface, of at least 32 printable characters; null for a broker without that interface. */
  readonly adminToken: string | null
  /** Effective configuration, without secrets; its digest is bound into the quote. */
  readonly configuration: Json
  readonly now: () => Date
  /** Enclave time (rule S11), for what else in the process follows it. Default one of its own over `now`. */
  readonly clock?: FlooredClock
  /** Milliseconds of a clock that nobody sets back. Default Node's. */
  readonly elapsedMs?: () => number
  /** The log that is followed; without one, releases ask for none. */
  readonly log?: FollowedLog | null
  /** Requests of one address: 10 a second with a burst of 60 where not given. */
  readonly rateLimit?: { readonly perSecond: number; readonly burst: number }
  /** See {@link AttestationDeps.releases}. */
  readonly releases?: () => string
  /** Told of every release and refusal, after the answer was sent; what it throws is the caller's. */
  readonly onDecision?: (decision: Decision) => void
}

export interface FollowedLog extends Pick<WitnessedLogOptions, 'trust' | 'read' | 'maxAgeSeconds'> {
  /** Adds an entry to it, for heads of the store; null: it is read only, and what it revokes is all that a rolled-back store cannot bring back. */
  readonly submit: ((entry: Uint8Array) => Promise<void>) | null
}

export interface Broker {
  readonly identity: Identity
  /** The protocol and the broker's report. Listening is the caller's; so is that the admin interface gets a listener of its own. */
  readonly kbs: RequestListener
  /** The admin interface and the broker's report, for TLS with `identity.tls` only; null where there is no credential. */
  readonly admin: RequestListener | null
  /** Null where none is configured. */
  readonly log: WitnessedLog | null
  /** What the log knows of the store; null where nothing is added to it. */
  readonly logged: LoggedStore | null
  /** Release statements of the operator, in the place of those before; verified with each release whose policy demands one. */
  takeReleases(documents: readonly ReleaseDocument[]): Promise<void>
  /** Writes what was only noted, and closes the store. */
  close(): Promise<void>
}

const flushMs = 2000
const mostFollowMs = 60_000

/**
 * A key broker enclave: gives resources (model keys) to enclaves whose evidence satisfies the policy that came with the resource, encrypted to a key which
 * that evidence binds.
 *
 * That its store is the newest only a log shows to which it adds heads (rule S11, see `LoggedStore`). Time is the host's clock, and never earlier than what was signed before.
 *
 * Throws `config_invalid` where the store has heads in a log and no log to add to is given. Wrong options are `TypeError`.
 */
export async function createBroker(options: BrokerOptions): Promise<Broker> {
  const {
    quoter,
    collateral,
    trust,
    peerCollateral,
    store,
    adminToken,
    clock = flooredClock(options.now),
    elapsedMs = () => performance.now(),
    rateLimit = { perSecond: 10, burst: 60 },
    onDecision = () => undefined,
  } = options
  if (adminToken !== null && !/^[\x21-\x7e]{32,512}$/.test(adminToken))
    throw new TypeError('createBroker: expected an admin credential of 32 to 512 printable characters')
  const { now } = clock
  const submit = options.log?.submit ?? null
  // A host must not get around the heads by leaving out what adds them.
  if (submit === null && store.state.head !== null)
    throw fail('config_invalid', 'log: the store has heads in a log; expected the log and the credential to add to it')
  const log = options.log ? new WitnessedLog({ ...options.log, clock, elapsedMs, store: store.identity }) : null
  const logged = log !== null && submit !== null ? new LoggedStore({ store, log, submit }) : null
  const releases = new PeerReleases(clock)
  releases.held.remember({
    get: async (keySet) => (Object.hasOwn(store.state.releases, keySet) ? (store.state.releases[keySet] ?? null) : null),
    put: async (keySet, seen) => void (await store.commit((state) => withReleaseSeen(state, keySet, seen))),
  })
  const tokens = createTokenIssuer()
  const descriptor: ServiceDescriptor = {
    version: 'veritee.descriptor.v1',
    role: 'broker',
    configuration_digest: await configurationDigest(options.configuration),
    models: [],
    engine: null,
    admission: null,
    operator_key: null,
    release,
    extensions: {
      kbs: {
        protocol: protocolVersion,
        token_key: tokens.keyDigest,
        store: store.source,
        ...(options.log && { log: { origin: options.log.trust.origin, max_age: options.log.maxAgeSeconds, heads: submit !== null } }),
        simulated_roots: (options.simulatedRoots ?? null) !== null,
        roots: trust.roots.map((root) => `sha256:${createHash('sha256').update(root).digest('hex')}`),
      },
    },
  }
  const identity = await createIdentity({ descriptor, quoter, collateral, now })
  // A broker signs no receipts, and its one keyset is served with the report itself.
  const kept: Kept = { find: async () => ({ kind: 'not_found' }), document: async () => null }
  const shown = options.releases === undefined ? {} : { releases: options.releases }
  const routes = createProofRoutes({ ...shown, identity, kept: () => kept, quoteLimit: new RateLimit({ perSecond: 5, burst: 40, now }) })
  const others = getRequestListener(routes.fetch)
  const roots = async (): Promise<Trust> => {
    const [first, ...rest] = trust.roots
    return { roots: [first, ...rest, ...((await options.simulatedRoots?.()) ?? [])] }
  }
  const evidence = { trust: roots, collateral: peerCollateral, cache: createVerifierCache(), now }
  const kbs = {
    sessions: new Sessions(now, elapsedMs),
    evidence,
    store,
    tokens,
    rateLimit: new RateLimit({ ...rateLimit, now }),
    places: new Places(),
    log,
    logged,
    releases,
    sawSignedTime: clock.raise,
    now,
    onDecision,
  }
  const admin = adminToken === null ? null : { store, logged, token: adminToken, rateLimit: new RateLimit({ perSecond: 0.2, burst: 10, now }), now }

  // Refusals are noted and not waited for; so are they at most this old when a crash loses them. A failure is the next release's to report.
  const flushing = setInterval(() => void store.commit((state) => state).catch(() => undefined), flushMs)
  flushing.unref()
  const follow = async (): Promise<void> => {
    await log?.refresh()
    await logged?.follow()
  }
  void follow()
  // Also where nobody asks for anything, so that readiness tells in time that the log cannot be read.
  const following = setInterval(() => void follow(), Math.min(mostFollowMs, ((options.log?.maxAgeSeconds ?? 3600) * 1000) / 4))
  following.unref()

  const listener =
    (mine: (...args: Parameters<RequestListener>) => Promise<void> | null): RequestListener =>
    (request, response) => {
      response.setHeader('x-aci-version', 'aci/1')
      response.setHeader('x-aci-keyset-digest', identity.keysetDigest)
      Promise.resolve(mine(request, response) ?? others(request, response)).catch((error: unknown) => sendError(response, error))
    }
  return {
    identity,
    kbs: listener((request, response) => (isKbsPath(request.url) ? handleKbs(kbs, request, response) : null)),
    admin: admin === null ? null : listener((request, response) => (isAdminPath(request.url) ? handleAdmin(admin, request, response) : null)),
    log,
    logged,
    takeReleases: (documents) => releases.give(documents, null),
    close: async () => {
      clearInterval(flushing)
      clearInterval(following)
      logged?.close()
      await store.close()
    },
  }
}

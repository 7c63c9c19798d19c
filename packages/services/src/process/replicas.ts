import { join } from 'node:path'
import type { Collateral } from 'veritee/attestation'
import { fromHex } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { policyFor } from 'veritee/policy'
import type { ServiceDescriptor } from 'veritee/receipt'
import type { ControllerConfig } from '../config/controller.ts'
import type { KeyRing } from '../controller/access/key-ring.ts'
import type { Controller } from '../controller/controller.ts'
import { Circle, type Learns, type Own } from '../controller/peers/circle.ts'
import { PeerLink } from '../controller/peers/link.ts'
import { maxBans, type ReplicaState } from '../controller/peers/message.ts'
import { createPeerRoutes } from '../controller/peers/routes.ts'
import { Rounds } from '../controller/rounds.ts'
import type { FlooredClock } from '../enclave/runtime/admission/clock.ts'
import type { AdmissionRules } from '../enclave/runtime/admission/rules.ts'
import { createIdentity, type Identity } from '../enclave/runtime/identity.ts'
import type { Quoter } from '../enclave/runtime/quote.ts'
import { type Floors, type KeptFloors, noFloors } from '../enclave/runtime/receipts/kept-floors.ts'
import { spaceOf } from '../enclave/runtime/receipts/open.ts'
import { keepStoreSecret, newStoreSecret, readStoreSecret, sharedSealingKey } from '../enclave/runtime/receipts/store-key.ts'
import type { SealingKey } from '../enclave/runtime/sealing-key.ts'
import { type Bind, type Listening, listen } from '../http/listen.ts'
import { RateLimit } from '../http/rate-limit.ts'
import type { Files } from './files.ts'
import { openFloors } from './floors.ts'
import type { Report } from './logs/log.ts'
import type { ManifestFile } from './manifest-file.ts'
import { isSimulated } from './platform.ts'
import type { Readiness } from './readiness.ts'
import { reasonOf } from './repeatedly.ts'
import { readRoots } from './roots.ts'
import type { OpenedRules } from './rules.ts'

/** What replicas need to know each other by; null for a controller that is the only one. */
export interface ReplicaTerms {
  readonly links: readonly PeerLink[]
  readonly rules: AdmissionRules
  readonly secret: string
  /** Draws the key of a store that begins. */
  readonly found: boolean
  /** Puts the identity by which links show this side in the place of the one before. */
  shows(identity: () => Identity): void
}

export interface TermsOptions {
  readonly config: ControllerConfig
  readonly secret: string | null
  readonly rules: AdmissionRules
  readonly files: Files
  readonly now: () => Date
}

/**
 * Reads what a configuration says of replicas. Throws `config_invalid` where something is missing to it, `policy_role_missing` where nothing is demanded of
 * controllers.
 */
export async function replicaTerms({ config, secret, rules, files, now }: TermsOptions): Promise<ReplicaTerms | null> {
  const { port, peers, roots, found } = config.replicas
  if (port === null && peers.length === 0 && roots.length === 0 && !found && secret === null) return null
  if (port === null || secret === null)
    throw fail('config_invalid', 'replicas: expected --replicas-port and a secret (--replicas-secret-file) together; one of them is missing')
  if (config.store.url === null) throw fail('config_invalid', 'replicas: expected a store that several share; say --store')
  if (config.store.key !== null) throw fail('config_invalid', 'store.key: expected none where replicas hand the key to each other')
  if (roots.length > 0 && !isSimulated(config.enclave.tee)) throw fail('config_invalid', 'replicas.roots: expected none outside simulation')
  policyFor((await rules.current()).policy, 'controller')
  const ofReplicas: AdmissionRules = {
    get described() {
      return rules.described
    },
    releases: rules.releases,
    takeReleases: (documents) => rules.takeReleases(documents),
    current: async () => {
      const demands = await rules.current()
      // A simulated machine writes its root when it starts; one that is not there yet cannot be verified yet.
      const more = await Promise.all(roots.map((path) => readRoots(path, files).catch(() => [])))
      return { ...demands, trust: { roots: [...demands.trust.roots, ...more.flat()] } }
    },
  }
  let shown: (() => Identity) | null = null
  const identity = (): Identity => {
    if (shown === null) throw new TypeError('replicas: no identity yet')
    return shown()
  }
  const links = peers.map((url) => new PeerLink({ url, identity, rules: ofReplicas, secret, now }))
  const shows = (next: () => Identity): void => {
    shown = next
  }
  return { links, rules: ofReplicas, secret, found, shows }
}

export interface JoiningOptions {
  /** Null for a controller that is the only one. */
  readonly terms: ReplicaTerms | null
  readonly state: string
  readonly descriptor: () => Promise<ServiceDescriptor>
  readonly quoter: Quoter
  readonly collateral: () => Collateral
  readonly now: () => Date
  readonly report: Report
  /** How long others are asked where there is nothing else; 60 s. */
  readonly waitMs?: number
}

const retryMs = 1_000

/** How a controller comes to what seals the store that it shares, and what it is told meanwhile. */
export class Joining {
  readonly #options: JoiningOptions
  /** Of the replica that gave the secret, at that moment. */
  learnt: { readonly state: ReplicaState; readonly manifest: string | null } | null = null
  /** Names the store by its key. */
  space = ''
  /** What is kept for the next start; null where nothing is sealed, and until {@link sealing}. */
  kept: KeptFloors | null = null
  #secret: Uint8Array | null = null

  constructor(options: JoiningOptions) {
    this.#options = options
  }

  /** For replicas that join after this one. */
  get secret(): Uint8Array {
    if (this.#secret === null) throw new TypeError('Joining: no secret yet')
    return this.#secret
  }

  /** What this enclave kept at its last start, for the case that nobody could be asked. */
  get floors(): Floors {
    return this.kept?.floors ?? noFloors
  }

  /**
   * What seals the store: the enclave's own key where there are no replicas. Else keys under the secret of the shared store: from another replica over TLS that both have attested (rules S3
   * and S8); else what this enclave kept, sealed under its own key, when it last had it; else, for the one replica that founds the store, newly drawn. The others are asked also where it was kept,
   * for what this one must not know less of. Throws `store_key_unavailable`, `receipt_store_invalid` where what was kept is of another store, `file_unavailable`.
   */
  async sealing(own: SealingKey): Promise<SealingKey> {
    const { terms, state, report } = this.#options
    this.kept = await openFloors(state, 'controller', own)
    if (terms === null) return own
    const path = join(state, 'replicas.key')
    const kept = await readStoreSecret(path, own)
    const given = await this.#ask(terms, kept !== null || terms.found)
    if (given === null && kept === null && !terms.found)
      throw fail('store_key_unavailable', `none of ${terms.links.length} replicas gave the key of the store, and none is kept here`)
    if (given !== null && kept !== null && Buffer.compare(given, kept) !== 0)
      throw fail('receipt_store_invalid', `the replicas share another store than the one whose key is kept in ${path}; remove the file to join them`)
    const secret = given ?? kept ?? newStoreSecret()
    if (kept === null) await keepStoreSecret(path, own, secret)
    const source = given !== null ? 'given by a replica' : kept !== null ? 'kept here' : 'newly drawn'
    report(`the key of the shared store was ${source}`, { event: 'replicas.joined' })
    this.#secret = secret
    const sealing = sharedSealingKey(secret, own)
    this.space = spaceOf(sealing)
    return sealing
  }

  /** `once`: there is another way. */
  async #ask(terms: ReplicaTerms, once: boolean): Promise<Uint8Array | null> {
    const { descriptor, quoter, collateral, now, report, waitMs = 60_000 } = this.#options
    // Keys for this errand only: those of the controller come when it has a store to sign into.
    const identity = await createIdentity({ descriptor: await descriptor(), quoter, collateral, now })
    terms.shows(() => identity)
    const until = performance.now() + (once ? 0 : waitMs)
    const trouble = new Trouble(report)
    try {
      for (;;) {
        const joined = await joinAny(terms.links, trouble)
        if (joined !== null) {
          this.learnt = { state: joined.state, manifest: joined.manifest }
          return fromHex(joined.storeSecret ?? '')
        }
        if (performance.now() >= until) return null
        await new Promise((resolve) => setTimeout(resolve, retryMs))
      }
    } finally {
      for (const link of terms.links) link.close()
    }
  }
}

async function joinAny(links: readonly PeerLink[], trouble: Trouble): Promise<Awaited<ReturnType<PeerLink['join']>> | null> {
  for (const link of links) {
    try {
      const joined = await link.join(nothingYet, true)
      if (joined.storeSecret !== null) return joined
    } catch (error) {
      trouble.say(link.url, reasonOf(error))
    }
  }
  return null
}

/** Tells of each replica what is wrong with it, once for each state. */
class Trouble {
  readonly #report: Report
  readonly #said = new Map<string, string>()

  constructor(report: Report) {
    this.#report = report
  }

  /** `problem`: null where all is well. */
  say(url: string, problem: string | null): void {
    if ((problem ?? '') === (this.#said.get(url) ?? '')) return
    this.#said.set(url, problem ?? '')
    if (problem === null) this.#report(`replica ${url} is heard`, { event: 'replicas.heard' })
    else this.#report(`replica ${url}: ${problem}`, { event: 'replicas.unreached' })
  }
}

/** Of a replica that has no store yet. */
const nothingYet: ReplicaState = {
  clock_floor: 0,
  url: null,
  serving: false,
  manifest_version: 0,
  keys_version: 0,
  store: '00'.repeat(16),
  bans: [],
}

export interface ReplicasOptions {
  readonly terms: ReplicaTerms
  readonly joining: Joining
  readonly controller: Controller
  readonly bind: Bind
  /** Under which clients reach this replica by its own name. */
  readonly url: string | null
  readonly clock: FlooredClock
  readonly ring: KeyRing | null
  readonly rules: AdmissionRules
  readonly followed: OpenedRules['followed']
  readonly manifests: ManifestFile | null
  readonly readiness: Readiness
  readonly report: Report
  readonly everyMs?: number
}

export interface RunningReplicas {
  readonly urls: readonly string[]
  readonly listening: Listening
  /** Tells every replica now what this one knows. Never throws. */
  tell(): Promise<void>
  close(): Promise<void>
}

/** Where clients reach a controller by its own name; null where it has none. */
export function publicUrl({ api, replicas }: ControllerConfig, port: number): string | null {
  const [name] = api.names
  return name === undefined ? null : `${api.tls ? 'https' : 'http'}://${name}:${replicas.public_port ?? port}`
}

/** Listens for the other replicas, and tells them every few seconds what this one knows. Throws `usage`, `port_unavailable`. */
export async function runReplicas(options: ReplicasOptions): Promise<RunningReplicas> {
  const { terms, joining, controller, bind, url, clock, ring, rules, followed, manifests, readiness, report, everyMs = 5_000 } = options
  const { now } = clock
  terms.shows(() => controller.identity)
  const own: Own = {
    store: joining.space,
    state: () => ({
      clock_floor: Math.floor(clock.floor().getTime() / 1000),
      url,
      serving: readiness.reasons.length === 0,
      manifest_version: rules.described?.version ?? 0,
      keys_version: ring?.newest ?? 0,
      store: joining.space,
      bans: controller.registry.bans(maxBans),
    }),
    manifest: () => followed?.rules.text ?? null,
    storeSecret: () => joining.secret,
  }
  const learns: Learns = {
    keysVersion: (version) => ring?.demand(version),
    bans: (bans) => void controller.registry.learnBans(bans),
    manifest: (text) => void manifests?.offer(text),
  }
  const circle = new Circle({ own, learns, now })
  readiness.add('clock_behind', () => circle.clockReasons())
  readiness.add('replicas_differ', () => circle.storeReasons())
  // Until it is heard again: under no keyset's digest.
  if (joining.learnt !== null) circle.heard('before', joining.learnt.state, joining.learnt.manifest)
  const routes = createPeerRoutes({
    circle,
    identity: () => controller.identity,
    rules: terms.rules,
    secret: terms.secret,
    now,
    limit: new RateLimit({ perSecond: 2, burst: 40, now }),
  })
  const listening = await listen({ ...bind, tls: controller.identity.tls, asksClientKey: true }, routes, () => controller.identity.keysetDigest)
  const trouble = new Trouble(report)
  const tellOne = async (link: PeerLink): Promise<void> => {
    try {
      const { keysetDigest, state, manifest } = await link.tell(own.state())
      circle.heard(keysetDigest, state, manifest)
      trouble.say(link.url, null)
    } catch (error) {
      trouble.say(link.url, reasonOf(error))
    }
  }
  const rounds = new Rounds(async () => void (await Promise.all(terms.links.map(tellOne))), everyMs)
  void rounds.now()
  report(`replicas at ${listening.url}`)
  return {
    get urls() {
      return circle.urls
    },
    listening,
    tell: () => rounds.now(),
    close: async () => {
      rounds.stop()
      for (const link of terms.links) link.close()
      await listening.close()
    },
  }
}

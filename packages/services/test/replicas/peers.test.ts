import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { SimEnclave } from 'veritee/attestation/sim'
import { fromHex, toHex } from 'veritee/bytes'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { controllerDescriptor } from '../../src/controller/controller.ts'
import { Circle } from '../../src/controller/peers/circle.ts'
import { PeerLink } from '../../src/controller/peers/link.ts'
import { joinText, parseJoin, parseJoined, parseStateMessage, proofOf, type ReplicaState } from '../../src/controller/peers/message.ts'
import { createPeerRoutes } from '../../src/controller/peers/routes.ts'
import { pinnedPool, type TlsKey } from '../../src/controller/pinned-pool.ts'
import type { ManifestRules } from '../../src/enclave/runtime/admission/rules.ts'
import { createIdentity, type Identity } from '../../src/enclave/runtime/identity.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { KeptFloors } from '../../src/enclave/runtime/receipts/kept-floors.ts'
import { spaceOf } from '../../src/enclave/runtime/receipts/open.ts'
import { keepStoreSecret, newStoreSecret, readStoreSecret, sharedSealingKey } from '../../src/enclave/runtime/receipts/store-key.ts'
import { sealingKey } from '../../src/enclave/runtime/sealing-key.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { RateLimit } from '../../src/http/rate-limit.ts'
import { Joining } from '../../src/process/replicas.ts'
import { enclaves, openSetting, type Setting } from '../controller/admission/setting.ts'

/** S3, S8: the key of the shared store goes from one attested controller to another, of the same operator, and to nobody else. */

const secret = 'a-secret-that-all-replicas-of-one-operator-have'
let setting: Setting
let rules: ManifestRules
beforeAll(async () => {
  setting = await openSetting()
  rules = await setting.rules()
})
afterAll(() => setting.close())

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of closing.splice(0).reverse()) await stop()
})

function stateOf(changes: Partial<ReplicaState> = {}): ReplicaState {
  const usual = { clock_floor: 0, url: null, serving: true, manifest_version: 1, keys_version: 0, store: '05'.repeat(16), bans: [] }
  return { ...usual, ...changes }
}

async function identityOf(enclave: SimEnclave = enclaves.controller, platform = setting.platform): Promise<Identity> {
  const descriptor = await controllerDescriptor({}, rules.described)
  return createIdentity({
    descriptor,
    quoter: createQuoter(createSimDevice(platform, enclave)),
    collateral: () => platform.collateral,
    now: setting.now,
  })
}

interface Replica {
  readonly identity: Identity
  readonly circle: Circle
  readonly server: Listening
  readonly learnt: string[]
  state: ReplicaState
  readonly key: Uint8Array
}

async function replica(
  state = stateOf(),
  options: { readonly enclave?: SimEnclave; readonly secret?: string; readonly manifest?: string } = {},
): Promise<Replica> {
  const identity = await identityOf(options.enclave)
  const key = new Uint8Array(randomBytes(32))
  const learnt: string[] = []
  const one = { identity, learnt, state, key } as { -readonly [name in keyof Replica]: Replica[name] }
  one.circle = new Circle({
    own: { store: state.store, state: () => one.state, manifest: () => options.manifest ?? null, storeSecret: () => key },
    learns: {
      keysVersion: (version) => learnt.push(`keys ${version}`),
      bans: (bans) => learnt.push(`bans ${bans.length}`),
      manifest: (text) => learnt.push(`manifest ${text}`),
    },
    now: setting.now,
  })
  const limit = new RateLimit({ perSecond: 1000, burst: 1000, now: setting.now })
  const routes = createPeerRoutes({ circle: one.circle, identity: () => identity, rules, secret: options.secret ?? secret, now: setting.now, limit })
  const bind = { host: '127.0.0.1', port: 0, tls: identity.tls, simulated: true, apiKeys: false, asksClientKey: true }
  one.server = await listen(bind, routes, () => identity.keysetDigest)
  closing.push(() => one.server.close())
  return one
}

function link(to: Replica | string, identity: Identity, own = secret): PeerLink {
  const url = typeof to === 'string' ? to : to.server.url
  const made = new PeerLink({ url, identity: () => identity, rules, secret: own, now: setting.now })
  closing.push(() => made.close())
  return made
}

async function post(to: Replica, tls: TlsKey | null, name: string, body: string): Promise<[number, Record<string, unknown>]> {
  const pool = pinnedPool(to.server.url, to.identity.keyset.tls_public_keys[0]?.spki_sha256 ?? '', 1, tls)
  try {
    const headers = { 'content-type': 'application/json' }
    const answer = await pool.request({ method: 'POST', path: `/v1/veritee/peers/${name}`, headers, body })
    const json = (await answer.body.json()) as { error?: Record<string, unknown> }
    return [answer.statusCode, json.error ?? (json as Record<string, unknown>)]
  } finally {
    await pool.destroy()
  }
}

async function nonceOf(to: Replica): Promise<string> {
  return String((await post(to, null, 'nonce', ''))[1].nonce)
}

/** A join as an honest replica makes it, of parts that a test changes. */
async function joining(
  to: Replica,
  identity: Identity,
  changes: { nonce?: string; report?: string; from?: string; to?: string } = {},
): Promise<string> {
  const nonce = changes.nonce ?? (await nonceOf(to))
  const parts = {
    purpose: 'veritee.replicas.join.v1',
    from: changes.from ?? identity.keysetDigest,
    to: changes.to ?? to.identity.keysetDigest,
    nonce,
  } as const
  const report = changes.report ?? (await identity.report(nonce))
  return joinText({ nonce, report, proof: proofOf(secret, parts), wantsKey: true, state: stateOf() })
}

describe('S8: the key of the shared store', () => {
  let holder: Replica
  beforeEach(async () => {
    holder = await replica()
  })

  it('goes to a controller that both verified, with what it must not know less of', async () => {
    holder.state = stateOf({ keys_version: 7, clock_floor: 5 })
    const joined = await link(holder, await identityOf()).join(stateOf({ store: '00'.repeat(16) }), true)
    expect(joined.storeSecret).toBe(toHex(holder.key))
    expect(joined.state).toMatchObject({ keys_version: 7, clock_floor: 5 })
    expect(joined.keysetDigest).toBe(holder.identity.keysetDigest)
    // Who has no store yet knows nothing that others would have to learn.
    expect(holder.learnt).toEqual([])
  })

  it('is not in any message of replicas that have it', async () => {
    const one = link(holder, await identityOf())
    expect((await one.join(stateOf(), false)).storeSecret).toBe(null)
    const told = await one.tell(stateOf())
    expect(JSON.stringify(told)).not.toContain(toHex(holder.key))
  })

  it('S7, S13: goes neither to other code nor to another role', async () => {
    const other = await identityOf({ ...enclaves.controller, mrenclave: 'c9'.repeat(32) })
    await expect(link(holder, other).join(stateOf(), true)).rejects.toMatchObject({ code: 'policy_identity' })
    const worker = await setting.worker({ enclave: enclaves.controller })
    await expect(link(holder, worker.worker.identity).join(stateOf(), true)).rejects.toMatchObject({ code: 'policy_role' })
  })

  it('is not asked of other code, and nothing is said to it', async () => {
    const other = await replica(stateOf(), { enclave: { ...enclaves.controller, mrenclave: 'c9'.repeat(32) } })
    await expect(link(other, await identityOf()).join(stateOf(), true)).rejects.toMatchObject({ code: 'policy_identity' })
    expect(other.learnt).toEqual([])
  })

  it('S19: goes to no genuine controller of another operator, and none is taken from one', async () => {
    const identity = await identityOf()
    await expect(link(holder, identity, 'a-secret-of-another-operator-0123456789').join(stateOf(), true)).rejects.toMatchObject({
      code: 'replica_proof_invalid',
    })
    // One that lets everybody in, and does not have the secret: it repeats the proof that it was sent.
    const liar = await replica(stateOf(), { secret: 'a-secret-of-another-operator-0123456789' })
    await expect(link(liar, identity).join(stateOf(), true)).rejects.toMatchObject({ code: 'replica_proof_invalid' })
  })

  it('goes over no connection that does not show the key of the evidence', async () => {
    const identity = await identityOf()
    expect(await post(holder, null, 'join', await joining(holder, identity))).toMatchObject([403, { code: 'channel_mismatch' }])
    // Genuine evidence, brought by somebody else.
    const other = await identityOf()
    expect(await post(holder, other.tls, 'join', await joining(holder, identity))).toMatchObject([403, { code: 'channel_mismatch' }])
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const stolen = { cert: identity.tls.cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }
    await expect(post(holder, stolen, 'join', '{}')).rejects.toThrow(/key values mismatch/i)
    expect((await post(holder, identity.tls, 'join', await joining(holder, identity)))[0]).toBe(200)
  })

  it('goes for a nonce of its holder, once, and for evidence over that nonce', async () => {
    const identity = await identityOf()
    const nonce = await nonceOf(holder)
    const text = await joining(holder, identity, { nonce })
    expect((await post(holder, identity.tls, 'join', text))[0]).toBe(200)
    expect(await post(holder, identity.tls, 'join', text)).toMatchObject([403, { code: 'registration_replayed' }])
    const own = 'ab'.repeat(32)
    expect(await post(holder, identity.tls, 'join', await joining(holder, identity, { nonce: own }))).toMatchObject([
      403,
      { code: 'registration_replayed' },
    ])
    const stale = await joining(holder, identity, { report: await identity.report(own) })
    expect(await post(holder, identity.tls, 'join', stale)).toMatchObject([403, { code: 'report_nonce_mismatch' }])
  })

  it('a proof for one pair of keysets serves no other', async () => {
    const identity = await identityOf()
    for (const changes of [{ from: `sha256:${'aa'.repeat(32)}` }, { to: `sha256:${'aa'.repeat(32)}` }])
      expect(await post(holder, identity.tls, 'join', await joining(holder, identity, changes))).toMatchObject([
        403,
        { code: 'replica_proof_invalid' },
      ])
  })

  it('a manifest that has ended lets nobody in', async () => {
    const identity = await identityOf()
    setting.ahead = 90_000
    try {
      await expect(link(holder, identity).join(stateOf(), true)).rejects.toMatchObject({ kind: expect.stringMatching(/rejected|untrusted/) })
    } finally {
      setting.ahead = 0
    }
  })

  it('S1: nobody chooses bytes of a quote there, and what is no route is a 404', async () => {
    expect((await post(holder, null, 'nothing', ''))[0]).toBe(404)
    expect((await post(holder, null, 'state', JSON.stringify({ version: 'veritee.replicas.v1', state: stateOf() })))[1]).toMatchObject({
      code: 'replica_not_verified',
    })
  })
})

describe('what replicas tell each other', () => {
  it('S3: versions are learnt over a verified connection, which is made again where the other started anew', async () => {
    const holder = await replica(stateOf({ keys_version: 3 }))
    const one = link(holder, await identityOf())
    expect((await one.tell(stateOf({ keys_version: 9 }))).state.keys_version).toBe(3)
    expect(holder.learnt).toEqual(['keys 9', 'bans 0'])
    await one.tell(stateOf({ keys_version: 10 }))
    expect(holder.learnt.at(-2)).toBe('keys 10')
    await holder.server.close()
    await expect(one.tell(stateOf())).rejects.toMatchObject({ code: 'service_unavailable' })
  })

  it('a manifest goes to whoever has an older one, and what another store knows is not taken', async () => {
    const holder = await replica(stateOf({ manifest_version: 4 }), { manifest: 'the text' })
    const one = link(holder, await identityOf())
    expect((await one.tell(stateOf({ manifest_version: 3 }))).manifest).toBe('the text')
    expect((await one.tell(stateOf({ manifest_version: 4 }))).manifest).toBe(null)
    const reader = await replica(stateOf({ manifest_version: 3 }))
    reader.circle.heard('one', stateOf({ manifest_version: 4 }), 'the text')
    reader.circle.heard('two', stateOf({ manifest_version: 3 }), 'an old text')
    reader.circle.heard('three', stateOf({ keys_version: 8, manifest_version: 9, store: 'ff'.repeat(16) }), 'of another store')
    expect(reader.learnt).toEqual(['keys 0', 'bans 0', 'manifest the text', 'keys 0', 'bans 0'])
    expect(reader.circle.storeReasons()).toHaveLength(1)
  })

  it('S11: a replica whose clock is more than five minutes behind what another has seen signed is not ready', async () => {
    const seconds = Math.floor(setting.now().getTime() / 1000)
    const one = await replica()
    one.circle.heard('other', stateOf({ clock_floor: seconds + 290 }))
    expect(one.circle.clockReasons()).toEqual([])
    one.circle.heard('other', stateOf({ clock_floor: seconds + 310 }))
    expect(one.circle.clockReasons()).toHaveLength(1)
    setting.ahead = 60
    expect(one.circle.clockReasons()).toEqual([])
    setting.ahead = 0
  })

  it('S8: names are those of replicas that take work and were heard of lately', async () => {
    let at = 0
    const own = stateOf({ url: 'https://a.example' })
    const circle = new Circle({
      own: { store: own.store, state: () => own, manifest: () => null, storeSecret: () => new Uint8Array(32) },
      learns: { keysVersion: () => undefined, bans: () => undefined, manifest: () => undefined },
      now: setting.now,
      monotonicMs: () => at,
    })
    circle.heard('b', stateOf({ url: 'https://b.example' }))
    circle.heard('c', stateOf({ url: 'https://c.example', serving: false }))
    circle.heard('d', stateOf({ url: 'https://d.example', store: 'ff'.repeat(16) }))
    expect(circle.urls).toEqual(['https://a.example', 'https://b.example'])
    at = 61_000
    expect(circle.urls).toEqual(['https://a.example'])
  })
})

describe('published vectors, made by another implementation', () => {
  it('of proofs, and of the name of a store', async () => {
    const {
      secret: key,
      proofs,
      store_secret,
      store,
    } = JSON.parse(await readFile(new URL('../../../../spec/vectors/replicas.json', import.meta.url), 'utf8')) as {
      secret: string
      proofs: (Parameters<typeof proofOf>[1] & { proof: string })[]
      store_secret: string
      store: string
    }
    for (const { proof, ...parts } of proofs) expect(proofOf(key, parts)).toBe(proof)
    expect(proofs).toHaveLength(2)
    expect(spaceOf(sharedSealingKey(fromHex(store_secret), sealingKey('file', new Uint8Array(32))))).toBe(store)
  })
})

describe('floors, kept for the next start of the same enclave', () => {
  let directory = ''
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'veritee-floors-'))
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  it('S3: rise and never fall, and say nothing to another enclave or in another place', async () => {
    const path = join(directory, 'controller.floors')
    const own = sealingKey('file', new Uint8Array(randomBytes(32)))
    const none = { keysVersion: 0, clock: 0, manifestVersion: 0 }
    const first = await KeptFloors.open(path, own)
    expect(first.floors).toEqual(none)
    await first.raise({ keysVersion: 7, clock: 1_700_000_000, manifestVersion: 0 })
    await first.raise({ keysVersion: 3, clock: 1_700_000_001, manifestVersion: 4 })
    await first.raise({ keysVersion: 7, clock: 1, manifestVersion: 3 })
    expect((await KeptFloors.open(path, own)).floors).toEqual({ keysVersion: 7, clock: 1_700_000_001, manifestVersion: 4 })
    expect((await KeptFloors.open(path, sealingKey('file', new Uint8Array(randomBytes(32))))).floors).toEqual(none)
    // A secret kept under the same key is no floor, nor the other way about.
    await keepStoreSecret(join(directory, 'replicas.key'), own, newStoreSecret())
    expect((await KeptFloors.open(join(directory, 'replicas.key'), own)).floors).toEqual(none)
    expect(await readStoreSecret(path, own)).toBe(null)
  })

  it('S3: are what a controller goes by that starts with nobody to ask', async () => {
    const own = sealingKey('file', new Uint8Array(randomBytes(32)))
    const joining = (found: boolean): Joining =>
      new Joining({
        terms: { links: [], rules, secret, found, shows: () => undefined },
        state: directory,
        descriptor: () => controllerDescriptor({}, rules.described),
        quoter: createQuoter(createSimDevice(setting.platform, enclaves.controller)),
        collateral: () => setting.platform.collateral,
        now: setting.now,
        report: () => undefined,
      })
    await rm(join(directory, 'replicas.key'), { force: true })
    await rm(join(directory, 'controller.floors'), { force: true })
    const first = joining(true)
    await first.sealing(own)
    const held = { keysVersion: 9, clock: 1_700_000_000, manifestVersion: 3 }
    expect(first.floors).toEqual({ keysVersion: 0, clock: 0, manifestVersion: 0 })
    await first.kept?.raise(held)
    const second = joining(false)
    await second.sealing(own)
    expect([second.learnt, second.floors]).toEqual([null, held])
  })
})

describe('the secret of a store, kept for the next start of the same enclave', () => {
  let directory = ''
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'veritee-secret-'))
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  it('opens under its own sealing key only, and is not in the file in clear', async () => {
    const path = join(directory, 'replicas.key')
    const own = sealingKey('file', new Uint8Array(randomBytes(32)))
    expect(await readStoreSecret(path, own)).toBe(null)
    const held = newStoreSecret()
    await keepStoreSecret(path, own, held)
    expect(await readStoreSecret(path, own)).toEqual(held)
    expect(await readStoreSecret(path, sealingKey('file', new Uint8Array(randomBytes(32))))).toBe(null)
    const text = await readFile(path, 'latin1')
    expect([text.includes(Buffer.from(held).toString('base64')), text.includes(toHex(held)), (await stat(path)).mode & 0o077]).toEqual([
      false,
      false,
      0,
    ])
    for (const broken of ['', 'no base64!', 'AAAA']) {
      await writeFile(path, broken)
      expect(await readStoreSecret(path, own)).toBe(null)
    }
  })
})

describe('messages', () => {
  const state = stateOf()
  it.each<[string, unknown]>([
    ['no object', []],
    ['another version', { version: 'veritee.replicas.v2', state }],
    ['a member too many', { version: 'veritee.replicas.v1', state, more: 1 }],
    ['a URL with a path', { version: 'veritee.replicas.v1', state: { ...state, url: 'https://a.example/x' } }],
    ['a URL of another kind', { version: 'veritee.replicas.v1', state: { ...state, url: 'javascript:1' } }],
    ['a time with a fraction', { version: 'veritee.replicas.v1', state: { ...state, clock_floor: 1.5 } }],
    ['a version without end', { version: 'veritee.replicas.v1', state: { ...state, keys_version: 2 ** 40 } }],
    ['a store of another length', { version: 'veritee.replicas.v1', state: { ...state, store: 'ff' } }],
    [
      'too many bans',
      {
        version: 'veritee.replicas.v1',
        state: { ...state, bans: Array.from({ length: 4097 }, () => ({ subject: 'x', until: 1, count: 1, lifts: 0 })) },
      },
    ],
    [
      'a ban lifted more often than counts',
      { version: 'veritee.replicas.v1', state: { ...state, bans: [{ subject: 'x', until: 1, count: 1, lifts: 801 }] } },
    ],
    [
      'a ban that does not say whether it was lifted',
      { version: 'veritee.replicas.v1', state: { ...state, bans: [{ subject: 'x', until: 1, count: 1 }] } },
    ],
  ])('%s is refused', (_, value) => {
    expect(() => parseStateMessage(JSON.stringify(value))).toThrow(expect.objectContaining({ code: 'replica_malformed' }))
  })

  it('so are a join and an answer with parts of the wrong kind', () => {
    const version = 'veritee.replicas.v1'
    for (const text of ['', '{}', JSON.stringify({ version, nonce: 'x', report: '', proof: '', wants_key: true, state })])
      expect(() => parseJoin(text)).toThrow(expect.objectContaining({ code: 'replica_malformed' }))
    const answer = { version, proof: '00'.repeat(32), store_secret: '00', state, manifest: null }
    expect(() => parseJoined(JSON.stringify(answer))).toThrow(expect.objectContaining({ code: 'replica_malformed' }))
  })
})

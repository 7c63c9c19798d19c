import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { closingRound, createLocalBeacon, type LocalBeacon, timeOfRound } from 'veritee/beacon'
import { type Json, jcsDigest, toHex } from 'veritee/bytes'
import { ask, chatBody, connect, establish, handOver, nodeTransport } from 'veritee/client'
import { generateEd25519, type SigningKey } from 'veritee/crypto'
import { VeriteeError } from 'veritee/errors'
import { parseLogTrust, verifyCheckpoint } from 'veritee/log'
import type { Policy } from 'veritee/policy'
import { type AuditRecord, epochWindow, parseAuditRecord, parseScoringPolicy, readFrom, type ScoringPolicy, verifyEpoch } from 'veritee/scoring'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type FleetWorker, replayModelOf, startFleet } from '../../src/demo/fleet.ts'
import { type DemoLog, startDemoLog } from '../../src/demo/log.ts'
import { keyOf, signDemoScoringPolicy } from '../../src/demo/scoring-policy.ts'
import {
  type LoadedModel,
  loadModel,
  policyOf,
  type RunningController,
  type SimulatedMachine,
  simulateMachine,
  startController,
} from '../../src/demo/system.ts'
import { policyRules } from '../../src/enclave/runtime/admission/rules.ts'
import type { LogLink } from '../../src/enclave/runtime/receipts/log-link.ts'
import { RateLimit } from '../../src/http/rate-limit.ts'
import { resolveModel } from '../../src/models/locate.ts'
import type { ReplayModel } from '../../src/replay/index.ts'
import { HeldContents } from '../../src/validator/content/held.ts'
import { contentRoutes } from '../../src/validator/content/routes.ts'
import { localBeacon } from '../../src/validator/epoch/beacon-source.ts'
import type { Concluded } from '../../src/validator/epoch/conclude.ts'
import { runValidator, type ValidatorOptions } from '../../src/validator/service.ts'
import type { EpochStore } from '../../src/validator/store/epoch-store.ts'
import { openSqliteEpochStore } from '../../src/validator/store/sqlite-store.ts'

// A network, its log and witness, and a validator, in one process. Their clock is put forward where an epoch would have to be waited for.

let ahead = 0
const now = (): Date => new Date(Date.now() + ahead)
const putForward = (unixSeconds: number): void => {
  ahead = Math.max(ahead, unixSeconds * 1000 - Date.now())
}

const closing: (() => Promise<unknown>)[] = []
const length = 600
let machine: SimulatedMachine
let model: LoadedModel
let controller: RunningController
let fleet: readonly FleetWorker[]
let replay: ReplayModel
let policy: Policy
let log: DemoLog
/** Statements of these keysets are promised and not brought to the log. */
const withheld = new Set<string>()

beforeAll(async () => {
  log = await startDemoLog(now, closing)
  machine = await simulateMachine(now)
  const found = await resolveModel('demo')
  model = await loadModel(found)
  closing.push(async () => model.engine.dispose())
  policy = policyOf(machine, [model])
  const rules = async () => policyRules(async () => ({ policy, trust: machine.trust }))
  controller = await startController(machine, policy, { api: 0, control: 0 }, now)
  closing.push(
    async () => controller.controller.close(),
    () => controller.control.close(),
    () => controller.api.close(),
  )
  const link: LogLink = {
    origin: log.link.origin,
    promiseSeconds: 30,
    keep: async (identity, statements) => (withheld.has(identity.keysetDigest) ? undefined : log.link.keep(identity, statements)),
  }
  const setting = { machine, rules, controller, model, path: found.path, memoryDirectory: tmpdir(), log: link, now, closing }
  fleet = await startFleet(setting)
  replay = await replayModelOf(setting)
}, 240_000)
afterAll(async () => {
  for (const stop of closing.reverse()) await stop()
})

interface Network {
  readonly key: SigningKey
  readonly beacon: LocalBeacon
  readonly text: string
  readonly scoring: ScoringPolicy
  readonly genesis: number
  readonly store: EpochStore
  readonly path: string
}

/** A validator with a policy of its own; its first epoch begins in half an epoch. */
async function network(probability = '1.0'): Promise<Network> {
  const folder = mkdtempSync(join(tmpdir(), 'veritee-logged-'))
  closing.push(async () => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'validator.sqlite')
  const store = await openSqliteEpochStore(path)
  closing.push(() => store.close())
  const key = await generateEd25519()
  const genesis = Math.floor(now().getTime() / 1000) + length / 2
  const beacon = await createLocalBeacon(new Uint8Array(32).fill(5), { period: 3, genesisTime: genesis - 3000 })
  const weights = await jcsDigest(model.served.described.files as unknown as Json)
  const of = { network: 'test', genesis, length, validator: keyOf(key), weights, beacon: beacon.chain, signers: [key] }
  const text = await signDemoScoringPolicy({ ...of, log: log.policy, probability })
  return { key, beacon, text, scoring: (await parseScoringPolicy(text)).policy, genesis, store, path }
}

const roster = () => ({
  manifest: `sha256:${'0'.repeat(64)}`,
  salt: '5a'.repeat(32),
  operators: fleet.map(({ operator }) => keyOf(operator)).sort(),
  shared: [],
})

function optionsOf({ key, beacon, text, scoring, store }: Network, probes: number, changes: Partial<ValidatorOptions> = {}): ValidatorOptions {
  return {
    key,
    store,
    beacon: localBeacon(beacon, now),
    scoring: { text, policy: scoring },
    roster: roster(),
    evidence: { trust: machine.trust, policy },
    controllers: [{ url: controller.api.url, operator: 'c0'.repeat(32) }],
    workers: [],
    apiKeys: async () => [],
    warmEpochs: 0,
    accountsPerEpoch: 1,
    models: new Map([[`sha256:${replay.engine.model.sha256}`, { name: model.served.name, replay }]]),
    log: log.place,
    probesPerEpoch: probes,
    templates: null,
    traffic: null,
    canariesPerEpoch: 0,
    encrypted: { controller: 0.2, worker: 0.2 },
    probingPart: 0.005,
    parallel: 2,
    now,
    clockMs: () => performance.now(),
    signal: AbortSignal.timeout(200_000),
    report: () => undefined,
    publish: async () => undefined,
    publishAgain: async () => undefined,
    calibrations: [],
    contents: null,
    peers: null,
    confirmers: null,
    ...changes,
  }
}

/** Nobody waits for the beginning of epochs, their end, and the rounds that close them: whenever a validator would, the clock is put forward. `organic` is done once in each epoch, when its log has been opened. */
function hurry({ scoring, store, beacon: { chain } }: Network, probes: number, organic: () => Promise<void> = async () => undefined, last = 0) {
  const done = new Set<string>()
  const once = async (name: string, act: () => Promise<unknown>): Promise<void> => {
    if (done.has(name)) return
    done.add(name)
    await act()
  }
  let stopped = false
  const running = (async () => {
    while (!stopped) {
      for (const epoch of await store.epochs()) {
        const { opens, closes } = epochWindow(scoring, epoch)
        if ((await store.fact(epoch, 'after')) !== null || (await store.fact(epoch, 'left out')) !== null) continue
        if ((await store.fact(epoch, 'seed proof')) !== null) putForward(opens + 4)
        if ((await store.fact(epoch, 'log opens')) !== null) await once(`organic ${epoch}`, organic)
        if (!done.has(`organic ${epoch}`) || (await store.records(epoch)).length < probes) continue
        // The next one is committed to before it begins, which is when this one ends.
        putForward(closes - length / 4)
        if (epoch < last && (await store.fact(epoch + 1, 'seed proof')) === null) continue
        // Nor does this one end before the commitment to the records of the one before is logged, which is due then.
        if (epoch > 0 && (await store.fact(epoch - 1, 'records proof')) === null) continue
        putForward(closes + 1)
        const note = await store.fact(epoch, 'log closes')
        if (note === null) continue
        const { existedBy } = await verifyCheckpoint(note, await parseLogTrust(log.policy))
        putForward(timeOfRound(chain, closingRound(chain, existedBy)) + 1)
      }
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  })()
  return async (): Promise<void> => {
    stopped = true
    await running
  }
}

/** What users ask, until so many answers verified: who gets one of the cheat, or none since the controller has found it out, asks again. */
async function users(count: number): Promise<void> {
  const transport = nodeTransport(controller.api.url)
  const service = await establish(transport, { policy, trust: machine.trust, role: 'controller', now })
  for (let i = 0, verified = 0; verified < count; i++) {
    if (i > 20 * count) throw new Error('users got no answers')
    const body = chatBody(model.served.name, `How are you, for the time number ${i}?`, { stream: false, maxTokens: 3, temperature: 0 })
    try {
      await ask(service, '/v1/chat/completions', body)
      verified++
    } catch (error) {
      if (!(error instanceof VeriteeError)) throw error
    }
  }
  transport.close()
}

/** What a user asks who hands over what is answered, until so many answers were taken. */
async function handing(url: string, count: number): Promise<void> {
  const told: ((took: boolean) => void)[] = []
  const onProof = handOver({ url, onResult: (_, error) => void told.shift()?.(error === null) })
  const c = await connect(controller.api.url, { policy, trust: machine.trust, now, onProof })
  for (let i = 0, done = 0; done < count; i++) {
    if (i > 20 * count) throw new Error('no answer was handed over')
    const body = chatBody(model.served.name, `What of it, for the time number ${i}?`, { stream: false, maxTokens: 3, temperature: 0 })
    const handed = new Promise<boolean>((resolve) => void told.push(resolve))
    try {
      const response = await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body: body as Uint8Array<ArrayBuffer> })
      await response.text()
      if (response.ok && (await handed)) done++
    } catch (error) {
      if (!(error instanceof VeriteeError)) throw error
      told.pop()
    }
  }
  c.close()
}

const nothingBrought = { trust: null, verifyProof: null, roster: null, previous: null }
const recordsIn = ({ written: { bundle } }: Concluded, key: SigningKey): AuditRecord[] =>
  (bundle.get(`validators/${keyOf(key)}/records.jsonl`) ?? '').split('\n').slice(0, -1).map(parseAuditRecord)
const kindOf = (records: readonly AuditRecord[], kind: AuditRecord['kind']): AuditRecord[] => records.filter((record) => record.kind === kind)

describe('a validator under a policy with a log', () => {
  test('S16: commitments are witnessed in time, leaves that the seed chose are audited by their views, own receipts once, and anybody verifies it offline', async () => {
    const net = await network()
    const published: [number, Concluded][] = []
    const replayed: AuditRecord[] = []
    const probes = 6
    const contents = new HeldContents({ trust: machine.trust, policy, scoring: net.scoring, now })
    const limit = new RateLimit({ perSecond: 100, burst: 100, now })
    const server = createServer(contentRoutes({ contents, token: null, rateLimit: limit, guesses: limit }))
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
    closing.push(async () => server.close())
    const asking = async (): Promise<void> => {
      await users(4)
      if (published.length === 0) await handing(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 2)
    }
    const stop = hurry(net, probes, asking, 1)
    const options = optionsOf(net, probes, { contents, publish: async (epoch, concluded) => void published.push([epoch, concluded]) })
    await runValidator(options, 2).finally(stop)

    expect(published.map(([epoch]) => epoch)).toEqual([0, 1])
    for (const [epoch, concluded] of published) {
      const verdict = await verifyEpoch(readFrom(concluded.written.bundle), nothingBrought)
      expect(verdict.missed).toEqual([])
      expect([verdict.verdict, verdict.first]).toEqual(['verified', null])
      expect(verdict.checks.filter(({ id }) => id === 'log' || id === 'duties').map(({ status }) => status)).toEqual(['pass', 'pass'])
      const records = recordsIn(concluded, net.key)
      const [own, organic] = [kindOf(records, 'probe'), kindOf(records, 'organic')]
      expect(own).toHaveLength(probes)
      // Where no receipt came, or not its key, there is nothing to look for, and no pass.
      for (const { view, verdict } of own) if (verdict === 'pass') expect(view?.log?.origin).toBe(log.policy.origin)
      expect(own.some(({ verdict }) => verdict === 'pass')).toBe(true)
      // Every leaf of the epoch once: own receipts as that, all others as organic.
      const { leaves } = concluded.written.bundle.has('leaves.txt')
        ? { leaves: (concluded.written.bundle.get('leaves.txt') ?? '').split('\n').slice(0, -1) }
        : { leaves: [] }
      const named = records.flatMap(({ view }) => view?.log?.leaf ?? [])
      expect(new Set(named).size).toBe(named.length)
      expect(leaves.filter((leaf) => !named.includes(leaf))).toEqual([])
      // Users' receipts, by the views alone: what honest workers signed passes, the cheat's own view names other weights.
      const judged = organic.filter(({ worker }) => worker !== null)
      expect(judged.length).toBeGreaterThanOrEqual(4)
      const [honest, cheat] = fleet.map(({ operator }) => toHex(operator.publicKey))
      for (const record of judged) {
        expect(record).toMatchObject({ path: [], timings: null, attestation: { verdict: 'accepted' } })
        if (record.replay !== null) replayed.push(record)
        if (record.worker?.operator === cheat) expect(record).toMatchObject({ verdict: 'fail', reason: 'model_mismatch', charged: 'worker' })
        else expect([record.worker?.operator, record.verdict, record.reason]).toEqual([honest, 'pass', null])
      }
      // What is no view, such as a commitment, counts for and against nobody; nor does one whose keyset nobody shows any more, such as of a worker in quarantine.
      for (const { verdict, reason, charged, view } of organic.filter(({ worker }) => worker === null)) {
        expect([charged, view?.digest === null, reason === 'view_unavailable' || reason === 'attestation_unavailable']).toEqual([
          null,
          verdict === 'inconclusive',
          true,
        ])
      }
      expect(verdict.checks.find(({ id }) => id === 'previous')?.detail).toMatch(epoch === 0 ? /first epoch/ : /epoch before was not given/)
    }
    // What was handed over was run again, token by token; its length is told as the view tells it.
    expect(replayed.length).toBeGreaterThanOrEqual(2)
    for (const { verdict, replay, output_tokens } of replayed)
      expect([verdict, replay]).toMatchObject([
        'pass',
        { level: 1, outcome: 'pass', tokens: { total: output_tokens, equal: output_tokens, near: null } },
      ])
    // The second epoch goes on from the state of the first, though it was under way before that was concluded.
    expect(published[1]?.[1].written.bundle.get('before.json')).toBe(published[0]?.[1].written.bundle.get('after.json'))
  }, 240_000)
})

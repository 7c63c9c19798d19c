// A network of real workers, honest and not, that sign what they should not sign, and of validators with an engine of their own that hand over to each other by HTTP.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { platformId } from 'veritee/admission'
import { createLocalBeacon, type LocalBeacon } from 'veritee/beacon'
import { type Json, jcsDigest, toHex } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import type { Policy } from 'veritee/policy'
import { emptyState, parseScoringPolicy, type Roster, type ScoringPolicy, signScoringPolicy } from 'veritee/scoring'
import { signDemoScoringPolicy } from '../../../src/demo/scoring-policy.ts'
import {
  type LoadedModel,
  loadModel,
  policyOf,
  type RunningWorker,
  type SimulatedMachine,
  simulateMachine,
  startWorker,
} from '../../../src/demo/system.ts'
import type { ServedModel } from '../../../src/enclave/worker/served-model.ts'
import type { Listening } from '../../../src/http/listen.ts'
import { resolveModel } from '../../../src/models/locate.ts'
import { openReplayModel, type ReplayModel, replayWith } from '../../../src/replay/index.ts'
import { type AuditContext, type Audited, auditProbe } from '../../../src/validator/audit/audit.ts'
import { openPath, type Path } from '../../../src/validator/audit/path.ts'
import type { ConfirmationDesk } from '../../../src/validator/confirm/accept.ts'
import { confirmingEpoch } from '../../../src/validator/confirm/confirming.ts'
import { listenForConfirmations } from '../../../src/validator/confirm/routes.ts'
import { localBeacon } from '../../../src/validator/epoch/beacon-source.ts'
import { type Concluded, concludeEpoch } from '../../../src/validator/epoch/conclude.ts'
import { type ConfirmingEpoch, type EpochRecords, runEpoch } from '../../../src/validator/epoch/run.ts'
import { InTurn } from '../../../src/validator/in-turn.ts'
import type { EpochStore } from '../../../src/validator/store/epoch-store.ts'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { requantize, withOtherTensor } from '../../replay/dequantize.ts'
import { passedOff, serveFile } from '../../replay/worker.ts'
import { fixedKey } from '../keys.ts'

export const length = 86_400
const salt = '5a'.repeat(32)

export interface NetworkWorker {
  readonly name: string
  /** Key, hex. */
  readonly operator: string
  readonly running: RunningWorker
}

export interface NetworkValidator {
  readonly key: SigningKey
  readonly name: string
  readonly store: EpochStore
  readonly desk: ConfirmationDesk
  readonly listening: Listening
}

export interface Network {
  readonly machine: SimulatedMachine
  readonly model: LoadedModel
  readonly replay: ReplayModel
  readonly evidencePolicy: Policy
  readonly text: string
  readonly policy: ScoringPolicy
  readonly roster: Roster
  readonly beacon: LocalBeacon
  readonly workers: readonly NetworkWorker[]
  readonly validators: readonly NetworkValidator[]
  /** Puts the clock of all of them forward, milliseconds. */
  forward(ms: number): void
  readonly now: () => Date
  close(): Promise<void>
}

/** Cuts all of the prompt but its end, and signs that it had all of it. */
function truncating(served: ServedModel): ServedModel {
  const generate: ServedModel['engine']['generate'] = ({ promptTokens, ...generation }) =>
    served.engine.generate({ ...generation, promptTokens: promptTokens.slice(-6) })
  const { engine } = served
  return {
    ...served,
    engine: { ...engine, facts: engine.facts, vocabulary: engine.vocabulary, load: engine.load, generate, dispose: () => engine.dispose() },
  }
}

export async function startNetwork(count: number): Promise<Network> {
  let ahead = 0
  const now = (): Date => new Date(Date.now() + ahead)
  const closing: (() => unknown)[] = []
  const folder = mkdtempSync(join(tmpdir(), 'veritee-confirm-'))
  closing.push(() => rmSync(folder, { recursive: true, force: true }))
  const machine = await simulateMachine(now)
  const { path } = await resolveModel('demo')
  const model = await loadModel(await resolveModel('demo'))
  closing.push(() => model.engine.dispose())
  const file = readFileSync(path)
  const other = async (name: string, bytes: Buffer): Promise<ServedModel> => {
    const place = join(folder, `${name}.gguf`)
    writeFileSync(place, bytes)
    const run = await serveFile(place)
    closing.push(() => run.engine.dispose())
    return passedOff(run, model.served)
  }
  const evidencePolicy = policyOf(machine, [model])
  // Promised, and kept by nobody: the policy of scoring names no log.
  const log = { origin: 'log.example/test', promiseSeconds: 600, keep: async () => undefined }
  const kinds: readonly (readonly [string, ServedModel])[] = [
    ['honest', model.served],
    ['other model', await other('other', withOtherTensor(file, 'blk.0.ffn_down.weight', 0x7f))],
    ['other quantisation', await other('coarse', requantize(file))],
    ['truncating', truncating(model.served)],
  ]
  const workers: NetworkWorker[] = []
  for (const [i, [name, served]] of kinds.entries()) {
    const operator = fixedKey(100 + i)
    const running = await startWorker(machine, [served], 0, now, undefined, { operator, log })
    closing.push(() => running.server.close())
    workers.push({ name, operator: toHex(operator.publicKey), running })
  }
  const replay = await openReplayModel(path, 2048)
  closing.push(() => replay.engine.dispose())

  const keys = Array.from({ length: count }, (_, i) => fixedKey(200 + i)).sort((a, b) => (toHex(a.publicKey) < toHex(b.publicKey) ? -1 : 1))
  const genesis = Math.floor(now().getTime() / 1000) - 5
  const beacon = await createLocalBeacon(new Uint8Array(32).fill(5), { period: 3, genesisTime: genesis - 3000 })
  const weights = await jcsDigest(model.served.described.files as unknown as Json)
  const of = { network: 'test', genesis, length, log: null, probability: '0.1', validator: '', weights, beacon: beacon.chain, signers: [] }
  const unsigned = JSON.parse(await signDemoScoringPolicy(of)) as object
  const listed = keys.map(({ publicKey }) => ({ key: toHex(publicKey), operator: null, weight: 1 }))
  const text = await signScoringPolicy(JSON.stringify({ ...unsigned, validators: listed }), keys[0] as SigningKey)
  const { policy } = await parseScoringPolicy(text)
  // All run on one machine here; it is nobody's.
  const { claims } = (await openPathTo(workers[0] as NetworkWorker)).connection.service.report
  const shared = [await platformId(salt, claims.platform)]
  const roster: Roster = { manifest: `sha256:${'00'.repeat(32)}`, salt, operators: workers.map(({ operator }) => operator).sort(), shared }
  const validators: NetworkValidator[] = []
  for (const [i, key] of keys.entries()) {
    const store = await openSqliteEpochStore(join(folder, `${i}.sqlite`))
    closing.push(() => store.close())
    const name = toHex(key.publicKey)
    // Drawn before the epoch began.
    await store.keep(0, 'seed', `${40 + i}`.repeat(32))
    const desk = { validator: name, policy, roster, evidence: { trust: machine.trust, policy: evidencePolicy }, store, now }
    const listening = await listenForConfirmations({ host: '127.0.0.1', port: 0, behindTls: false }, desk)
    if (listening === null) throw new TypeError('expected a listener')
    closing.push(() => listening.close())
    validators.push({ key, name, store, desk, listening })
  }
  return {
    ...{ machine, model, replay, evidencePolicy, text, policy, roster, beacon, workers, validators, now },
    forward: (ms) => {
      ahead += ms
    },
    close: async () => {
      for (const stop of closing.reverse()) await stop()
    },
  }

  function openPathTo({ running }: NetworkWorker): Promise<Path> {
    return openPath(running.server.url, { policy: evidencePolicy, trust: machine.trust, now, operators: [], encryptTo: 'none', apiKey: null })
  }
}

export interface Doing {
  /** What a validator writes of what it found. */
  readonly tell?: (audited: Audited, worker: NetworkWorker) => Audited
  readonly confirming?: (usual: ConfirmingEpoch) => ConfirmingEpoch
}

const turn = new InTurn()

/** One epoch of one validator: `probes` of each worker, asked directly. Waits with the end of the epoch for `handedOver`. */
export async function epochOf(
  network: Network,
  { key, name, store, listening }: NetworkValidator,
  probes: number,
  { tell = (one) => one, confirming = (one) => one }: Doing,
  handedOver: () => Promise<void>,
): Promise<EpochRecords> {
  const { machine, replay, evidencePolicy, policy, roster, beacon, workers, validators, now, model } = network
  const paths = await Promise.all(
    workers.map(({ running }) =>
      openPath(running.server.url, { policy: evidencePolicy, trust: machine.trust, now, operators: [], encryptTo: 'none', apiKey: null }),
    ),
  )
  const context: AuditContext = {
    network: 'test',
    salt,
    validator: name,
    epoch: 0,
    trust: machine.trust,
    now,
    clockMs: () => performance.now(),
    replay: async (record) => ({ report: await turn.run(() => replayWith(record, replay)), calibration: null }),
    findInLog: null,
    named: null,
    timeoutMs: 240_000,
  }
  const signal = new AbortController().signal
  const urls = validators.filter((one) => one.listening !== listening).map((one) => one.listening.url)
  const own = confirmingEpoch(
    {
      ...{ store, key, urls, policy, now, signal, salt: roster.salt },
      evidence: { trust: machine.trust, policy: evidencePolicy },
      replay: (record) => turn.run(() => replayWith(record, replay)),
      report: () => undefined,
    },
    0,
  )
  return runEpoch({
    epoch: 0,
    begins: policy.epoch.genesis,
    plan: { count: probes * workers.length, seconds: 1, maxTokens: 48, maxPrompt: 300, clients: 4, encrypted: { controller: 0, worker: 0 } },
    store,
    beacon: localBeacon(beacon, now),
    key,
    now,
    signal,
    canaries: async () => [],
    commit: async () => undefined,
    audit: async (probe) => {
      const at = probe.index % workers.length
      // Greedy: an answer follows from its prompt, in every run of this test.
      const greedy = { ...probe, options: { temperature: 0, max_tokens: 48 }, order: null, follows: null }
      return tell(await auditProbe(context, paths[at] as Path, model.served.name, greedy), workers[at] as NetworkWorker)
    },
    findFraud: async () => [],
    log: null,
    confirmations: confirming({
      ...own,
      handOver: async () => {
        await own.handOver()
        await handedOver()
      },
    }),
    parallel: 2,
    leaseMs: 600_000,
    report: () => undefined,
  })
}

/** The bundle that a validator signs alone. */
export async function bundleOf(
  { text, roster, evidencePolicy, machine, now }: Network,
  { key }: NetworkValidator,
  records: EpochRecords,
): Promise<Concluded> {
  const context = { trust: machine.trust, policy: evidencePolicy, at: now() }
  return concludeEpoch({ records, logged: { seed: null, records: null }, policy: text, roster, before: emptyState, context, key })
}

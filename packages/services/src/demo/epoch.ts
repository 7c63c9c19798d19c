import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLocalBeacon, type LocalBeacon } from 'veritee/beacon'
import { type Json, jcs, jcsDigest, toHex, utf8 } from 'veritee/bytes'
import { generateEd25519, type SigningKey } from 'veritee/crypto'
import { fail } from 'veritee/errors'
import { type ProvenFraud, parseFraudProof, verifyFraudProof } from 'veritee/fraud'
import type { AuditView } from 'veritee/log'
import type { Policy } from 'veritee/policy'
import {
  type EpochScores,
  type EpochVerdict,
  emptyState,
  parseAuditRecord,
  type VerifiedAuditRecord,
  verifyAuditRecord,
  verifyEpoch,
} from 'veritee/scoring'
import { type ReplayModel, replayWith } from '../replay/index.ts'
import { auditProbe } from '../validator/audit/audit.ts'
import { findFraud } from '../validator/audit/fraud.ts'
import { type EncryptTo, openPath, type Path } from '../validator/audit/path.ts'
import { type BeaconSource, localBeacon } from '../validator/epoch/beacon-source.ts'
import { accusedOf, concludeEpoch } from '../validator/epoch/conclude.ts'
import { commitToEpoch, type EpochRecords, runEpoch } from '../validator/epoch/run.ts'
import type { Probe } from '../validator/probes/probe.ts'
import { readBundle } from '../validator/publish/directory.ts'
import type { EpochStore } from '../validator/store/epoch-store.ts'
import { openSqliteEpochStore } from '../validator/store/sqlite-store.ts'
import type { DemoAdmission } from './admission.ts'
import type { FleetWorker } from './fleet.ts'
import type { DemoLog } from './log.ts'
import { keyOf, signDemoScoringPolicy } from './scoring-policy.ts'
import type { SimulatedMachine } from './system.ts'

/** The demo's validator: one epoch over the workers of several operators, from the commitment to the scores. */

/** Probes of the epoch: more where a worker has got none, since nobody is pinned (rule S20). More of one seed begin with the same ones. */
const probes = [10, 20, 40, 80]
const epoch = 0
/** Which probes are canaries hangs on how many there are, and that is not known yet. */
const noCanaries = async (): Promise<readonly []> => []

export interface DemoValidator {
  readonly key: SigningKey
  readonly store: EpochStore
  readonly beacon: LocalBeacon
  readonly source: BeaconSource
  /** When epoch 0 begins, Unix seconds. */
  readonly begins: number
  readonly commitment: string
}

/** Makes the validator and commits to its seed, before the epoch and before anybody knows its opening round. */
export async function startDemoValidator(now: () => Date, log: DemoLog, closing: (() => Promise<unknown>)[]): Promise<DemoValidator> {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-validator-'))
  closing.push(() => rm(directory, { recursive: true, force: true }))
  const store = await openSqliteEpochStore(join(directory, 'validator.sqlite'))
  closing.push(() => store.close())
  const key = await generateEd25519()
  const seconds = Math.floor(now().getTime() / 1000)
  const beacon = await createLocalBeacon(new Uint8Array(randomBytes(32)), { period: 1, genesisTime: seconds - 60 })
  const source = localBeacon(beacon, now)
  const begins = Math.floor(now().getTime() / 1000) + 2
  const { commitment } = await commitToEpoch({ store, epoch, begins, beacon: source, key, now, canaries: noCanaries })
  await log.append(utf8(jcs({ commitment, epoch, validator: keyOf(key) })))
  return { key, store, beacon, source, begins, commitment }
}

export interface DemoEpochSetting {
  readonly validator: DemoValidator
  readonly machine: SimulatedMachine
  readonly policy: Policy
  readonly admission: DemoAdmission
  /** The controller, and whose it is. */
  readonly controller: { readonly url: string; readonly operator: string }
  readonly log: DemoLog
  /** Writes the bundle somewhere; gives where. */
  readonly keep: (bundle: ReadonlyMap<string, string>) => Promise<string>
  readonly model: { readonly name: string; readonly files: Json }
  readonly replay: ReplayModel
  readonly fleet: readonly FleetWorker[]
  readonly now: () => Date
}

export interface DemoEpoch {
  readonly records: EpochRecords
  readonly verified: readonly VerifiedAuditRecord[]
  /** Each verified with the function that `veritee fraud verify` uses. */
  readonly frauds: readonly { readonly text: string; readonly proven: ProvenFraud }[]
  readonly scores: EpochScores
  /** Where the bundle lies. */
  readonly directory: string
  /** Of the bundle, read from there. */
  readonly verdict: EpochVerdict
}

/** Probes, audits, proofs and scores of epoch 0. Throws where an honest worker is convicted or the cheat is not: then the demo is wrong. */
export async function runDemoEpoch(setting: DemoEpochSetting): Promise<DemoEpoch> {
  const { validator, machine, policy, admission, controller, now } = setting
  const { key, store, source, begins } = validator
  const { network } = admission.anchors
  const salt = admission.salt
  const context = {
    network,
    salt,
    validator: keyOf(key),
    epoch,
    trust: machine.trust,
    now,
    clockMs: () => performance.now(),
    replay: serially(async (record: Parameters<typeof replayWith>[0]) => ({ report: await replayWith(record, setting.replay), calibration: null })),
    findInLog: (view: AuditView) => setting.log.find(view),
    timeoutMs: 30_000,
  }
  const open = new Map<EncryptTo, Promise<Path>>()
  const pathOf = ({ encryptTo }: Probe): Promise<Path> => {
    const path =
      open.get(encryptTo) ??
      openPath(controller.url, { policy, trust: machine.trust, now, operators: [controller.operator], encryptTo, apiKey: null })
    open.set(encryptTo, path)
    return path
  }
  const run = (count: number): Promise<EpochRecords> =>
    runEpoch({
      epoch,
      begins,
      plan: { count, perSecond: 30, maxTokens: 12, maxPrompt: 300, clients: 3, encrypted: { controller: 0.3, worker: 0.3 } },
      store,
      beacon: source,
      key,
      now,
      signal: AbortSignal.timeout(120_000),
      canaries: noCanaries,
      // It is in the log since the validator was started.
      commit: async () => undefined,
      audit: async (probe) => auditProbe(context, await pathOf(probe), setting.model.name, probe),
      findFraud: ({ evidence }, rivals) => findFraud(evidence, rivals, { trust: machine.trust, policy, at: now() }),
      parallel: 3,
      leaseMs: 60_000,
    })
  const records = await untilAllSeen(setting.fleet, run)
  for (const path of open.values()) (await path).connection.close()
  const verified = await Promise.all(records.records.map((text) => verifyAuditRecord(text)))
  const scoringPolicy = await signDemoScoringPolicy({
    network,
    genesis: begins,
    length: 3600,
    validator: keyOf(key),
    weights: await jcsDigest(setting.model.files),
    beacon: validator.beacon.chain,
    signers: admission.signers,
  })
  const roster = {
    manifest: admission.digest,
    salt,
    operators: setting.fleet.map(({ operator }) => keyOf(operator)).sort(),
    shared: admission.shared,
  }
  const proofs = { trust: machine.trust, policy }
  const { written, frauds } = await concludeEpoch({
    records,
    policy: scoringPolicy,
    roster,
    before: emptyState,
    context: { ...proofs, at: now() },
    key,
  })
  const directory = await setting.keep(written.bundle)
  const verdict = await verifyEpoch(readBundle(directory), {
    trust: admission.anchors,
    verifyProof: async (text, { salt: used, at }) => {
      const accused = await accusedOf(await verifyFraudProof(parseFraudProof(text), { ...proofs, at }), used)
      if (accused === null) throw fail('fraud_not_shown', 'the accused names no operator')
      return accused
    },
    roster,
    previous: null,
  })
  if (verdict.verdict !== 'verified')
    throw fail('epoch_mismatch', `the bundle of the epoch does not verify: ${verdict.first?.file ?? ''}: ${verdict.first?.message ?? ''}`)
  return { records, verified, frauds, scores: written.scores, directory, verdict }
}

async function untilAllSeen(fleet: readonly FleetWorker[], run: (count: number) => Promise<EpochRecords>): Promise<EpochRecords> {
  for (const count of probes) {
    const records = await run(count)
    const seen = new Set(records.records.map((text) => parseAuditRecord(text).worker?.operator))
    if (fleet.every(({ operator }) => seen.has(keyOf(operator)))) return records
  }
  throw fail('service_unavailable', `expected every worker to be asked within ${probes.at(-1)} probes`)
}

/** One at a time: an engine opened for replays has one sequence. */
function serially<A, R>(run: (argument: A) => Promise<R>): (argument: A) => Promise<R> {
  let last: Promise<unknown> = Promise.resolve()
  return (argument) => {
    const next = last.then(() => run(argument))
    last = next.catch(() => undefined)
    return next
  }
}

/** What the cheat runs is not what it announced, so a proof must name it; and none may name anybody else. */
export function judgeFleet(fleet: readonly FleetWorker[], { frauds }: Pick<DemoEpoch, 'frauds'>): string | null {
  const named = new Set(frauds.map(({ proven }) => proven.accused.operatorKey))
  for (const { name, operator, cheats } of fleet)
    if (named.has(toHex(operator.publicKey)) !== cheats) return `${name} ${cheats ? 'was not convicted' : 'was convicted'}`
  return null
}

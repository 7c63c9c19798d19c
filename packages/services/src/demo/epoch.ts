import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { closingRound, createLocalBeacon, type LocalBeacon, timeOfRound } from 'veritee/beacon'
import { type Json, jcsDigest, toHex } from 'veritee/bytes'
import { generateEd25519, type SigningKey } from 'veritee/crypto'
import { fail } from 'veritee/errors'
import { type ProvenFraud, parseFraudProof, verifyFraudProof } from 'veritee/fraud'
import { type LogTrust, parseLogTrust, verifyCheckpoint } from 'veritee/log'
import type { Policy } from 'veritee/policy'
import {
  type EpochScores,
  type EpochVerdict,
  emptyState,
  parseAuditRecord,
  parseScoringPolicy,
  type VerifiedAuditRecord,
  verifyAuditRecord,
  verifyEpoch,
} from 'veritee/scoring'
import { type ReplayModel, replayWith } from '../replay/index.ts'
import { auditProbe } from '../validator/audit/audit.ts'
import { findFraud } from '../validator/audit/fraud.ts'
import { openPath, type Path } from '../validator/audit/path.ts'
import { type BeaconSource, localBeacon } from '../validator/epoch/beacon-source.ts'
import { accusedOf, commitmentTo, concludeEpoch } from '../validator/epoch/conclude.ts'
import { commitToEpoch, type EpochOptions, type EpochRecords, probeEpoch, runEpoch } from '../validator/epoch/run.ts'
import { InTurn } from '../validator/in-turn.ts'
import { LogAccess } from '../validator/log/access.ts'
import { logCommitment } from '../validator/log/commitment.ts'
import { NamedReports } from '../validator/named-reports.ts'
import { loggedEpoch } from '../validator/organic/logged-epoch.ts'
import type { Probe } from '../validator/probes/probe.ts'
import { readBundle } from '../validator/publish/directory.ts'
import type { EpochStore } from '../validator/store/epoch-store.ts'
import { openSqliteEpochStore } from '../validator/store/sqlite-store.ts'
import type { DemoAdmission } from './admission.ts'
import type { DemoClock } from './clock.ts'
import type { FleetWorker } from './fleet.ts'
import type { DemoLog } from './log.ts'
import { keyOf, signDemoScoringPolicy } from './scoring-policy.ts'
import type { SimulatedMachine } from './system.ts'

/** The demo's validator: one epoch over the workers of several operators, from the commitment to the scores. */

/** Probes of the epoch: more where a worker has got none, since nobody is pinned (rule S20). Those that were asked stay. */
const probes = [10, 20, 40, 80, 160, 320]
/** Some encrypt their bodies to one worker and so ask no other: where all did, others would never be asked. */
const clients = 12
const epoch = 0
/** Which probes are canaries hangs on how many there are, and that is not known yet. */
const noCanaries = async (): Promise<readonly []> => []
const length = 3600
/** Tokens. */
const longestAnswer = 12
const giveUpMs = 120_000
/** Of leaves: all, since there are few. */
const probability = '1.0'

export interface DemoValidator {
  readonly key: SigningKey
  readonly store: EpochStore
  readonly beacon: LocalBeacon
  readonly source: BeaconSource
  readonly clock: DemoClock
  readonly access: LogAccess
  /** When epoch 0 begins, Unix seconds. */
  readonly begins: number
  readonly commitment: string
  /** That it is in the log: a tlog-proof. */
  readonly seedProof: string
}

/** Seconds until the epoch: the clock is put forward, so that nobody waits, and slow machines are in time. */
const lead = 60

/** Makes the validator and has its commitment to the seed logged, before the epoch and before anybody knows its opening round. */
export async function startDemoValidator(
  clock: DemoClock,
  network: string,
  log: DemoLog,
  closing: (() => Promise<unknown>)[],
): Promise<DemoValidator> {
  const { now } = clock
  const directory = await mkdtemp(join(tmpdir(), 'veritee-validator-'))
  closing.push(() => rm(directory, { recursive: true, force: true }))
  const store = await openSqliteEpochStore(join(directory, 'validator.sqlite'))
  closing.push(() => store.close())
  const key = await generateEd25519()
  const seconds = Math.floor(now().getTime() / 1000)
  const beacon = await createLocalBeacon(new Uint8Array(randomBytes(32)), { period: 1, genesisTime: seconds - 60 })
  const source = localBeacon(beacon, now)
  const begins = seconds + lead
  const { commitment } = await commitToEpoch({ store, epoch, begins, beacon: source, key, now, canaries: noCanaries })
  const access = new LogAccess(await parseLogTrust(log.policy), log.place)
  const of = { network, epoch, validator: keyOf(key), purpose: 'seed', commitment } as const
  const seedProof = await logCommitment(access, of, begins, { now, signal: AbortSignal.timeout(giveUpMs) })
  return { key, store, beacon, source, clock, access, begins, commitment, seedProof }
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
  /** What a user asks while the epoch is under way. */
  readonly organic: () => Promise<unknown>
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

/**
 * Probes, organic audits, proofs and scores of epoch 0, over the log from its opening to its closing checkpoint. Throws where an honest worker is convicted or the cheat is not: then the demo is wrong.
 */
export async function runDemoEpoch(setting: DemoEpochSetting): Promise<DemoEpoch> {
  const { validator, machine, policy, admission, log } = setting
  const { key, store, source, clock, access, begins } = validator
  const { now } = clock
  const { network } = admission.anchors
  const salt = admission.salt
  const scoringText = await signDemoScoringPolicy({
    network,
    genesis: begins,
    length,
    validator: keyOf(key),
    weights: await jcsDigest(setting.model.files),
    beacon: validator.beacon.chain,
    log: log.policy,
    probability,
    signers: admission.signers,
  })
  const proofs = { trust: machine.trust, policy }
  const { policy: scoring } = await parseScoringPolicy(scoringText)
  const signal = AbortSignal.timeout(giveUpMs)
  const { audit, close } = auditor(setting)
  const optionsOf = (count: number): EpochOptions => ({
    ...{ epoch, begins, store, beacon: source, key, now, signal },
    plan: { count, seconds: count / 30, maxTokens: longestAnswer, maxPrompt: 300, clients, encrypted: { controller: 0.3, worker: 0.3 } },
    canaries: noCanaries,
    // It is in the log since the validator was started.
    commit: async () => undefined,
    audit,
    findFraud: ({ evidence, record }, rivals) =>
      findFraud(evidence, rivals, { ...proofs, at: now() }, record.reason === 'log_omitted' ? access : null),
    log: loggedEpoch({
      access,
      seedProof: validator.seedProof,
      clock: { now, signal },
      policy: scoring,
      epoch,
      salt,
      validator: keyOf(key),
      evidence: proofs,
      store,
      controllers: [],
      contents: null,
      agreeing: null,
    }),
    confirmations: null,
    parallel: 3,
    leaseMs: 60_000,
    report: () => undefined,
  })
  clock.putForward(begins + 1)
  const options = await untilAllSeen(setting, optionsOf)
  await setting.organic()
  const records = await throughTheEnd(validator, options)
  await close()
  const verified = await Promise.all(records.records.map((text) => verifyAuditRecord(text)))
  const of = { network, epoch, validator: keyOf(key), purpose: 'records', commitment: await commitmentTo(records) } as const
  const logged = { seed: validator.seedProof, records: await logCommitment(access, of, begins + 2 * length, { now, signal }) }
  const roster = {
    manifest: admission.digest,
    salt,
    // What comes through a controller of nobody who takes part is not taken.
    operators: [...setting.fleet.map(({ operator }) => keyOf(operator)), setting.controller.operator].sort(),
    shared: admission.shared,
  }
  const context = { ...proofs, at: now() }
  const { written, frauds } = await concludeEpoch({ records, logged, policy: scoringText, roster, before: emptyState, context, key })
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
  const [missed] = verdict.missed
  if (verdict.verdict !== 'verified' || missed !== undefined)
    throw fail('epoch_mismatch', `the bundle of the epoch does not verify: ${missed?.detail ?? `${verdict.first?.file}: ${verdict.first?.message}`}`)
  return { records, verified, frauds, scores: written.scores, directory, verdict }
}

/** Audits through a connection for each way to encrypt, as clients of the network's users have them. */
function auditor({ validator, machine, policy, admission, controller, model, replay }: DemoEpochSetting): {
  readonly audit: EpochOptions['audit']
  readonly close: () => Promise<void>
} {
  const turn = new InTurn()
  const context = {
    network: admission.anchors.network,
    salt: admission.salt,
    validator: keyOf(validator.key),
    epoch,
    trust: machine.trust,
    now: validator.clock.now,
    clockMs: () => performance.now(),
    replay: (record: Parameters<typeof replayWith>[0]) => turn.run(async () => ({ report: await replayWith(record, replay), calibration: null })),
    findInLog: null,
    named: new NamedReports(validator.store, epoch),
    timeoutMs: 30_000,
  }
  const client = { policy, trust: machine.trust, now: () => new Date(), operators: [controller.operator], apiKey: null }
  const open = new Map<string, Promise<Path>>()
  const pathOf = ({ account, encryptTo }: Probe): Promise<Path> => {
    // Each that encrypts to a worker chooses one.
    const name = encryptTo === 'worker' ? `worker ${account}` : encryptTo
    const path = open.get(name) ?? openPath(controller.url, { ...client, encryptTo })
    open.set(name, path)
    return path
  }
  return {
    audit: async (probe) => auditProbe(context, await pathOf(probe), model.name, limited(probe)),
    close: async () => {
      for (const path of open.values()) (await path).connection.close()
    },
  }
}

/** Some users name no limit. Weights that were never trained come to no end by themselves, and so many tokens twice take longer than who watches a demo waits. */
function limited(probe: Probe): Probe {
  return { ...probe, options: { max_tokens: longestAnswer, ...probe.options } }
}

/** Probes until every worker has got one; gives the options with so many of them. */
async function untilAllSeen({ fleet, validator }: DemoEpochSetting, optionsOf: (count: number) => EpochOptions): Promise<EpochOptions> {
  let unseen: readonly string[] = []
  for (const count of probes) {
    const options = optionsOf(count)
    await probeEpoch(options)
    const records = await validator.store.records(epoch)
    const seen = new Set(records.map((text) => parseAuditRecord(text).worker?.operator))
    unseen = fleet.map(({ operator }) => keyOf(operator)).filter((operator) => !seen.has(operator))
    if (unseen.length === 0) return options
  }
  throw fail('service_unavailable', `expected every worker to answer within ${probes.at(-1)} probes, found none of operator ${unseen.join(', ')}`)
}

/** Closes the epoch. Nobody waits for its end, nor a minute more for the round that chooses what is audited: the clock is put forward to both. */
async function throughTheEnd({ clock, begins, store, beacon: { chain } }: DemoValidator, options: EpochOptions): Promise<EpochRecords> {
  clock.putForward(begins + length + 1)
  const ended = runEpoch(options)
  const passing = (async () => {
    let closes: string | null = null
    while (closes === null) {
      await sleep(20, undefined, { signal: options.signal })
      closes = await store.fact(epoch, 'log closes')
    }
    const { existedBy } = await verifyCheckpoint(closes, options.log?.access.trust as LogTrust)
    clock.putForward(timeOfRound(chain, closingRound(chain, existedBy)) + 1)
  })()
  return (await Promise.all([ended, passing]))[0]
}

/** What the cheat runs is not what it announced, so a proof must name it; and none may name anybody else. */
export function judgeFleet(fleet: readonly FleetWorker[], { frauds }: Pick<DemoEpoch, 'frauds'>): string | null {
  const named = new Set(frauds.map(({ proven }) => proven.accused.operatorKey))
  for (const { name, operator, cheats } of fleet)
    if (named.has(toHex(operator.publicKey)) !== cheats) return `${name} ${cheats ? 'was not convicted' : 'was convicted'}`
  return null
}

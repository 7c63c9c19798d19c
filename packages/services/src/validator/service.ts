import { setTimeout as sleep } from 'node:timers/promises'
import { toHex } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import { fail } from 'veritee/errors'
import type { FraudContext } from 'veritee/fraud'
import { eventOf, parseReceipt } from 'veritee/receipt'
import { emptyState, epochWindow, parseAuditRecord, parseState, type Roster, type ScoringPolicy } from 'veritee/scoring'
import { type ReplayModel, replayWith } from '../replay/index.ts'
import { type AuditContext, auditProbe, unreachable } from './audit/audit.ts'
import { findFraud } from './audit/fraud.ts'
import { calibrationFor, type NamedCalibration } from './calibrations.ts'
import { proofJudge } from './combine/judging.ts'
import { keepOutcome, markForSettling, settleOpenEpochs } from './combine/open-epochs.ts'
import type { Peers } from './combine/settle.ts'
import type { BeaconSource } from './epoch/beacon-source.ts'
import { type Concluded, concludeEpoch } from './epoch/conclude.ts'
import { keepForOpening, openDueCanaries } from './epoch/openings.ts'
import { commitToEpoch, runEpoch } from './epoch/run.ts'
import { accountsOf, Paths, targetsOf } from './paths.ts'
import { makeCanaries } from './probes/canaries.ts'
import type { Probe } from './probes/probe.ts'
import type { EpochStore } from './store/epoch-store.ts'

/** A validator that runs one epoch after the other. */
export interface ValidatorOptions {
  readonly key: SigningKey
  readonly store: EpochStore
  readonly beacon: BeaconSource
  /** The signed parameters of scoring, as a text and as verified. */
  readonly scoring: { readonly text: string; readonly policy: ScoringPolicy }
  readonly roster: Roster
  /** Whose evidence counts: the sections of the admission manifest. */
  readonly evidence: Omit<FraudContext, 'at'>
  /** Where it asks. Each is verified before every epoch, and again where its keys change. */
  readonly controllers: readonly { readonly url: string; readonly operator: string }[]
  /** URLs of workers that it asks directly, with nobody between. One that has never shown what it is is left out of an epoch. */
  readonly workers: readonly string[]
  /** Of ordinary accounts; none where the controllers ask for none. Asked before each epoch. */
  readonly apiKeys: () => Promise<readonly string[]>
  /** How many of them one epoch uses at most; see `accountsOf`. */
  readonly accountsPerEpoch: number
  /** Engines of its own, by the SHA-256 of a model's file (`sha256:` and hex), and the name under which the network serves it. */
  readonly models: ReadonlyMap<string, { readonly name: string; readonly replay: ReplayModel }>
  /** By which answers of other engines count at level 2; see `namedCalibrations`. */
  readonly calibrations: readonly NamedCalibration[]
  readonly probesPerEpoch: number
  /** Of the probes, how many are canaries, where there is time to make so many before an epoch. */
  readonly canariesPerEpoch: number
  /** The part of the clients that encrypts bodies to whom it asks, and that which does to a worker; see `ProbePlan`. */
  readonly encrypted: { readonly controller: number; readonly worker: number }
  /** The part of an epoch, from its beginning, in which probes are sent; what is left is for the last answers. */
  readonly probingPart: number
  readonly parallel: number
  readonly now: () => Date
  readonly clockMs: () => number
  readonly signal: AbortSignal
  readonly report: (line: string) => void
  /** Puts a bundle where others get it. */
  readonly publish: (epoch: number, concluded: Concluded) => Promise<void>
  /** Puts files into a bundle that was published, in this order, in the place of those that are there. */
  readonly publishAgain: (epoch: number, files: ReadonlyMap<string, string>) => Promise<void>
  /** Other validators, whose bundles are combined with this one's after each epoch; null where it goes on from its own alone. */
  readonly peers: Peers | null
}

const timeoutMs = 120_000
const maxPrompt = 2000
const maxTokens = 256
/** Clients at each target, where there are no accounts or fewer. */
const fewClients = 4

/**
 * Runs epochs until the signal, or until `epochs` of them are done: waits for the next one, commits before it begins, audits through it, concludes it and publishes.
 * What was begun before a crash is ended first. Throws `policy_invalid` for parameters that name a log: this version puts nothing into one.
 */
export async function runValidator(options: ValidatorOptions, epochs: number): Promise<void> {
  const { store, scoring, now, signal } = options
  if (scoring.policy.log !== 'any')
    throw fail('policy_invalid', 'expected parameters of scoring with log "any": this validator logs no commitments yet')
  if (options.models.size === 0) throw fail('usage', 'expected the weights of a model at least: answers that cannot be run again are never passes')
  await settleOpen(options)
  for (let done = 0; done < epochs; done++) {
    const epoch = await nextEpoch(options)
    const { opens, closes } = epochWindow(scoring.policy, epoch)
    const accounts = await accountsOf(store, epoch, await options.apiKeys(), options.accountsPerEpoch)
    if (accounts === null) {
      options.report(`epoch ${epoch}: left out: every account has served in an epoch before, and may be known for this validator's`)
      while (now().getTime() < opens * 1000) await sleep(Math.min(1000, opens * 1000 - now().getTime()), undefined, { signal })
      continue
    }
    const canaries = (secret: Uint8Array) => canariesBefore(options, opens, secret)
    const { commitment } = await commitToEpoch({ ...options, epoch, begins: opens, canaries })
    options.report(`epoch ${epoch}: begins ${new Date(opens * 1000).toISOString()}, committed to ${commitment}`)
    const targets = await targetsOf(options, epoch)
    const paths = new Paths({ ...options, apiKeys: accounts }, targets)
    try {
      const records = await runEpoch({
        ...options,
        epoch,
        begins: opens,
        plan: {
          count: options.probesPerEpoch,
          perSecond: options.probesPerEpoch / (options.probingPart * (closes - opens)),
          maxTokens,
          maxPrompt,
          clients: targets.length * Math.max(accounts.length, fewClients),
          encrypted: options.encrypted,
        },
        canaries,
        commit: async () => undefined,
        audit: (probe) => auditOne(options, paths, epoch, probe),
        findFraud: ({ evidence }, rivals) => findFraud(evidence, rivals, { ...options.evidence, at: now() }),
        leaseMs: 2 * timeoutMs,
      })
      // Scores take no record from after the epoch, and a commitment to some of the records is none.
      if (records.records.some((text) => parseAuditRecord(text).at >= closes)) {
        options.report(`epoch ${epoch}: ended before all of its audits; nothing is published`)
        continue
      }
      // What was committed to is opened after the epoch, not in it.
      while (now().getTime() < closes * 1000) await sleep(Math.min(1000, closes * 1000 - now().getTime()), undefined, { signal })
      const before = await store.fact(epoch - 1, 'after')
      const concluded = await concludeEpoch({
        records,
        policy: scoring.text,
        roster: options.roster,
        before: before === null ? emptyState : parseState(before, scoring.policy.network),
        context: { ...options.evidence, at: now() },
        key: options.key,
      })
      await options.publish(epoch, concluded)
      await keepForOpening(store, epoch, concluded)
      if (options.peers === null) await keepOutcome(store, epoch, concluded.written.bundle)
      // Kept first: a process that is killed while it waits for others goes on with that.
      else await markForSettling(store, epoch)
      options.report(`epoch ${epoch}: ${records.records.length} records, ${concluded.frauds.length} fraud proofs, published`)
      await settleOpen(options)
      await openDueCanaries(options)
    } finally {
      paths.close()
    }
    signal.throwIfAborted()
  }
}

async function settleOpen({ store, scoring, roster, evidence, peers, ...rest }: ValidatorOptions): Promise<void> {
  if (peers === null) return
  // The policy's signatures were verified at the start; a bundle with another policy is left out.
  const context = { trust: null, roster, verifyProof: proofJudge(evidence) }
  const closesOf = (epoch: number): number => epochWindow(scoring.policy, epoch).closes
  await settleOpenEpochs(store, closesOf, { ...rest, context }, peers)
}

/** Those that can be made before an epoch begins; a moment is left for the commitment. */
async function canariesBefore({ models, canariesPerEpoch, now, signal }: ValidatorOptions, opens: number, secret: Uint8Array) {
  const leftMs = opens * 1000 - now().getTime() - 1000
  if (leftMs <= 0 || canariesPerEpoch === 0) return []
  const time = AbortSignal.any([signal, AbortSignal.timeout(Math.min(leftMs, 2 ** 31 - 1))])
  return makeCanaries({ secret, count: canariesPerEpoch, models: [...models.values()], maxTokens, maxPrompt, signal: time })
}

/** The one that was begun and has not ended, else the next that has not opened yet; a moment is left for the commitment. */
async function nextEpoch({ store, scoring: { policy }, now }: ValidatorOptions): Promise<number> {
  const seconds = now().getTime() / 1000
  for (const begun of await store.epochs())
    if ((await store.fact(begun, 'seed')) !== null && (await store.fact(begun, 'after')) === null && seconds < epochWindow(policy, begun).closes)
      return begun
  return Math.max(0, Math.ceil((seconds + 1 - policy.epoch.genesis) / policy.epoch.length))
}

/** One of the controllers, drawn anew for each probe: a worker that fails behind two of them fails itself (rule S19). */
async function auditOne(options: ValidatorOptions, paths: Paths, epoch: number, probe: Probe) {
  const { scoring, roster, evidence, now, clockMs, models } = options
  const context: AuditContext = {
    network: scoring.policy.network,
    salt: roster.salt,
    validator: toHex(options.key.publicKey),
    epoch,
    trust: evidence.trust,
    now,
    clockMs,
    replay: async (record, { files }) => {
      const model = files.map(({ sha256 }) => sha256).join()
      const own = models.get(model)
      const there = eventOf(parseReceipt(record.receipt), 'veritee.inference')?.engine
      if (own === undefined || there === undefined) return null
      const named = calibrationFor(options.calibrations, { model, there, here: own.replay.facts })
      const report = await paths.alone(() => replayWith(record, own.replay, named?.calibration ?? null))
      return { report, calibration: named?.digest ?? null }
    },
    findInLog: null,
    timeoutMs,
  }
  const names = [...models.values()].map(({ name }) => name)
  const model = probe.canary?.model ?? names[probe.index % names.length] ?? ''
  const path = await paths.of(probe)
  return 'code' in path ? unreachable(context, path.silent, probe, path.code) : auditProbe(context, path, model, probe)
}

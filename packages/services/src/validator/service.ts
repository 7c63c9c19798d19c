import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { timeOfRound } from 'veritee/beacon'
import { toHex } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import { fail, VeriteeError } from 'veritee/errors'
import type { FraudContext } from 'veritee/fraud'
import { parseLogTrust } from 'veritee/log'
import { eventOf, parseReceipt } from 'veritee/receipt'
import { emptyState, epochWindow, parseAuditRecord, parseState, type Roster, type ScoringPolicy } from 'veritee/scoring'
import { type AuditContext, auditProbe, sendProbe, unjudged, unreachable } from './audit/audit.ts'
import { findFraud } from './audit/fraud.ts'
import { inTime } from './audit/in-time.ts'
import { namingOperators } from './audit/naming.ts'
import { calibrationFor, type NamedCalibration } from './calibrations.ts'
import { Clients } from './clients.ts'
import { proofJudge } from './combine/judging.ts'
import { keepOutcome, markForSettling, settleOpenEpochs, shownFrom, stateBefore } from './combine/open-epochs.ts'
import type { Peers } from './combine/settle.ts'
import { type ConfirmingOptions, confirmingEpoch } from './confirm/confirming.ts'
import { pruneRequests } from './confirm/queue.ts'
import type { HeldContents } from './content/held.ts'
import type { BeaconSource } from './epoch/beacon-source.ts'
import { type Concluded, commitmentTo, concludeEpoch } from './epoch/conclude.ts'
import type { LoggedEpoch } from './epoch/logged.ts'
import { keepForOpening, openDueCanaries } from './epoch/openings.ts'
import { type ConfirmingEpoch, commitToEpoch, type EpochRecords, endsAll, runEpoch } from './epoch/run.ts'
import { InTurn } from './in-turn.ts'
import { LogAccess, type LogPlace } from './log/access.ts'
import { logCommitment } from './log/commitment.ts'
import { NamedReports } from './named-reports.ts'
import { keepGlimpses, shapeOf } from './organic/glimpses.ts'
import { loggedEpoch } from './organic/logged-epoch.ts'
import { Reports } from './organic/reports.ts'
import { accountsAhead, accountsOf, Paths, type Target, targetsOf } from './paths.ts'
import { makeCanaries } from './probes/canaries.ts'
import { goneOn, inConversation } from './probes/conversation.ts'
import type { Probe, ProbePlan } from './probes/probe.ts'
import type { Traffic } from './probes/traffic.ts'
import { nameOf, type OwnEngines, type OwnModels, runAgain } from './replays.ts'
import type { EpochStore } from './store/epoch-store.ts'
import { personsOf, personsSecret, type Warming, warmUp } from './warming.ts'

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
  /** Whether controllers are asked with access tokens, which those accounts only pay for. Default: with the accounts themselves. */
  readonly accessTokens?: boolean
  /** How many of them one epoch uses at most; see `accountsOf`. */
  readonly accountsPerEpoch: number
  /** For how many epochs before its own an account asks without being audited; see `warmUp`. Needs keys. */
  readonly warmEpochs: number
  readonly models: OwnModels
  /** By which answers of other engines count at level 2; see `namedCalibrations`. */
  readonly calibrations: readonly NamedCalibration[]
  /** Where the log of the scoring policy is; null exactly where it names none. */
  readonly log: LogPlace | null
  /** What requesters hand over to be run again; null where nothing is taken. */
  readonly contents: HeldContents | null
  readonly probesPerEpoch: number
  /** What probes ask; null: the templates of this repository. */
  readonly templates: readonly string[] | null
  /** A recording after which probes are shaped; null: after what the log shows, where there is one, and what is believed beforehand. */
  readonly traffic: Traffic | null
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
  /** Where other validators take mismatches at level 1 for confirmation; null where neither they nor this one do. What they hand over is in the store (`acceptRequest`). */
  readonly confirmers: readonly string[] | null
}

/** What epochs that overlap share. */
interface Running extends ValidatorOptions, Pick<OwnEngines, 'turn' | 'processId'> {
  readonly access: LogAccess | null
  readonly clients: Clients
}

const timeoutMs = 120_000
/** Characters. */
const maxPrompt = 8000
/** For which validators show each other the checkpoints that they took: within it, their clocks may differ, and the log may be slow. */
const agreeSeconds = 20
/** Most answers end by themselves before that. */
const maxTokens = 1024
/** Clients at each target, where there are no accounts or fewer. */
const fewClients = 4
/** How long before an epoch a validator commits to it, at most. */
const leadSeconds = 300
/** The round that chooses organic audits comes a minute after the end of an epoch, and the commitment to its records is due before that of the next. */
const minLoggedLength = 240

/**
 * Runs epochs until the signal, or until `epochs` of them are done: commits to each before it begins, audits through it, and concludes and publishes it when it is over, while the next one is under way. Under a
 * policy with a log, both commitments are logged in time, and organic receipts audited (rule S16). What was begun before a crash goes on. An epoch that cannot be done as it must is left out, and the reason kept.
 *
 * Throws `usage` without weights, and for a policy with a log without a place of it or the other way round; `policy_invalid` for epochs too short for a log; what the store throws.
 */
export async function runValidator(options: ValidatorOptions, epochs: number): Promise<void> {
  const access = await accessOf(options)
  if (options.models.size === 0) throw fail('usage', 'expected the weights of a model at least: answers that cannot be run again are never passes')
  await settleOpen(options)
  const failed = new AbortController()
  const all: Running = {
    ...options,
    access,
    turn: new InTurn(),
    processId: randomUUID(),
    clients: new Clients(options.now),
    signal: AbortSignal.any([options.signal, failed.signal]),
  }
  const running = new Set<Promise<void>>()
  // Scores follow from those of the epoch before.
  let before = Promise.resolve()
  try {
    for (let done = 0, last = -1; done < epochs; done++) {
      last = await nextEpoch(all, last)
      const { opens } = epochWindow(all.scoring.policy, last)
      await until(all, opens - Math.min(leadSeconds, all.scoring.policy.epoch.length / 2))
      const task = oneEpoch(all, last, before)
      before = task
      running.add(task)
      task.catch((error: unknown) => failed.abort(error)).finally(() => running.delete(task))
    }
    await Promise.all(running)
    all.signal.throwIfAborted()
  } catch (error) {
    failed.abort(error)
    await Promise.allSettled(running)
    // The first that failed is why the others were ended.
    throw failed.signal.reason
  } finally {
    all.clients.close()
  }
}

/** The log of the policy, going on from what the last epochs rest on; null where the policy names none. */
async function accessOf({ scoring: { policy }, log, store }: ValidatorOptions): Promise<LogAccess | null> {
  if (policy.log === 'any') {
    if (log !== null) throw fail('usage', 'expected no log: the parameters of scoring name none')
    return null
  }
  if (log === null) throw fail('usage', `expected where the log ${policy.log.origin} is, which the parameters of scoring name`)
  if (policy.epoch.length < minLoggedLength)
    throw fail('policy_invalid', `expected epochs of ${minLoggedLength} seconds at least, since the parameters of scoring name a log`)
  const access = new LogAccess(await parseLogTrust(policy.log), log)
  for (const epoch of (await store.epochs()).slice(-3))
    for (const name of ['log opens', 'log closes']) {
      const note = await store.fact(epoch, name)
      if (note !== null) await access.resume(note)
    }
  return access
}

/** Steps of a second: a clock may be set while this waits. */
async function until({ now, signal }: ValidatorOptions, unixSeconds: number): Promise<void> {
  for (let early = 1; early > 0; ) {
    early = unixSeconds * 1000 - now().getTime()
    if (early > 0) await sleep(Math.min(early, 1000), undefined, { signal })
  }
}

async function settleOpen({ store, scoring, roster, evidence, peers, ...rest }: ValidatorOptions): Promise<void> {
  if (peers === null) return
  // The policy's signatures were verified at the start; a bundle with another policy is left out.
  const context = { trust: null, roster, verifyProof: proofJudge(evidence) }
  // Under a policy with a log, nobody publishes before all have committed to their records.
  await settleOpenEpochs(store, scoring.policy, { ...rest, context }, peers)
}

/** A quarter of the smallest context at most: what does not fit is refused, and whoever refuses it would be charged with that. */
function longestAnswer({ models }: Pick<ValidatorOptions, 'models'>): number {
  return Math.min(maxTokens, ...[...models.values()].map(({ replay }) => Math.floor(replay.engine.facts.contextSize / 4)))
}

/** Characters that fit into the smallest context beside the longest answer: a token is one at least, and a template has some of its own. */
function longestPrompt({ models }: Pick<ValidatorOptions, 'models'>): number {
  const contexts = [...models.values()].map(({ replay }) => replay.engine.facts.contextSize)
  return Math.min(maxPrompt, ...contexts.map((size) => Math.max(256, Math.floor(size / 2))))
}

/** Those that can be made before an epoch begins; a moment is left for the commitment. */
async function canariesBefore(
  { models, templates, canariesPerEpoch, log, turn, now, signal }: Running,
  opens: number,
  secret: Uint8Array,
  shape: Pick<ProbePlan, 'traffic' | 'glimpses'>,
) {
  // A log takes a while to have a commitment witnessed.
  const leftMs = (opens * 1000 - now().getTime()) / (log === null ? 1 : 2) - 1000
  if (leftMs <= 0 || canariesPerEpoch === 0) return []
  const time = AbortSignal.any([signal, AbortSignal.timeout(Math.min(leftMs, 2 ** 31 - 1))])
  return makeCanaries({
    secret,
    count: canariesPerEpoch,
    models: [...models.values()],
    maxTokens: longestAnswer({ models }),
    ...(templates === null ? {} : { templates }),
    ...shape,
    maxPrompt: longestPrompt({ models }),
    turn,
    signal: time,
  })
}

/** One that was begun, can still be ended and is not yet under way, else the next that has not opened; a moment is left for the commitment. */
async function nextEpoch({ store, scoring: { policy }, now }: ValidatorOptions, last: number): Promise<number> {
  const seconds = now().getTime() / 1000
  const { genesis, length } = policy.epoch
  // One whose records are complete may wait that long for being published.
  const begun = (await store.epochs()).filter((epoch) => epoch > last && seconds < epochWindow(policy, epoch).closes + 2 * length)
  for (const epoch of begun) {
    const ended = (await store.fact(epoch, 'after')) ?? (await store.fact(epoch, 'left out'))
    if (ended === null && (await store.fact(epoch, 'seed')) !== null) return epoch
  }
  return Math.max(0, last + 1, Math.ceil((seconds + 1 - genesis) / length))
}

async function oneEpoch(options: Running, epoch: number, before: Promise<void>): Promise<void> {
  try {
    await auditedEpoch(options, epoch, before)
  } catch (error) {
    if (!(error instanceof VeriteeError) || !leavesOut(error)) throw error
    const contradiction = options.access?.contradiction ?? null
    if (contradiction !== null) await options.store.keep(epoch, 'log fork', contradiction)
    await leaveOut(options, epoch, `${error.code}: ${error.message}`)
  }
}

async function leaveOut({ store, report }: ValidatorOptions, epoch: number, why: string): Promise<void> {
  await store.keep(epoch, 'left out', why)
  report(`epoch ${epoch}: left out: ${why}`)
}

/** What ends an epoch and not the validator: it came too late, or the log did not show what it must. */
function leavesOut({ code }: VeriteeError): boolean {
  return code === 'epoch_late' || code.startsWith('service_') || /^(?:log|tlog|note|checkpoint|tile|epoch_log|response)_/.test(code)
}

async function auditedEpoch(options: Running, epoch: number, before: Promise<void>): Promise<void> {
  const { store, scoring, access, now, report } = options
  const { opens, closes } = epochWindow(scoring.policy, epoch)
  await pruneRequests(store, epoch)
  const accounts = await accountsOf(store, epoch, await options.apiKeys(), options.accountsPerEpoch)
  if (accounts === null) return leaveOut(options, epoch, "every account has served in an epoch before, and may be known for this validator's")
  const shape = await shapeOf(store, epoch, options.traffic)
  if (shape === null) return leaveOut(options, epoch, 'it was begun with another recording than that of --traffic')
  const canaries = (secret: Uint8Array) => canariesBefore(options, opens, secret, shape)
  const { commitment, number } = await commitToEpoch({ ...options, epoch, begins: opens, canaries })
  const seedProof = await logged(options, { epoch, purpose: 'seed', commitment }, timeOfRound(options.beacon.chain, number))
  report(`epoch ${epoch}: begins ${new Date(opens * 1000).toISOString()}, committed to ${commitment}`)
  const targets = await targetsOf(options, epoch)
  const paths = new Paths({ ...options, apiKeys: accounts, epoch }, targets)
  const clients = targets.length * Math.max(accounts.length, fewClients)
  const secret = await personsSecret(options.key)
  const plan = {
    count: options.probesPerEpoch,
    seconds: options.probingPart * (closes - opens),
    maxTokens: longestAnswer(options),
    ...(options.templates === null ? {} : { templates: options.templates }),
    ...shape,
    maxPrompt: longestPrompt(options),
    encrypted: options.encrypted,
  }
  const warm = await warming(options, { epoch, begins: opens, plan, epochDays: (closes - opens) / 86_400, secret, targets, clients })
  const named = new NamedReports(store, epoch)
  let records: EpochRecords
  try {
    records = await runEpoch({
      ...options,
      epoch,
      begins: opens,
      plan: {
        ...plan,
        clients,
        // Without keys nobody can tell an account, and each epoch has others.
        ...(accounts.length === 0
          ? {}
          : { persons: { secret, ...personsOf(accounts, targets.length, clients) }, part: { index: 0, of: options.warmEpochs + 1 } }),
      },
      canaries,
      // It went out above.
      commit: async () => undefined,
      audit: inConversation(store, epoch, (probe) => inTime(closes, now, () => auditOne(options, paths, named, epoch, probe))),
      findFraud: async ({ evidence, record }, rivals) => {
        const known = record.keyset === null ? null : await named.of(record.keyset)
        const omittedFrom = record.reason === 'log_omitted' ? options.access : null
        return findFraud(evidence, rivals, { ...options.evidence, at: now() }, omittedFrom, known === null ? [] : [known])
      },
      log: access === null || seedProof === null ? null : logOf(options, access, epoch, seedProof),
      confirmations: confirmationsOf(options, epoch),
      leaseMs: 2 * timeoutMs,
    })
  } finally {
    await warm.end()
  }
  if (access !== null && records.log !== null && options.traffic === null) await keepGlimpses(store, epoch, access, records.log, records.records)
  // Scores take no record from after the epoch, and a commitment to some of the records is none.
  if (records.records.some((text) => parseAuditRecord(text).at >= closes))
    throw fail('epoch_late', 'the epoch ended before all of its audits; nothing is published')
  // What was committed to is opened after the epoch, not in it, and when all have committed to their records or can no longer.
  await until(options, closes)
  const recordsProof = await loggedOrLate(options, { epoch, purpose: 'records', commitment: await commitmentTo(records) })
  await until(options, shownFrom(scoring.policy, epoch))
  await before
  // As whoever verifies the bundle judges its proofs.
  const context = { ...options.evidence, at: new Date(closes * 1000) }
  const urls = options.controllers.map(({ url }) => url)
  const previous = await stateBefore(store, epoch)
  const proofs = await namingOperators({ ...options, epoch, context, reports: new Reports(store, named, urls) }, records.proofs)
  for (const digest of records.proofs.keys()) if (!proofs.has(digest)) report(`epoch ${epoch}: a fraud proof no longer holds: ${digest}`)
  const concluded = await concludeEpoch({
    records: { ...records, proofs },
    logged: { seed: seedProof, records: recordsProof },
    policy: scoring.text,
    roster: options.roster,
    before: previous === null ? emptyState : parseState(previous, scoring.policy.network),
    context,
    key: options.key,
  })
  await options.publish(epoch, concluded)
  await keepForOpening(store, epoch, concluded)
  if (options.peers === null) await keepOutcome(store, epoch, concluded.written.bundle)
  // Kept first: a process that is killed while it waits for others goes on with that.
  else await markForSettling(store, epoch)
  // Of the others there is nothing in it yet.
  const missed = concluded.written.missed.get(toHex(options.key.publicKey))
  if (missed !== undefined) report(`epoch ${epoch}: a duty was not done: ${missed.duty}: ${missed.detail}`)
  report(`epoch ${epoch}: ${records.records.length} records, ${concluded.frauds.length} fraud proofs, published`)
  await settleOpen(options)
  await openDueCanaries(options)
}

/** Lets the accounts of the next epochs ask as anybody, until it is ended. Throws at its end what ended it before. */
async function warming(
  options: Running,
  {
    targets,
    clients,
    ...of
  }: Pick<Warming, 'epoch' | 'begins' | 'plan' | 'epochDays' | 'secret'> & { readonly targets: readonly Target[]; readonly clients: number },
): Promise<{ readonly end: () => Promise<void> }> {
  const { store, models, now, clockMs, accountsPerEpoch, warmEpochs } = options
  const ahead = warmEpochs === 0 ? [] : await accountsAhead(store, await options.apiKeys(), accountsPerEpoch, warmEpochs)
  const paths = ahead.map((apiKeys, i) => new Paths({ ...options, apiKeys, epoch: of.epoch + 1 + i }, targets))
  const names = [...models.values()].map(({ name }) => name)
  const stop = new AbortController()
  const send: Warming['send'] = async (generation, planned, earlier) => {
    const probe = goneOn(planned, earlier)
    const path = await paths[generation]?.of(probe)
    if (path === undefined || 'code' in path) return null
    const { exchanged } = await sendProbe(path, names[probe.model % names.length] ?? '', probe, { clockMs, timeoutMs })
    const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
    const { request, answer } = exchanged
    return answer === null ? null : { request: text(request), response: text(answer.body), contentType: answer.contentType }
  }
  const generations = ahead.map((keys) => personsOf(keys, targets.length, clients))
  const running = warmUp({ ...of, store, generations, parts: warmEpochs + 1, send, now, signal: AbortSignal.any([options.signal, stop.signal]) })
  // Looked at when it is ended.
  running.catch(() => undefined)
  const end = async (): Promise<void> => {
    stop.abort()
    await running.catch((error: unknown) => {
      if (error !== stop.signal.reason) throw error
    })
  }
  return { end }
}

type Commitment = { readonly epoch: number; readonly purpose: 'seed' | 'records'; readonly commitment: string }

/** The proof that a commitment was in the log before a time; the one from before a crash, where there is one. Null without a log. Throws `epoch_late`. */
async function logged(options: Running, of: Commitment, by: number): Promise<string | null> {
  const { access, store, scoring, key } = options
  if (access === null) return null
  const kept = await store.fact(of.epoch, `${of.purpose} proof`)
  if (kept !== null) return kept
  const proof = await logCommitment(access, { network: scoring.policy.network, validator: toHex(key.publicKey), ...of }, by, options)
  return store.keep(of.epoch, `${of.purpose} proof`, proof)
}

/** Records that were not committed to in time are published all the same, and count for nothing: so it is seen. */
async function loggedOrLate(options: Running, of: Commitment): Promise<string | null> {
  try {
    return await logged(options, of, epochWindow(options.scoring.policy, of.epoch + 1).closes)
  } catch (error) {
    if (error instanceof VeriteeError && error.code === 'epoch_late') return null
    throw error
  }
}

function logOf(options: Running, access: LogAccess, epoch: number, seedProof: string): LoggedEpoch {
  const { scoring, roster, evidence, key, store, controllers, contents, peers, beacon, now, signal, report } = options
  // As long as receipts of own traffic are looked for: then there is time for the rest.
  const isOver = (): boolean => now().getTime() / 1000 >= epochWindow(scoring.policy, epoch).closes + scoring.policy.epoch.length / 2
  return loggedEpoch({
    access,
    seedProof,
    clock: options,
    policy: scoring.policy,
    epoch,
    salt: roster.salt,
    validator: toHex(key.publicKey),
    evidence,
    store,
    controllers: controllers.map(({ url }) => url),
    contents: contents === null ? null : { held: contents, replay: replayerOf(options, epoch), isOver },
    agreeing:
      peers === null
        ? null
        : { access, peers, chain: beacon.chain, now, signal, report, pause: (from) => until(options, from.getTime() / 1000 + agreeSeconds) },
  })
}

/** Runs answers again, with the weights that the receipt names and the calibration for its engine. */
function replayerOf(options: Running, epoch: number): NonNullable<AuditContext['replay']> {
  return async (record, { files }) => {
    const model = files.map(({ sha256 }) => sha256).join()
    const own = options.models.get(model)
    const there = eventOf(parseReceipt(record.receipt), 'veritee.inference')?.engine
    if (own === undefined || there === undefined) return null
    const named = calibrationFor(options.calibrations, { model, there, here: own.replay.facts })
    const report = await runAgain(options, epoch, record, model, named?.calibration ?? null)
    return report === null ? null : { report, calibration: named?.digest ?? null }
  }
}

function confirmationsOf(options: Running, epoch: number): ConfirmingEpoch | null {
  const { confirmers: urls, scoring, roster } = options
  if (urls === null || scoring.policy.confirmations === 0) return null
  const replay: ConfirmingOptions['replay'] = (record, { files }) => runAgain(options, epoch, record, files.map(({ sha256 }) => sha256).join(), null)
  return confirmingEpoch({ ...options, urls, policy: scoring.policy, salt: roster.salt, replay }, epoch)
}

/** One of the controllers, drawn anew for each probe: a worker that fails behind two of them fails itself (rule S19). */
async function auditOne(options: Running, paths: Paths, named: NamedReports, epoch: number, probe: Probe) {
  const { scoring, roster, evidence, now, clockMs, models } = options
  const context: AuditContext = {
    network: scoring.policy.network,
    salt: roster.salt,
    validator: toHex(options.key.publicKey),
    epoch,
    trust: evidence.trust,
    now,
    clockMs,
    replay: replayerOf(options, epoch),
    findInLog: null,
    named,
    timeoutMs,
  }
  const names = [...models.values()].map(({ name }) => name)
  const model = probe.canary?.model ?? names[probe.model % names.length] ?? ''
  const path = await paths.of(probe)
  if ('code' in path) return unreachable(context, path.silent, probe, path.code)
  try {
    return await auditProbe(context, path, model, probe)
  } catch (error) {
    if (endsAll(options.signal, error)) throw error
    options.report(`epoch ${epoch}: audit ${probe.index} came to no end: ${nameOf(error)}`)
    return unjudged(context, path, probe)
  }
}

import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BeaconRound, openingRound, probeSeed, seedCommitment, timeOfRound } from 'veritee/beacon'
import { fromHex, toHex } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import { fail, VeriteeError } from 'veritee/errors'
import { type Canaries, type CanaryOpening, canaryCommitment, seedOfCanaries, signAuditRecord } from 'veritee/scoring'
import type { Audited } from '../audit/audit.ts'
import { type FoundFraud, seenReceiptOf } from '../audit/fraud.ts'
import { undecided } from '../audit/undecided.ts'
import { type ConfirmTask, confirmationTasks, forgetRequests, requestOf } from '../confirm/queue.ts'
import type { EpochRange } from '../log/range.ts'
import { settle } from '../log/settle.ts'
import { placeCanaries } from '../probes/canaries.ts'
import { type Probe, type ProbePlan, planProbes } from '../probes/probe.ts'
import { nameOf } from '../replays.ts'
import type { EpochStore, Job, SeenReceipt, Taken } from '../store/epoch-store.ts'
import type { BeaconSource } from './beacon-source.ts'
import { keptRound } from './kept-round.ts'
import { awaitClose, closeLog, type LoggedEpoch, type OrganicTask, openLog } from './logged.ts'

export interface EpochOptions {
  readonly epoch: number
  /** Unix seconds. */
  readonly begins: number
  readonly plan: Omit<ProbePlan, 'seed'>
  readonly store: EpochStore
  readonly beacon: BeaconSource
  readonly key: SigningKey
  readonly now: () => Date
  readonly signal: AbortSignal
  /** Makes the canaries of the epoch by a secret of theirs, before it begins; none where it gives none. Asked once for an epoch. */
  readonly canaries: (secret: Uint8Array) => Promise<readonly CanaryOpening[]>
  /** Publishes the commitment, before the epoch opens. Called again after a crash, with the same one. */
  readonly commit: (commitment: string) => Promise<void>
  /** Makes one audit. */
  readonly audit: (probe: Probe) => Promise<Audited>
  /** What the audit's receipts prove, alone and with others of their keyset. */
  readonly findFraud: (audited: Audited, rivals: readonly SeenReceipt[]) => Promise<readonly FoundFraud[]>
  /** Audits at a time, of this process. */
  readonly parallel: number
  /** That of the scoring policy; null where it names none. */
  readonly log: LoggedEpoch | null
  /** What is done for and with other validators; null where nobody asks and nobody is asked. */
  readonly confirmations: ConfirmingEpoch | null
  /** How long a task is its taker's. Whoever takes longer may find it done by another. */
  readonly leaseMs: number
  readonly report: (line: string) => void
  readonly onRecord?: (record: string) => void
}

/** How validators confirm each other's mismatches at level 1 (rule S18). */
export interface ConfirmingEpoch {
  /** Until when they are handed over, Unix seconds. */
  readonly until: number
  /** Hands those of this validator over. Ends by then. */
  readonly handOver: () => Promise<void>
  /** Runs an answer again that another one handed over: the text of its request. */
  readonly confirm: (index: number, request: string) => Promise<Audited>
  /** The record of one that came to no end. */
  readonly giveUp: (index: number, request: string) => Promise<Audited>
}

/** What an epoch came to, before it is scored. */
export interface EpochRecords {
  readonly epoch: number
  readonly validator: string
  /** 32 bytes, hex: the opening of {@link commitment}. To be published after the epoch only. */
  readonly seed: string
  readonly commitment: string
  /** 32 bytes, hex: under which the records are committed to. One for all processes that share the store, so that their bundles are the same. */
  readonly salt: string
  /** What the seed commits to; null where there are none. */
  readonly canaries: Canaries | null
  readonly opened: BeaconRound
  /** What the log shows of the epoch; null without one. */
  readonly log: EpochRange | null
  /** Signed records, one line each, in the order of their index. */
  readonly records: readonly string[]
  /** Fraud proofs, by what they are about. */
  readonly proofs: ReadonlyMap<string, string>
}

/**
 * Draws the seed of an epoch and commits to it, once: what was drawn before stays. Where there are canaries, the seed is made from them, so that the commitment is
 * one to them too. Throws `epoch_late`, and `usage` where the store is another validator's.
 */
export async function commitToEpoch({
  store,
  epoch,
  begins,
  beacon,
  key,
  now,
  canaries: make,
}: Pick<EpochOptions, 'store' | 'epoch' | 'begins' | 'beacon' | 'key' | 'now' | 'canaries'>): Promise<{
  readonly seed: Uint8Array
  readonly commitment: string
  /** The round of the beacon that opens the epoch. */
  readonly number: number
}> {
  const number = openingRound(beacon.chain, begins)
  const begun = (await store.fact(epoch, 'seed')) !== null
  const checkTime = (): void => {
    if (!begun && now().getTime() >= timeOfRound(beacon.chain, number) * 1000)
      throw fail('epoch_late', `epoch ${epoch} has opened with round ${number} of the beacon, and nothing was committed to before`)
  }
  checkTime()
  const validator = toHex(key.publicKey)
  // Two that share a store by mistake would sign each other's epoch.
  const owner = await store.keep(epoch, 'validator', validator)
  if (owner !== validator) throw fail('usage', `expected the state of validator ${validator}, found that of ${owner}`)
  if (!begun && (await store.fact(epoch, 'canaries')) === null) {
    const made = await make(fromHex(await store.keep(epoch, 'canary secret', drawn())))
    // Also where there are none: whoever shares the store makes its seed of the same ones.
    await store.keep(epoch, 'canaries', JSON.stringify(made))
    checkTime()
  }
  const canaries = begun ? null : await canariesOf(store, epoch)
  const seed = fromHex(await store.keep(epoch, 'seed', canaries === null ? drawn() : toHex(await seedOfCanaries({ epoch, validator }, canaries))))
  const commitment = await store.keep(epoch, 'commitment', await seedCommitment({ epoch, seed, validator }))
  return { seed, commitment, number }
}

/** The canaries of an epoch, as they were made before it. */
export async function keptCanaries(store: EpochStore, epoch: number): Promise<readonly CanaryOpening[]> {
  const kept = await store.fact(epoch, 'canaries')
  return kept === null ? [] : (JSON.parse(kept) as readonly CanaryOpening[])
}

async function canariesOf(store: EpochStore, epoch: number): Promise<Canaries | null> {
  const kept = await keptCanaries(store, epoch)
  if (kept.length === 0) return null
  return { entropy: await store.keep(epoch, 'entropy', drawn()), commitments: await Promise.all(kept.map(canaryCommitment)) }
}

/**
 * One epoch of probes: seed drawn and committed to, opened by a round of the beacon that nobody knew then (rule S16), probes audited when they are due, each
 * signed and kept once. Started again after a crash, it goes on where it was: the seed and everything that follows from it stay, and what has no record is done.
 * Several processes that share a store share the work. Under a policy with a log, each receipt of own traffic is looked for in it before its audit is recorded, and when the epoch is over the leaves that the
 * seed and a later round choose are audited too. What other validators handed over to be run again comes last.
 *
 * Throws `epoch_late` where there is no seed and the epoch has opened: its probes could be chosen then. Throws the reason of the signal.
 */
export async function runEpoch(options: EpochOptions): Promise<EpochRecords> {
  const { store, epoch, key, log } = options
  const closes = log === null ? null : awaitClose(options, log)
  // It is looked at when all probes are done.
  closes?.catch(() => undefined)
  const { seed, commitment, opened, opens } = await probeEpoch(options)
  const handedOver = options.confirmations?.handOver()
  // It is looked at when the log has been.
  handedOver?.catch(() => undefined)
  let range: EpochRange | null = null
  if (log !== null && opens !== null && closes !== null) {
    const closed = await closeLog(options, log, { opens, closes: await closes }, seed)
    range = closed.range
    await store.plan(closed.tasks)
    await workAll(options)
  }
  await handedOver
  await confirmAll(options)
  const salt = await store.keep(epoch, 'salt', drawn())
  const [canaries, records, proofs] = [await canariesOf(store, epoch), await store.records(epoch), await proofsOf(store, epoch)]
  return { epoch, validator: toHex(key.publicKey), seed: toHex(seed), commitment, salt, canaries, opened, log: range, records, proofs }
}

/** The part of {@link runEpoch} that ends with the last probe: it may be done with more probes of the same seed, and is gone on with by that. Throws as it does. */
export async function probeEpoch(
  options: EpochOptions,
): Promise<Pick<EpochRecords, 'commitment' | 'opened'> & { readonly seed: Uint8Array; readonly opens: string | null }> {
  const { store, epoch, log } = options
  const { seed, commitment, number } = await commitToEpoch(options)
  await options.commit(commitment)
  const { round: opened, randomness } = await keptRound(options, 'opened', number)
  const opens = log === null ? null : openLog(options, log)
  // It is looked at when all probes are done.
  opens?.catch(() => undefined)
  const drawnFrom = await probeSeed(seed, epoch, randomness)
  const probes = await placeCanaries(drawnFrom, planProbes({ ...options.plan, seed: drawnFrom }), await keptCanaries(store, epoch))
  await store.plan(probes.map((probe) => jobOf(options, probe)))
  await workAll(options)
  return { seed, commitment, opened, opens: await opens }
}

async function confirmAll(options: EpochOptions): Promise<void> {
  const { confirmations, store, epoch, now, signal } = options
  if (confirmations === null) return
  // In steps: a clock may be set while this waits.
  for (let leftMs = 1; leftMs > 0; ) {
    leftMs = confirmations.until * 1000 - now().getTime()
    if (leftMs > 0) await sleep(Math.min(leftMs, 250), undefined, { signal })
  }
  await store.plan(await confirmationTasks(store, epoch))
  await workAll(options)
  await forgetRequests(store, epoch)
}

function workAll(options: EpochOptions): Promise<unknown> {
  return Promise.all(Array.from({ length: options.parallel }, () => work(options)))
}

function drawn(): string {
  return toHex(new Uint8Array(randomBytes(32)))
}

function jobOf({ epoch, begins }: EpochOptions, probe: Probe): Job {
  return { epoch, index: probe.index, dueMs: Math.round((begins + probe.after) * 1000), task: JSON.stringify(probe) }
}

/** Takes tasks until none is without a record. */
async function work(options: EpochOptions): Promise<void> {
  const { store, epoch, now, signal, leaseMs } = options
  for (;;) {
    signal.throwIfAborted()
    const nowMs = now().getTime()
    const job = await store.take(epoch, nowMs, nowMs + leaseMs)
    if (job !== null) {
      await finish(options, job)
      continue
    }
    if ((await store.open(epoch)) === 0) return
    // What is left is not due, or is another's: its time may run out.
    await sleep(Math.min(200, leaseMs), undefined, { signal })
  }
}

async function finish(options: EpochOptions, job: Taken): Promise<void> {
  const { store, epoch, key } = options
  try {
    const { audited, settled } = await auditOf(options, job)
    if (settled === null) {
      await store.postpone(epoch, job.index, JSON.stringify(audited), options.now().getTime() + pauseMs(options, audited))
      return
    }
    const seen = await orElse(options, job, () => seenReceiptOf(settled.evidence), null)
    const rivals = seen === null ? [] : await store.rivals(seen)
    // Before the record: a crash between the two finds them again.
    for (const { digest, text } of await orElse(options, job, () => options.findFraud(settled, rivals), []))
      await store.keep(epoch, `fraud ${digest}`, text)
    const record =
      (await orElse(options, job, () => signAuditRecord(settled.record, key), null)) ?? (await signAuditRecord(undecided(settled.record), key))
    const done = { record, evidence: JSON.stringify(settled.evidence) }
    if (await store.finish(epoch, job.index, done, seen === null ? [] : [seen])) options.onRecord?.(record)
  } catch (error) {
    await store.release(epoch, job.index)
    throw error
  }
}

const ending: ReadonlySet<string> = new Set(['validator_store_unavailable', 'log_fork', 'log_consistency_invalid'])

/**
 * What ends an epoch or a validator, and not one audit: it is stopped, its memory is gone, or the log shows two histories. Whatever else goes wrong within an audit, those may have brought about of whom it is.
 */
export function endsAll(signal: AbortSignal, error: unknown): boolean {
  return signal.aborted || (error instanceof VeriteeError && ending.has(error.code))
}

/** What an audit's step gives, or `other` where it fails as it should not, which is told. */
async function orElse<T>({ signal, report, epoch }: EpochOptions, { index }: Taken, step: () => Promise<T>, other: T): Promise<T> {
  try {
    return await step()
  } catch (error) {
    if (endsAll(signal, error)) throw error
    report(`epoch ${epoch}: of audit ${index} something was left out: ${nameOf(error)}`)
    return other
  }
}

/** What an audit came to, and that with its place in the log; null where that is not to be told yet, and there as nothing of what may be asked again. */
async function auditOf(options: EpochOptions, job: Taken): Promise<{ readonly audited: Audited | null; readonly settled: Audited | null }> {
  const { log, now } = options
  const { index, task, draft } = job
  const what = JSON.parse(task) as Probe | OrganicTask | ConfirmTask
  if ('confirm' in what) return { audited: null, settled: await confirmed(options, job, what) }
  if (!('organic' in what)) {
    const audited = (draft === null ? null : (JSON.parse(draft) as Audited | null)) ?? (await options.audit(what))
    const undone = { ...audited, record: undecided(audited.record) }
    return { audited, settled: log === null ? audited : await orElse(options, job, () => settle(audited, log.settling, now(), log.settleBy), undone) }
  }
  if (log === null) throw new TypeError('runEpoch: expected the log of the epoch, whose leaf is to be audited')
  try {
    return { audited: null, settled: await log.audit(index, what.organic) }
  } catch (error) {
    if (endsAll(options.signal, error)) throw error
    if (!(error instanceof VeriteeError) || error.kind !== 'unavailable')
      return { audited: null, settled: await orElse(options, job, () => Promise.reject(error), log.giveUp(index, what.organic)) }
    return { audited: null, settled: now().getTime() < log.until * 1000 ? null : log.giveUp(index, what.organic) }
  }
}

async function confirmed(options: EpochOptions, job: Taken, { confirm }: ConfirmTask): Promise<Audited | null> {
  const { confirmations, store, epoch } = options
  const request = await requestOf(store, epoch, confirm)
  if (confirmations === null) throw new TypeError('runEpoch: expected how to confirm the request of another validator')
  // Another process has done all of them meanwhile.
  if (request === null) return null
  const found = await orElse(options, job, () => confirmations.confirm(job.index, request), null)
  return found ?? confirmations.giveUp(job.index, request)
}

/** Soon at first, since most receipts are in the log within seconds; later less often. */
function pauseMs({ now }: EpochOptions, audited: Audited | null): number {
  const waited = audited === null ? 0 : now().getTime() - audited.record.at * 1000
  return Math.min(30_000, Math.max(1000, waited / 2))
}

async function proofsOf(store: EpochStore, epoch: number): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>()
  for (const { name, text } of await store.facts(epoch, 'fraud ')) found.set(name.slice('fraud '.length), text)
  return found
}

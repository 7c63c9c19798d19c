import { setTimeout as sleep } from 'node:timers/promises'
import { closingRound } from 'veritee/beacon'
import { fail } from 'veritee/errors'
import { type VerifiedCheckpoint, verifyCheckpoint } from 'veritee/log'
import { maxRecordsPerEpoch, parseAuditRecord } from 'veritee/scoring'
import type { Audited } from '../audit/audit.ts'
import type { LogAccess } from '../log/access.ts'
import type { Boundary } from '../log/agree.ts'
import type { Clock } from '../log/patience.ts'
import { checkpointFrom, type EpochRange, readRange } from '../log/range.ts'
import type { SettlingLog } from '../log/settle.ts'
import { chosenLeaves, type OrganicLeaf } from '../organic/choose.ts'
import type { Job } from '../store/epoch-store.ts'
import { keptRound, type RoundSetting } from './kept-round.ts'

/** What an epoch under a scoring policy with a log does with it. */
export interface LoggedEpoch {
  readonly access: LogAccess
  /** By which receipts of own traffic are settled. */
  readonly settling: SettlingLog
  /** The first second after the epoch. */
  readonly closes: number
  /** Which checkpoint the validators of the network count from, or to, given the one that this one took first; null where there are no others. */
  readonly agree: ((name: Boundary, own: VerifiedCheckpoint, from: number) => Promise<string>) | null
  /** Until when receipts of own traffic are looked for; Unix seconds. */
  readonly settleBy: number
  /** Until when what the log does not show is waited for. */
  readonly until: number
  /** Of a leaf to be audited, in units of 1e-18. */
  readonly probability: bigint
  /** Audits a leaf that was chosen. Throws an error of the kind `unavailable` where that cannot be done now. */
  readonly audit: (index: number, leaf: OrganicLeaf) => Promise<Audited>
  /** The record of one that could not be audited in time. */
  readonly giveUp: (index: number, leaf: OrganicLeaf) => Audited
}

/** A task that is no probe. */
export interface OrganicTask {
  readonly organic: OrganicLeaf
}

interface Setting extends RoundSetting {
  /** Unix seconds. */
  readonly begins: number
}

/**
 * The log of an epoch, by which receipts of own traffic are settled. `before`: a checkpoint (signed note) from before anybody knew what this validator would ask, that of the proof of its seed: every receipt of its own came
 * after it. Leaves are read once for a checkpoint.
 */
export function settlingLog(access: LogAccess, before: string, clock: Clock): SettlingLog {
  let read: { readonly note: string; readonly found: ReturnType<SettlingLog['leaves']> } | null = null
  return {
    trust: access.trust,
    find: (entry) => access.find(entry),
    checkpoint: () => access.checkpoint(),
    views: (bundle) => access.views(bundle),
    leaves: ({ note }) => {
      if (read?.note === note) return read.found
      // Now or not at all: the audit is asked for again where there is time.
      const found = readRange(access, { opens: before, closes: note }, 0, clock)
      read = { note, found }
      found.catch(() => {
        read = null
      })
      return found
    },
  }
}

/** The checkpoint from which the leaves of the epoch are counted: the first that was seen, by whichever process. */
export async function openLog(setting: Setting, log: LoggedEpoch): Promise<string> {
  return keptNote(setting, 'opens', log, setting.begins)
}

/** The checkpoint to which they are counted: taken when the epoch is over, not when its last audit is, so that validators which work at different paces take it at one time. */
export async function awaitClose(setting: Setting, log: LoggedEpoch): Promise<string> {
  const { store, epoch, now, signal } = setting
  // In steps: a clock may be set while this waits.
  for (let early = 1; early > 0 && (await store.fact(epoch, 'log closes')) === null; ) {
    early = log.closes * 1000 - now().getTime()
    if (early > 0) await sleep(Math.min(early, 1000), undefined, { signal })
  }
  return keptNote(setting, 'closes', log, log.closes)
}

/**
 * Closes the epoch in the log: the checkpoint, its leaves, the round that nobody knew before (rule S16), and the tasks that follow. All of it follows from what is kept and from records of own traffic, which
 * must be complete, so that every process plans the same tasks, and again after a crash.
 */
export async function closeLog(
  setting: Setting,
  log: LoggedEpoch,
  { opens, closes }: { readonly opens: string; readonly closes: string },
  seed: Uint8Array,
): Promise<{ range: EpochRange; tasks: Job[] }> {
  const { store, epoch, beacon } = setting
  const { existedBy } = await verifyCheckpoint(closes, log.access.trust)
  const { round: closed, randomness } = await keptRound(setting, 'closed', closingRound(beacon.chain, existedBy))
  const range = await readRange(log.access, { opens, closes }, log.until, setting)
  const records = (await store.records(epoch)).map(parseAuditRecord).filter(({ kind }) => kind === 'probe' || kind === 'canary')
  const own = new Set(records.flatMap(({ view }) => (view?.log?.origin === log.access.trust.origin ? [view.log.index] : [])))
  const { from, leaves } = range
  const chosen = await chosenLeaves({ seed, epoch, randomness, from, leaves, probability: log.probability, own })
  if (records.length + chosen.length > maxRecordsPerEpoch)
    throw fail(
      'epoch_log_invalid',
      `expected at most ${maxRecordsPerEpoch} audits, found ${records.length} of own traffic and ${chosen.length} leaves`,
    )
  const tasks = chosen.map((organic, i) => ({ epoch, index: records.length + i, dueMs: 0, task: JSON.stringify({ organic } satisfies OrganicTask) }))
  return { range: { ...range, closed }, tasks }
}

async function keptNote(setting: Setting, name: Boundary, log: LoggedEpoch, from: number): Promise<string> {
  const { store, epoch } = setting
  const kept = await store.fact(epoch, `log ${name}`)
  if (kept !== null) return kept
  const own = await checkpointFrom(log.access, from, log.until, setting)
  return store.keep(epoch, `log ${name}`, log.agree === null ? own.note : await log.agree(name, own, from))
}

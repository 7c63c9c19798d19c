import type { BeaconRound } from 'veritee/beacon'
import { toHex } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { type VerifiedCheckpoint, verifyCheckpoint } from 'veritee/log'
import { type EpochLog, verifyRange } from 'veritee/scoring'
import type { LogAccess } from './access.ts'
import { type Clock, patiently } from './patience.ts'

/** Leaves of an epoch, verified, and the round that chooses among them. */
export interface EpochRange extends EpochLog {
  /** Index of the first. */
  readonly from: number
  /** RFC 6962 hashes. */
  readonly leaves: readonly Uint8Array[]
  readonly closed: BeaconRound
}

/** As many as are held in memory and written to `leaves.txt`: 65 bytes each. */
const maxLeaves = 1 << 20

/** The first checkpoint that this validator sees with a witnessed time at or after `time`. Throws what the log's last failure was once `until` is over, or `service_unavailable`. */
export function checkpointFrom(log: LogAccess, time: number, until: number, clock: Clock): Promise<VerifiedCheckpoint> {
  return patiently(
    until,
    clock,
    async () => {
      const checkpoint = await log.checkpoint()
      return checkpoint.witnessedAt >= time ? checkpoint : null
    },
    (last) => last ?? fail('service_unavailable', `the log ${log.trust.origin} has shown no checkpoint that was witnessed at ${time} or later`),
  )
}

/**
 * Reads the leaves between two checkpoints (signed notes) and verifies that they lead from the tree of the one to that of the other. The same ones come out after a crash. Throws
 * `epoch_log_invalid`, also for more leaves than are taken, and what reading throws once `until` is over.
 */
export async function readRange(
  log: LogAccess,
  notes: Pick<EpochLog, 'opens' | 'closes'>,
  until: number,
  clock: Clock,
): Promise<Omit<EpochRange, 'closed'>> {
  const first = await verifyCheckpoint(notes.opens, log.trust)
  const last = await verifyCheckpoint(notes.closes, log.trust)
  const count = last.size - first.size
  if (count < 0 || count > maxLeaves) throw fail('epoch_log_invalid', `expected an epoch of up to ${maxLeaves} leaves, found ${count}`)
  return patiently(
    until,
    clock,
    async () => {
      const tree = log.tree(last.size)
      const before = (await tree.subtrees(first.size)).map(toHex)
      const leaves: Uint8Array[] = []
      for (let index = first.size; index < last.size; index++) leaves.push(await tree.leaf(index))
      await verifyRange(first, last, { before }, leaves)
      return { ...notes, before, from: first.size, leaves }
    },
    (failed) => failed ?? fail('service_unavailable', `the log ${log.trust.origin} could not be read in time`),
  )
}

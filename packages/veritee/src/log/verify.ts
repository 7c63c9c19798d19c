import type { Verified } from '../attestation/claims.ts'
import { equal } from '../bytes/bytes.ts'
import { verifyConsistency } from '../bytes/merkle.ts'
import { fail } from '../errors.ts'
import { type Checkpoint, isEmptyRoot, parseCheckpoint } from './checkpoint.ts'
import { verifyCosignature } from './cosignature.ts'
import { isOf, type VerifierKey, verifyNote } from './key.ts'
import { type Note, parseNote } from './note.ts'
import type { LogTrust } from './trust.ts'

/** A checkpoint that its log signed. Alone it shows nothing about what others were shown. */
export interface SignedCheckpoint extends Checkpoint {
  /** The signed note as it came. */
  readonly note: string
}

export interface WitnessedCheckpoint extends SignedCheckpoint {
  /** Trusted witnesses with the time of their cosignature in Unix seconds, latest first. */
  readonly cosignatures: readonly { readonly name: string; readonly unixSeconds: number }[]
  /**
   * Unix seconds: a quorum of witnesses says that it was this time or later. Fewer liars than the quorum cannot make it later than the
   * latest time that an honest one said, which is what rule S11 needs of a signed time.
   */
  readonly witnessedAt: number
  /**
   * Unix seconds: it was there by then. Of the times of a quorum the latest, so that fewer liars than the quorum cannot make it earlier than an honest
   * witness saw it: what shows that something came before something else (rule S16), for which `witnessedAt` is the wrong side.
   */
  readonly existedBy: number
}

export type VerifiedCheckpoint = Verified<WitnessedCheckpoint>

/**
 * Verifies that a checkpoint is of a log: shape, origin, signature of the log's key. It does not ask for witnesses: for logs and witnesses themselves, whoever relies on a log uses
 * {@link verifyCheckpoint}. Throws `note_malformed`, `checkpoint_malformed`, `log_origin_mismatch`, `note_signature_missing`, `note_signature_invalid`.
 */
export async function verifyCheckpointOfLog(note: string, log: Pick<LogTrust, 'origin' | 'key'>): Promise<Verified<SignedCheckpoint>> {
  return (await ofLog(parseNote(note), note, log)) as Verified<SignedCheckpoint>
}

/**
 * Verifies a checkpoint for whoever relies on it (rule S21), in this order: shape; the origin; the signature of the log; every cosignature of a trusted witness
 * (an invalid one ends it, unknown keys are ignored); distinct witnesses of the quorum.
 *
 * It does not compare with checkpoints seen before (see `advance`) and not with a clock (see `witnessedAt`).
 * Throws what {@link verifyCheckpointOfLog} throws, and `log_quorum_missing`.
 */
export async function verifyCheckpoint(note: string, trust: LogTrust): Promise<VerifiedCheckpoint> {
  if (!Number.isSafeInteger(trust.quorum) || trust.quorum < 1 || trust.quorum > trust.witnesses.length)
    throw new TypeError('verifyCheckpoint: expected a quorum that the witnesses can reach')
  const parsed = parseNote(note)
  const checkpoint = await ofLog(parsed, note, trust)
  const times = await cosignatureTimes(parsed, trust.witnesses)
  const cosignatures = [...times].map(([witness, unixSeconds]) => ({ name: witness.name, unixSeconds })).sort((a, b) => b.unixSeconds - a.unixSeconds)
  const last = cosignatures[trust.quorum - 1]
  const first = cosignatures[cosignatures.length - trust.quorum]
  if (last === undefined || first === undefined)
    throw fail('log_quorum_missing', `expected cosignatures of ${trust.quorum} of ${trust.witnesses.length} witnesses, found ${cosignatures.length}`)
  const found: WitnessedCheckpoint = { ...checkpoint, cosignatures, witnessedAt: last.unixSeconds, existedBy: first.unixSeconds }
  return found as VerifiedCheckpoint
}

/** The latest time of each of these witnesses. Throws `note_signature_invalid`. */
export async function cosignatureTimes({ text, signatures }: Note, witnesses: readonly VerifierKey[]): Promise<ReadonlyMap<VerifierKey, number>> {
  const times = new Map<VerifierKey, number>()
  for (const signature of signatures) {
    const witness = witnesses.find((one) => isOf(one, signature))
    if (witness === undefined) continue
    const time = await verifyCosignature(text, witness, signature)
    times.set(witness, Math.max(time, times.get(witness) ?? 0))
  }
  return times
}

async function ofLog(note: Note, text: string, { origin, key }: Pick<LogTrust, 'origin' | 'key'>): Promise<SignedCheckpoint> {
  const checkpoint = parseCheckpoint(note.text)
  if (checkpoint.origin !== origin)
    throw fail(
      'log_origin_mismatch',
      `expected a checkpoint of ${JSON.stringify(origin)}, found one of ${JSON.stringify(checkpoint.origin.slice(0, 120))}`,
    )
  await verifyNote(note, [key])
  if (checkpoint.size === 0 && !(await isEmptyRoot(checkpoint.root)))
    throw fail('checkpoint_malformed', 'a tree without leaves has another root than this')
  return { ...checkpoint, note: text }
}

/** The largest head that was relied on. Kept by whoever relies on a log, and handed back at the next check. */
export interface SeenCheckpoint {
  readonly origin: string
  readonly size: number
  /** 32 bytes. */
  readonly root: Uint8Array
  /** The signed note: with another one that contradicts it, evidence. */
  readonly note: string
}

/**
 * Checks that a verified checkpoint and the largest one seen before are of one history (rule S21), and gives the larger. `consistency` is the RFC 6962 proof
 * from the smaller to the larger of the two. Without an earlier one, everything is consistent: keep what comes out.
 *
 * Throws `log_fork` where two roots are signed for one size: both notes together convict the log (see `forkEvidence`). Throws `log_consistency_invalid`
 * where the proof does not hold, which may be the fault of whoever brought it; `log_origin_mismatch`.
 */
export async function advance(
  seen: SeenCheckpoint | null,
  next: Verified<SignedCheckpoint>,
  consistency: readonly Uint8Array[],
): Promise<SeenCheckpoint> {
  const { origin, size, root, note } = next
  const head: SeenCheckpoint = { origin, size, root, note }
  if (seen === null) return head
  if (seen.origin !== origin)
    throw fail('log_origin_mismatch', `expected a checkpoint of ${JSON.stringify(seen.origin)}, found one of ${JSON.stringify(origin)}`)
  if (seen.size === size) {
    if (!equal(seen.root, root)) throw fail('log_fork', `${origin} signed two roots for the size ${size}`)
    return seen
  }
  const [older, newer] = seen.size < size ? [seen, head] : [head, seen]
  // The empty tree is the beginning of every other.
  const consistent =
    older.size === 0 ? consistency.length === 0 : await verifyConsistency(older.size, older.root, newer.size, newer.root, consistency)
  if (!consistent)
    throw fail('log_consistency_invalid', `expected a proof that the tree of ${older.size} leaves is the beginning of that of ${newer.size}`)
  return newer
}

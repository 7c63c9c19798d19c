import { equal } from '../../bytes/bytes.ts'
import { fromHex } from '../../bytes/hex.ts'
import { fail, VeriteeError } from '../../errors.ts'
import { type LogTrust, parseLogTrust, verifyCheckpoint, verifyTlogProof } from '../../log/index.ts'
import { TreeEdge } from '../../log/tree-edge.ts'
import type { AuditRecord } from '../audit/record.ts'
import { type BeaconChain, beaconChainFromJson, timeOfRound, verifyBeaconRound } from '../beacon/drand.ts'
import { auditSeed, closingRound, isSelected, openingRound, seedCommitment } from '../beacon/seeds.ts'
import { epochWindow, type ScoringPolicy } from '../policy/policy.ts'
import { isOwn } from '../rules/charge.ts'
import { type Canaries, commitmentEntry, recordsFileCommitment, seedOfCanaries } from './commitments.ts'
import type { Duties, EpochLog, Rounds } from './documents.ts'

/** What the log and the beacon say of an epoch, verified. */
export interface EpochFacts {
  readonly chain: BeaconChain
  readonly log: {
    readonly trust: LogTrust
    /** Index of the first leaf. */
    readonly from: number
    /** RFC 6962 hashes of the leaves of the epoch. */
    readonly leaves: readonly Uint8Array[]
    /** Of the round that chooses among them. */
    readonly randomness: Uint8Array
  } | null
}

/**
 * Verifies beacon and log of an epoch (rules S16 and S21): the rounds are those that the policy and the time of the closing checkpoint fix, and are signed; both checkpoints
 * are witnessed, the first at or after the epoch's beginning and the second at or after its end; the leaves lead from the tree of the one to that of the other.
 * Throws `epoch_beacon_invalid`, `epoch_log_invalid`, and what beacon and checkpoints throw.
 */
export async function verifyFacts(
  policy: ScoringPolicy,
  epoch: number,
  rounds: Rounds,
  log: EpochLog | null,
  leaves: readonly Uint8Array[],
): Promise<EpochFacts> {
  const { opens, closes } = epochWindow(policy, epoch)
  const chain = await beaconChainFromJson(policy.beacon)
  const opening = openingRound(chain, opens)
  if (rounds.opened.round !== opening) throw fail('epoch_beacon_invalid', `expected round ${opening} to open the epoch, found ${rounds.opened.round}`)
  await verifyBeaconRound(chain, rounds.opened)
  if (policy.log === 'any') {
    if (log !== null || rounds.closed !== null) throw fail('epoch_log_invalid', 'expected neither a log nor a closing round: the policy names no log')
    return { chain, log: null }
  }
  if (log === null || rounds.closed === null)
    throw fail('epoch_log_invalid', 'expected the log that the policy names, and the round that closes the epoch')
  const trust = await parseLogTrust(policy.log)
  const first = await verifyCheckpoint(log.opens, trust)
  const last = await verifyCheckpoint(log.closes, trust)
  if (first.witnessedAt < opens || last.witnessedAt < closes)
    throw fail(
      'epoch_log_invalid',
      `expected checkpoints witnessed at ${opens} and ${closes} or later, found ${first.witnessedAt} and ${last.witnessedAt}`,
    )
  if (last.size - first.size !== leaves.length) throw fail('epoch_log_invalid', `expected ${last.size - first.size} leaves, found ${leaves.length}`)
  await verifyRange(first, last, log, leaves)
  // One witness that dates back must not make the round one that was known while the checkpoint was made.
  const closing = closingRound(chain, last.existedBy)
  if (rounds.closed.round !== closing)
    throw fail('epoch_beacon_invalid', `expected round ${closing} to close the epoch, found ${rounds.closed.round}`)
  return { chain, log: { trust, from: first.size, leaves, randomness: await verifyBeaconRound(chain, rounds.closed) } }
}

/** Verifies that a tree and the leaves behind it make up another one. `before` as in {@link EpochLog}. Throws `epoch_log_invalid`. */
export async function verifyRange(
  first: { readonly size: number; readonly root: Uint8Array },
  last: { readonly root: Uint8Array },
  { before }: Pick<EpochLog, 'before'>,
  leaves: readonly Uint8Array[],
): Promise<void> {
  let edge: TreeEdge
  try {
    edge = new TreeEdge(
      first.size,
      before.map((hash) => fromHex(hash)),
    )
  } catch (cause) {
    throw fail('epoch_log_invalid', `log.before does not fit a tree of ${first.size} leaves`, cause)
  }
  if (!equal(await edge.root(), first.root)) throw fail('epoch_log_invalid', 'log.before is not the tree of the checkpoint that opens the epoch')
  for (const leaf of leaves) await edge.add(leaf)
  if (!equal(await edge.root(), last.root)) throw fail('epoch_log_invalid', 'the leaves do not lead to the checkpoint that closes the epoch')
}

/** What a validator owes an epoch. Closed: spec/epoch.md, "Duties". */
export const dutyNames = [
  'seed_opened',
  'seed_logged',
  'records_opened',
  'records_logged',
  'indices',
  'canaries_committed',
  'leaves',
  'organic_missing',
  'organic_unchosen',
] as const
export type Duty = (typeof dutyNames)[number]

/** One duty that a validator did not do. `record` is the index of its record, where one shows it. */
export interface Missed {
  readonly duty: Duty
  readonly record: number | null
  readonly detail: string
}

/**
 * The first duty that a validator did not do in an epoch, or null (spec/epoch.md, "Duties"). A validator that did not do one has no weight in this epoch and the
 * next; that is no defect of the bundle. `file` is the digest of its file of records, `canaries` what its seed commits to, null where there are none.
 */
export async function missedDuty(
  { network, epoch, validator }: { readonly network: string; readonly epoch: number; readonly validator: string },
  { seed, records: committed }: Duties,
  { records, file, canaries }: { readonly records: readonly AuditRecord[]; readonly file: string; readonly canaries: Canaries | null },
  { chain, log }: EpochFacts,
  policy: ScoringPolicy,
): Promise<Missed | null> {
  const missed = (duty: Missed['duty'], detail: string, record: number | null = null): Missed => ({ duty, record, detail })
  if (seed.seed === null) return missed('seed_opened', 'the seed was not opened')
  const secret = fromHex(seed.seed)
  if ((await seedCommitment({ epoch, seed: secret, validator })) !== seed.commitment)
    return missed('seed_opened', 'the seed is not the one committed to')
  if (committed.salt === null) return missed('records_opened', 'the commitment to the records was not opened')
  if ((await recordsFileCommitment({ epoch, validator, salt: committed.salt }, file)) !== committed.commitment)
    return missed('records_opened', 'the records are not those committed to')
  for (const [i, { index }] of records.entries()) if (index !== i) return missed('indices', `expected record ${i}, found ${index}`, index)
  if (canaries !== null && !equal(await seedOfCanaries({ epoch, validator }, canaries), secret))
    return missed('canaries_committed', 'the seed is not made from the list of canaries')
  const committedTo = new Set(canaries?.commitments)
  for (const { canary, index } of records)
    if (canary !== null && !committedTo.delete(canary))
      return missed('canaries_committed', 'the seed commits to no such canary, or it stands twice', index)
  const organic = records.filter(({ kind }) => kind === 'organic')
  if (log === null) {
    const [first] = organic
    return first === undefined ? null : missed('organic_unchosen', 'the policy names no log to choose from', first.index)
  }
  const of = { network, epoch, validator }
  const { opens, closes } = epochWindow(policy, epoch)
  const opened = timeOfRound(chain, openingRound(chain, opens))
  if (!(await loggedBefore(seed.proof, await commitmentEntry({ ...of, purpose: 'seed', commitment: seed.commitment }), log.trust, opened)))
    return missed('seed_logged', `the commitment to the seed was not witnessed in the log before ${opened}`)
  const due = closes + policy.epoch.length
  if (!(await loggedBefore(committed.proof, await commitmentEntry({ ...of, purpose: 'records', commitment: committed.commitment }), log.trust, due)))
    return missed('records_logged', `the commitment to the records was not witnessed in the log before ${due}`)
  const audited = new Map<number, AuditRecord>()
  for (const record of records.filter(isOwn)) {
    const at = record.view?.log ?? null
    const leaf = at === null || at.origin !== log.trust.origin ? undefined : log.leaves[at.index - log.from]
    if (at === null || leaf === undefined) continue
    if (!equal(leaf, fromHex(at.leaf)) || audited.has(at.index))
      return missed('leaves', `leaf ${at.index} is another than it names, or stands twice`, record.index)
    audited.set(at.index, record)
  }
  const key = await auditSeed(secret, epoch, log.randomness)
  for (const record of organic) {
    const at = record.view?.log ?? null
    const leaf = at === null ? undefined : log.leaves[at.index - log.from]
    const named = at !== null && at.origin === log.trust.origin && leaf !== undefined && equal(leaf, fromHex(at.leaf))
    if (!named || audited.has(at.index) || !(await isSelected(key, leaf, policy.organic.probability)))
      return missed('organic_unchosen', 'its leaf was not chosen, or stands twice', record.index)
    audited.set(at.index, record)
  }
  for (const [i, leaf] of log.leaves.entries())
    if (!audited.has(log.from + i) && (await isSelected(key, leaf, policy.organic.probability)))
      return missed('organic_missing', `leaf ${log.from + i} was chosen and has no record`)
  return null
}

async function loggedBefore(proof: string | null, entry: Uint8Array, trust: LogTrust, time: number): Promise<boolean> {
  if (proof === null) return false
  try {
    return (await verifyTlogProof(proof, entry, trust)).checkpoint.existedBy < time
  } catch (error) {
    if (error instanceof VeriteeError) return false
    throw error
  }
}

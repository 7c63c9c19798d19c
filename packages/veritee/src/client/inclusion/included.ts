import { fromUtf8 } from '../../bytes/bytes.ts'
import { toHex } from '../../bytes/hex.ts'
import { fail, VeriteeError } from '../../errors.ts'
import {
  advance,
  forkText,
  type GetLogFile,
  getConsistency,
  getInclusion,
  isPromiseDue,
  type LoggedReceipt,
  type LogTrust,
  parseLogTrust,
  parseTlogProof,
  type SeenCheckpoint,
  type VerifiedCheckpoint,
  verifyCheckpoint,
  verifyInclusion,
} from '../../log/index.ts'
import { eventOf } from '../../receipt/index.ts'
import { proofError, typedError } from '../proof/errors.ts'
import type { Proof, ProofError } from '../proof/proof.ts'
import { logFilesAt } from './log-files.ts'
import { type PromisedReceipt, promisesOf } from './promised.ts'
import { keepSeen, readSeen, type SeenKeep } from './seen.ts'

export interface InclusionOptions {
  /** Where each log is, by its origin: the URL of its prefix, or what reads its files. Nothing of it is trusted. */
  readonly logs: { readonly [origin: string]: string | GetLogFile }
  /** The largest checkpoint relied on of each log: read, and written where it grows. */
  readonly seen: SeenKeep
  /** Seconds that a checkpoint may be behind. Default: 60. */
  readonly graceSeconds?: number
}

/** What came of looking for the receipts of one proof in their logs. */
export interface Inclusion {
  /** The worst of the receipts: `rejected`, then `unproven`, then `pending`, else `included`. */
  readonly status: InclusionStatus
  readonly receipts: readonly ReceiptInclusion[]
}

/**
 * `included`: in the log, before a quorum of witnesses. `pending`: not there, and no witnessed checkpoint is later than the promise. `rejected`: absent after the promise, or the
 * log showed something that does not hold. `unproven`: the log could not be asked.
 */
export type InclusionStatus = 'included' | 'pending' | 'rejected' | 'unproven'

export interface ReceiptInclusion {
  readonly of: 'service' | 'worker'
  readonly receiptId: string
  /** Name of the log. */
  readonly origin: string
  /** Unix seconds. */
  readonly promisedBy: number
  readonly status: InclusionStatus
  /** Place in the log; null where it is not shown. */
  readonly index: number | null
  /** What was relied on; null where there was none. `witnessedAt`: Unix seconds. */
  readonly checkpoint: { readonly size: number; readonly witnessedAt: number } | null
  /** Null exactly for `included` and `pending`. */
  readonly error: ProofError | null
  /** For keeping, where there is something to show to others; null else. */
  readonly evidence: InclusionEvidence | null
}

/**
 * `broken-promise`: the receipt as signed, its key (hex, or null), to which the receipt commits, and the checkpoint (a signed note): whoever judges reads the log up to it and does not find
 * the entry (spec/log.md). `two-histories`: two checkpoints; with `log_fork` they convict the log.
 */
export type InclusionEvidence =
  | { readonly kind: 'broken-promise'; readonly receipt: unknown; readonly receiptKey: string | null; readonly checkpoint: string }
  | { readonly kind: 'two-histories'; readonly document: string }

/**
 * Looks for the receipts of an answer in the logs that they promised (rule S21): for each, the entry that follows from the receipt and its key, its proof, a checkpoint with the quorum of
 * the policy's witnesses, and the consistency with the largest one seen. Where the entry is absent, it asks for the newest checkpoint and once more for the entry: absent under
 * a checkpoint that was witnessed later than the promise, the promise is broken (`log_promise_broken`).
 *
 * `proof` must be one that a connection of this process gave, of an answer that was verified under a policy that names a log; else it throws `usage`. Throws `log_key_malformed`, `policy_invalid`
 * for keys of the policy, and `usage` for a log that `options` does not name. What the log shows is in the result.
 *
 * It does not read the whole log: that receipts before and after this one are there, and that a log which denies an entry does not have it, is for whoever reads it.
 */
export async function included(proof: Proof, options: InclusionOptions): Promise<Inclusion> {
  try {
    const promises = promisesOf(proof)
    if (promises === undefined || promises.length === 0)
      throw fail('usage', 'expected the proof of an answer of this process, verified under a policy that names a log')
    const asked: { promise: PromisedReceipt; trust: LogTrust; get: GetLogFile }[] = []
    for (const promise of promises) {
      const { origin } = promise.log
      const log = Object.hasOwn(options.logs, origin) ? options.logs[origin] : undefined
      if (log === undefined) throw fail('usage', `logs: expected to be told where ${JSON.stringify(origin)} is`)
      asked.push({ promise, trust: await parseLogTrust(promise.log), get: typeof log === 'string' ? logFilesAt(log) : log })
    }
    const receipts: ReceiptInclusion[] = []
    // One after the other: each goes on from the checkpoint that the one before relied on.
    for (const { promise, trust, get } of asked) receipts.push(await look(promise, trust, get, options))
    const worst = (['rejected', 'unproven', 'pending'] as const).find((status) => receipts.some((receipt) => receipt.status === status))
    return { status: worst ?? 'included', receipts }
  } catch (error) {
    throw typedError(error)
  }
}

async function look(promise: PromisedReceipt, trust: LogTrust, get: GetLogFile, options: InclusionOptions): Promise<ReceiptInclusion> {
  const { of, receipt, receiptKey } = promise
  const base = {
    of,
    receiptId: receipt.receiptId,
    origin: trust.origin,
    promisedBy: eventOf(receipt, 'veritee.log')?.promised_by ?? 0,
    index: null,
    checkpoint: null,
    error: null,
    evidence: null,
  }
  const log = new Log(trust, get, options.seen)
  try {
    const early = await log.find(promise)
    if (early !== null) return { ...base, status: 'included', ...shown(early) }
    const head = await log.head()
    const { checkpoint } = shown({ checkpoint: head, index: null })
    if (!isPromiseDue(receipt, trust, head, options.graceSeconds ?? 60)) return { ...base, status: 'pending', checkpoint }
    // It may have come between the two.
    const late = await log.find(promise)
    if (late !== null) return { ...base, status: 'included', ...shown(late) }
    const error = fail(
      'log_promise_broken',
      `expected the receipt in ${JSON.stringify(trust.origin)} by ${base.promisedBy}, found none at ${head.witnessedAt}`,
    )
    const key = receiptKey === null ? null : toHex(receiptKey)
    const evidence = { kind: 'broken-promise', receipt: receipt.document, receiptKey: key, checkpoint: head.note } as const
    return { ...base, status: 'rejected', checkpoint, error: proofError(error), evidence }
  } catch (error) {
    if (error instanceof VeriteeError && error.kind === 'configuration') throw error
    const told = proofError(error)
    return { ...base, status: told.kind === 'unavailable' ? 'unproven' : 'rejected', error: told, evidence: log.contradiction(told.code) }
  }
}

function shown({ checkpoint: { size, witnessedAt }, index }: { readonly checkpoint: VerifiedCheckpoint; readonly index: number | null }): {
  readonly index: number | null
  readonly checkpoint: { readonly size: number; readonly witnessedAt: number }
} {
  return { index, checkpoint: { size, witnessedAt } }
}

/** One log as it is asked for one receipt. */
class Log {
  readonly #trust: LogTrust
  readonly #get: GetLogFile
  readonly #keep: SeenKeep
  /** What was compared last: the checkpoint seen, and the one that was shown. */
  #compared: readonly [string, string] | null = null

  constructor(trust: LogTrust, get: GetLogFile, keep: SeenKeep) {
    this.#trust = trust
    this.#get = get
    this.#keep = keep
  }

  /** Null where the log says that it has no such entry. */
  async find({ receipt, receiptKey }: PromisedReceipt): Promise<LoggedReceipt | null> {
    const seen = await readSeen(this.#keep, this.#trust)
    let absent = false
    const get: GetLogFile = async (path) => {
      const bytes = await this.#get(path)
      // Another file that is missing says nothing of the entry.
      if (bytes === null && path.startsWith('proof/')) absent = true
      return bytes
    }
    try {
      const offered = await getInclusion(receipt, receiptKey, get, seen)
      this.#comparing(seen, parseTlogProof(offered.proof).checkpoint)
      const logged = await verifyInclusion(receipt, receiptKey, offered, this.#trust, seen)
      await keepSeen(this.#keep, this.#trust, logged.seen)
      return logged
    } catch (error) {
      if (absent && error instanceof VeriteeError && error.code === 'log_entry_missing') return null
      throw error
    }
  }

  /** The newest checkpoint, of one history with what was seen. */
  async head(): Promise<VerifiedCheckpoint> {
    const seen = await readSeen(this.#keep, this.#trust)
    const bytes = await this.#get('checkpoint')
    if (bytes === null) throw fail('service_unavailable', 'the log shows no checkpoint')
    const note = fromUtf8(bytes)
    const checkpoint = await verifyCheckpoint(note, this.#trust)
    this.#comparing(seen, note)
    await keepSeen(this.#keep, this.#trust, await advance(seen, checkpoint, await getConsistency(checkpoint.size, seen, this.#get)))
    return checkpoint
  }

  /** The two checkpoints that do not go together, where that is what is wrong. */
  contradiction(code: string): InclusionEvidence | null {
    if (this.#compared === null || (code !== 'log_fork' && code !== 'log_consistency_invalid')) return null
    return { kind: 'two-histories', document: forkText(this.#compared) }
  }

  #comparing(seen: SeenCheckpoint | null, note: string): void {
    this.#compared = seen === null ? null : [seen.note, note]
  }
}

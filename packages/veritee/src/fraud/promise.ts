import { toHex } from '../bytes/hex.ts'
import { leafHash } from '../bytes/merkle.ts'
import { fail } from '../errors.ts'
import { anchoredNonce } from '../log/anchor.ts'
import { auditViewOf } from '../log/audit-view.ts'
import { type VerifiedRange, verifyLogRange } from '../log/range.ts'
import { type LogStatement, logEntry } from '../log/statement.ts'
import type { LogTrust } from '../log/trust.ts'
import { eventOf, type Receipt } from '../receipt/receipt.ts'
import type { FraudProof, ShownLog } from './proof.ts'

/**
 * Whether a promise to log was broken (rule S21): under a checkpoint that was witnessed after the promised time the receipt is absent from the log, and the audit view of a later one of
 * the same keyset is there. Enclaves send what they promised in order, and go on once the log has it: so a log that took nothing for a while is no fault of theirs. That the
 * first leaves are left out takes a nonce that is made of them.
 *
 * All statements must have been verified. Throws `fraud_not_shown`, `log_range_invalid`, `receipt_key_mismatch`, and what `verifyCheckpoint` throws.
 */
export async function brokenPromise({ receipts, statements, log }: FraudProof, trust: LogTrust | null): Promise<string> {
  const [promised] = receipts
  if (promised === undefined || log === null) throw new TypeError('brokenPromise: expected a receipt and a log')
  const promise = eventOf(promised, 'veritee.log')
  const chain = eventOf(promised, 'veritee.chain')
  if (trust === null) throw notShown('the policy relies on no log')
  if (promise === undefined || chain === undefined) throw notShown('the receipt promises no log')
  if (promise.origin !== trust.origin)
    throw notShown(`the promise is for ${JSON.stringify(promise.origin)}, and not for ${JSON.stringify(trust.origin)}`)
  const range = await verifyLogRange(log.range, trust)
  await checkBefore(promised, log, range, trust.origin)
  const { checkpoint, places } = range
  if (checkpoint.witnessedAt <= promise.promised_by)
    throw notShown(`the promise is due at ${promise.promised_by}, and the checkpoint was witnessed at ${checkpoint.witnessedAt}`)
  const found = await placeOf(await auditViewOf(promised, log.receiptKey), places)
  if (found !== null) throw notShown(`the log has it at ${found}`)
  const later = statements[0]?.statement
  if (later?.version !== 'veritee.audit-view.v1') throw notShown('a chain head is no audit view')
  if (later.sequence <= chain.sequence) throw notShown(`receipt ${later.sequence} of the keyset is not after receipt ${chain.sequence}`)
  const there = await placeOf(later, places)
  if (there === null) throw notShown('the log has none of both, which may be the fault of the log')
  return (
    `promised, as number ${chain.sequence}, to be in ${JSON.stringify(promise.origin)} by ${promise.promised_by}; ` +
    `the log as witnessed at ${checkpoint.witnessedAt} has number ${later.sequence} in place ${there}, and not this one`
  )
}

/** Leaves that are left out were there before the receipt: its signed nonce is made of them. */
async function checkBefore(promised: Receipt, { range, salt }: ShownLog, { rootBefore }: VerifiedRange, origin: string): Promise<void> {
  if (salt === null) {
    if (range.before.size !== 0) throw notShown('leaves are left out, and nothing shows that they are older than the receipt')
    return
  }
  const expected = await anchoredNonce({ checkpoint: { origin, size: range.before.size, root: rootBefore }, salt })
  const nonce = eventOf(promised, 'veritee.request')?.client_nonce ?? 'none'
  if (nonce !== expected) throw notShown(`the nonce of the receipt is not made of the leaves that are left out: expected ${expected}, found ${nonce}`)
}

async function placeOf(statement: LogStatement, places: VerifiedRange['places']): Promise<number | null> {
  return places.get(toHex(await leafHash(await logEntry(statement)))) ?? null
}

function notShown(why: string): Error {
  return fail('fraud_not_shown', why)
}

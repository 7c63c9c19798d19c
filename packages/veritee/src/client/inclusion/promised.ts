import type { Verified } from '../../attestation/claims.ts'
import { fromHex, isHex } from '../../bytes/hex.ts'
import type { Policy, Role } from '../../policy/index.ts'
import type { Receipt, VerifiedExchange } from '../../receipt/index.ts'
import type { Sent } from '../exchange/sending.ts'
import type { Proof } from '../proof/proof.ts'

/** A receipt of a proof that promised the log which the policy names for its role (rule S21). */
export interface PromisedReceipt {
  readonly of: 'service' | 'worker'
  readonly receipt: Verified<Receipt>
  /** `X-Veritee-Receipt-Key`: whoever ran the model has it. A controller has none for its own receipts. */
  readonly receiptKey: Uint8Array | null
  /** The member `log` of the section. */
  readonly log: Exclude<NonNullable<Policy['roles'][Role]>['log'], 'any'>
}

/** By the proofs of this process: a proof as a document holds no receipts and no keys. */
const promised = new WeakMap<Proof, readonly PromisedReceipt[]>()

/** The key that came with an answer, 32 bytes; null where none came that could be one. Whether it is that of the receipt, `checkReceiptKey` says. */
export function receiptKeyOf({ sealed, response }: Pick<Sent, 'sealed' | 'response'>): Uint8Array | null {
  const header = response.headers['x-veritee-receipt-key']
  return sealed?.opening.sealed.receiptKey ?? (isHex(header, 32) ? fromHex(header) : null)
}

/** Remembers which receipts of a proof are in a log, or will be. */
export function rememberPromises(proof: Proof, sent: Sent, found: VerifiedExchange): void {
  const { service } = sent
  const { policy } = service.options
  const receiptKey = receiptKeyOf(sent)
  const receipts = [
    {
      of: 'service',
      receipt: found.receipt,
      receiptKey: found.worker === null ? receiptKey : null,
      section: policy.roles[service.report.descriptor.role],
    },
    { of: 'worker', receipt: found.worker?.receipt, receiptKey, section: policy.roles.worker },
  ] as const
  promised.set(
    proof,
    receipts.flatMap(({ of, receipt, receiptKey: key, section }) =>
      receipt === undefined || section === undefined || section.log === 'any'
        ? []
        : // What an exchange that was verified holds was verified.
          [{ of, receipt: receipt as Verified<Receipt>, receiptKey: key, log: section.log }],
    ),
  )
}

/** Undefined for what is no proof of an answer of this process. */
export function promisesOf(proof: Proof): readonly PromisedReceipt[] | undefined {
  return promised.get(proof)
}

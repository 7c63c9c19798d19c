import { type ErrorCode, VeriteeError } from '../errors.ts'
import type { Check } from './claims.ts'

/** Ids of the checks of `verifyQuote`, in the order they are taken. Ids are never renamed; new ones may be added. */
export const checkIds = [
  'quote.format',
  'pck.format',
  'pck.root',
  'pck.chain',
  'pck.window',
  'crl.root',
  'crl.pck-issuer',
  'crl.pck',
  'pck.revocation',
  'tcb-info.chain',
  'tcb-info.signature',
  'tcb-info.format',
  'tcb-info.window',
  'tcb-info.match',
  'qe-identity.chain',
  'qe-identity.signature',
  'qe-identity.format',
  'qe-identity.window',
  'qe-identity.match',
  'tdx.module',
  'qe-report.signature',
  'qe-report.data',
  'qe.identity',
  'quote.signature',
  'tcb.level',
] as const
export type CheckId = (typeof checkIds)[number]

/** A failed verification: the code says why, `checks` what was established before, its last entry being the check that failed. */
export class VerificationError extends VeriteeError {
  override readonly name: string = 'VerificationError'
  readonly checks: readonly Check[]

  constructor(code: ErrorCode, message: string, checks: readonly Check[], options?: { cause?: unknown }) {
    super(code, message, options)
    this.checks = checks
  }
}

/** The record of one verification: {@link CheckList.begin} a check, do its work, {@link CheckList.pass} it; what is thrown meanwhile is its failure. */
export class CheckList {
  readonly #taken: Check[] = []
  #current: CheckId = 'quote.format'

  get taken(): readonly Check[] {
    return this.#taken
  }

  begin(id: CheckId): void {
    this.#current = id
  }

  /** `detail` says what was established. */
  pass(detail: string): void {
    this.#taken.push({ id: this.#current, status: 'pass', detail })
  }

  /**
   * What to throw for what was thrown: a `VeriteeError` is recorded as the failure of the current check, and becomes a `VerificationError`; any other
   * error is a defect or a wrong argument.
   */
  failure(error: unknown): unknown {
    if (!(error instanceof VeriteeError)) return error
    this.#taken.push({ id: this.#current, status: 'fail', detail: error.message })
    return new VerificationError(error.code, `${this.#current}: ${error.message}`, this.#taken, { cause: error })
  }
}

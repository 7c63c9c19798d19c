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

/** The record of one verification. */
export class CheckList {
  readonly #taken: Check[] = []

  get taken(): readonly Check[] {
    return [...this.#taken]
  }

  /**
   * Runs one check and records it; `detail` describes what a pass established. A `VeriteeError` is recorded as the failure and thrown as a
   * `VerificationError`; any other error is a defect or a wrong argument and passes through.
   */
  async take<T>(id: CheckId, run: () => T | Promise<T>, detail: (value: T) => string): Promise<T> {
    try {
      const value = await run()
      this.#taken.push({ id, status: 'pass', detail: detail(value) })
      return value
    } catch (error) {
      if (!(error instanceof VeriteeError)) throw error
      this.#taken.push({ id, status: 'fail', detail: error.message })
      throw new VerificationError(error.code, `${id}: ${error.message}`, this.taken, { cause: error })
    }
  }
}

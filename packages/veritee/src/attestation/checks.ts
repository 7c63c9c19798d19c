import type { MaybePromise } from '../crypto/types.ts'
import { isPromise } from '../crypto/when-done.ts'
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
  take<T>(id: CheckId, run: () => T, detail: (value: T) => string): T {
    try {
      return this.#pass(id, run(), detail)
    } catch (error) {
      throw this.#failure(id, error)
    }
  }

  /** {@link CheckList.take} for a check that may have to wait, for a signature or a digest. */
  takeLater<T>(id: CheckId, run: () => MaybePromise<T>, detail: (value: T) => string): MaybePromise<T> {
    try {
      const value = run()
      return isPromise(value) ? this.#wait(id, value, detail) : this.#pass(id, value, detail)
    } catch (error) {
      throw this.#failure(id, error)
    }
  }

  async #wait<T>(id: CheckId, value: Promise<T>, detail: (value: T) => string): Promise<T> {
    try {
      return this.#pass(id, await value, detail)
    } catch (error) {
      throw this.#failure(id, error)
    }
  }

  #pass<T>(id: CheckId, value: T, detail: (value: T) => string): T {
    this.#taken.push({ id, status: 'pass', detail: detail(value) })
    return value
  }

  #failure(id: CheckId, error: unknown): unknown {
    if (!(error instanceof VeriteeError)) return error
    this.#taken.push({ id, status: 'fail', detail: error.message })
    return new VerificationError(error.code, `${id}: ${error.message}`, this.taken, { cause: error })
  }
}

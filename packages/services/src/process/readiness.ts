import type { ServerResponse } from 'node:http'

/** Why a service should get no requests, in words that hold nothing of its surroundings. */
export type ReasonCode =
  | 'stopping'
  | 'models_loading'
  | 'engine_not_running'
  | 'not_admitted'
  | 'no_verified_worker'
  | 'no_admission_manifest'
  | 'receipts_not_kept'
  | 'api_keys_not_current'
  | 'store_not_written'
  | 'log_not_followed'
  | 'store_not_newest'
  | 'keyset_ended'
  | 'clock_behind'
  | 'replicas_differ'
  | 'log_not_witnessed'
  | 'log_promises_at_risk'

interface Check {
  readonly code: ReasonCode
  readonly read: () => readonly string[]
}

/** Whether a service should get requests, and why not. */
export class Readiness {
  readonly #checks: Check[] = []
  /** What an operator has chosen to live with, repeated where readiness is read (rule S22). */
  readonly notices: readonly string[]

  constructor(notices: readonly string[]) {
    this.notices = notices
  }

  /**
   * `read` gives the reasons against, in words; none where all is well. The words hold no content and no credential, but what others said and where they are:
   * they are for operators. Everybody may read the code.
   */
  add(code: ReasonCode, read: Check['read']): void {
    this.#checks.push({ code, read })
  }

  get reasons(): ReasonCode[] {
    return this.#checks.filter(({ read }) => read().length > 0).map(({ code }) => code)
  }

  /** The reasons in words, for operators. */
  get details(): string[] {
    return this.#checks.flatMap(({ read }) => read())
  }

  /** `GET /readyz`: 200 or 503, with the code of every reason and every notice; `details`, the reasons in words, for `operators` only (rule S22). */
  answer(response: ServerResponse, reader: 'everybody' | 'operators'): void {
    const { reasons } = this
    const status = reasons.length === 0 ? 'ready' : 'not_ready'
    const details = reader === 'operators' ? { details: this.details } : {}
    const body = JSON.stringify({ status, reasons, ...details, notices: this.notices })
    response
      .writeHead(reasons.length === 0 ? 200 : 503, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        'cache-control': 'no-store',
      })
      .end(body)
  }
}

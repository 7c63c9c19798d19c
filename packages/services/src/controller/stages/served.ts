import type { HttpError } from '../../http/errors.ts'
import type { AdmittedWorker } from '../registry.ts'
import type { Lease } from '../routing/lease.ts'
import type { WorkerAnswer } from '../worker-answer.ts'

/** An answer that has begun. Whoever holds it ends its lease. */
export interface Served {
  readonly lease: Lease
  readonly answer: WorkerAnswer
  readonly upstreamNonce: string
  /** On the clock of `performance.now()`. */
  readonly began: number
  /** The whole body where the worker refused the request; its lease has ended then. */
  readonly refusal: Buffer | null
}

/** A request that went to a worker and came to no answer, for want of time. */
export class Unanswered {
  readonly worker: AdmittedWorker
  readonly error: HttpError

  constructor(worker: AdmittedWorker, error: HttpError) {
    this.worker = worker
    this.error = error
  }
}

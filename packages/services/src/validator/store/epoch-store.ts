/** One task of an epoch. The same tasks follow from the same seed, so planning them again changes nothing. */
export interface Job {
  readonly epoch: number
  /** From 0, without gaps: that of the record which it becomes. */
  readonly index: number
  /** When it is due, Unix milliseconds. */
  readonly dueMs: number
  /** JSON. */
  readonly task: string
}

/** A job that somebody has. */
export interface Taken extends Job {
  /** What it has come to so far, as `postpone` kept it; null at first. */
  readonly draft: string | null
}

/** What came of a job. */
export interface Done {
  /** The signed record, one line. */
  readonly record: string
  /** JSON: what it rests on, for fraud proofs and appeals. */
  readonly evidence: string
}

/** A receipt of a worker that an audit saw, for looking at the chain of its keyset. */
export interface SeenReceipt {
  readonly keyset: string
  readonly sequence: number
  readonly previous: string | null
  readonly digest: string
  /** The receipt, and the report that binds the keyset. */
  readonly receipt: string
  readonly report: string
}

/**
 * What a validator remembers: facts of an epoch (seed, commitment, rounds of the beacon), its tasks, its records, and the receipts that it saw. One interface for
 * every store; several processes may share one. A task is finished once: its record, its evidence and its being done are one transaction, so that a process that
 * is killed leaves either all or nothing, and whoever goes on repeats what has no record.
 *
 * Everything throws `validator_store_unavailable` where the store cannot do its work now.
 */
export interface EpochStore {
  /** Puts a fact where there is none, and gives what is there: the first one stays. */
  keep(epoch: number, name: string, text: string): Promise<string>
  fact(epoch: number, name: string): Promise<string | null>
  /** Those whose name begins with `prefix`, in the order of their names. */
  facts(epoch: number, prefix: string): Promise<readonly { readonly name: string; readonly text: string }[]>
  /** Removes those whose name begins with `prefix`. */
  forget(epoch: number, prefix: string): Promise<void>
  /** Epochs with any fact, rising. */
  epochs(): Promise<readonly number[]>
  plan(jobs: readonly Job[]): Promise<void>
  /**
   * A task that is due, has no record and is nobody's for now; it is the caller's until `untilMs`. Null where there is none. No two processes have one task at a
   * time, as long as they finish in theirs.
   */
  take(epoch: number, nowMs: number, untilMs: number): Promise<Taken | null>
  /** Keeps what a task has come to so far (JSON), and gives it back: nobody takes it before `untilMs`. What has a record stays as it is. */
  postpone(epoch: number, index: number, draft: string, untilMs: number): Promise<void>
  /** Gives a task back that came to nothing, for somebody to take again. */
  release(epoch: number, index: number): Promise<void>
  /** False where the task has a record already, which then stays. */
  finish(epoch: number, index: number, done: Done, seen: readonly SeenReceipt[]): Promise<boolean>
  /** Tasks without a record. */
  open(epoch: number): Promise<number>
  /** In the order of their index. */
  records(epoch: number): Promise<readonly string[]>
  /** Of a task with a record. */
  evidence(epoch: number, index: number): Promise<string | null>
  /** Removes the evidence of tasks with a record from `from` on; the records stay. */
  clearEvidence(epoch: number, from: number): Promise<void>
  /** Receipts of one keyset that share the number or the predecessor of this one, itself left out. */
  rivals(receipt: Pick<SeenReceipt, 'keyset' | 'sequence' | 'previous' | 'digest'>): Promise<readonly SeenReceipt[]>
  /** A report that binds a keyset of which a receipt was seen, in any epoch; null for others. */
  reportOf(keyset: string): Promise<string | null>
  close(): Promise<void>
}

/** What a worker has under way. It belongs to the keyset: a worker whose session is renewed goes on with what it had. */
export class WorkerLoad {
  /** Requests sent to it whose answers have not ended. */
  outstanding = 0
}

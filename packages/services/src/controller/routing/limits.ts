/** Bounds of routing. An operator may set the first five; see docs/configuration.md. */
export interface RoutingLimits {
  /** Requests that one worker has at a time at most; more wait here. A worker that says that it has no room gets fewer. */
  readonly workerRequests: number
  /** Requests that wait for one model. */
  readonly queueRequests: number
  /** How long one waits at most. */
  readonly queueMs: number
  /** How long a worker may take until a stream begins. */
  readonly firstByteMs: number
  /** From the arrival of a request to the end of its answer. */
  readonly answerMs: number
  /** Workers that are asked for one request. */
  readonly attempts: number
  /** Failures in a row after which a worker gets no requests for a while. */
  readonly breakerFailures: number
  /** That while, the first time; it doubles each time up to the other bound. */
  readonly breakerMs: number
  readonly breakerMaxMs: number
}

export const defaultLimits: RoutingLimits = {
  workerRequests: 1024,
  queueRequests: 256,
  queueMs: 10_000,
  firstByteMs: 120_000,
  answerMs: 1_800_000,
  attempts: 3,
  breakerFailures: 3,
  breakerMs: 1_000,
  breakerMaxMs: 60_000,
}

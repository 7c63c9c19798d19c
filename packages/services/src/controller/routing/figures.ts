import type { BreakerState } from './breaker.ts'

/** How a worker was chosen. */
export type Chosen = 'affinity' | 'affinity_second' | 'two_choices' | 'pinned'
/** Why a request that waited, or was to wait, got no worker. */
export type Left = 'full' | 'timeout' | 'requester_left'
/** Why another worker was asked. */
export type Retry = 'transport' | 'failed' | 'busy' | 'stopping'

/** What routing has done, counted. Words of closed sets only. */
export class RoutingFigures {
  readonly counts: {
    readonly chosen: Record<Chosen, number>
    readonly left: Record<Left, number>
    readonly retries: Record<Retry, number>
    readonly breakers: Record<BreakerState, number>
  } = {
    chosen: { affinity: 0, affinity_second: 0, two_choices: 0, pinned: 0 },
    left: { full: 0, timeout: 0, requester_left: 0 },
    retries: { transport: 0, failed: 0, busy: 0, stopping: 0 },
    breakers: { closed: 0, open: 0, half_open: 0 },
  }

  chosen(how: Chosen): void {
    this.counts.chosen[how]++
  }

  left(why: Left): void {
    this.counts.left[why]++
  }

  retried(why: Retry): void {
    this.counts.retries[why]++
  }

  turned(state: BreakerState): void {
    this.counts.breakers[state]++
  }
}

/** Time as an enclave may believe it (rule S11): the host's clock, and never earlier than what somebody it verified has signed. */
export interface FlooredClock {
  readonly now: () => Date
  /** The latest time that was verified as signed; the beginning of 1970 where none was. */
  readonly floor: () => Date
  /** A signed time was verified: it is at least that late. */
  raise(signed: Date): void
}

/**
 * A clock with a floor that rises and never falls. A host that sets its clock back cannot bring back what ended before the latest signed time seen; one that
 * sets it forward only ends things sooner. Between two signed times the host is believed.
 */
export function flooredClock(host: () => Date): FlooredClock {
  let floor = 0
  return {
    now: () => new Date(Math.max(host().getTime(), floor)),
    floor: () => new Date(floor),
    raise: (signed) => {
      floor = Math.max(floor, signed.getTime())
    },
  }
}

import { type LevelStatus, readLevelStatus, readLevels, shape } from './document.ts'

/** A level of an enclave or module identity, keyed by one ISVSVN. Intel's library takes no other status here. */
export interface IsvLevel extends LevelStatus<'UpToDate' | 'OutOfDate' | 'Revoked'> {
  readonly isvSvn: number
}

/** Levels of an identity, highest ISVSVN first. Throws `collateral_malformed`. */
export function readIsvLevels(value: unknown, where: string, maxIsvSvn: number): readonly IsvLevel[] {
  return readLevels(
    value,
    where,
    (level, at) => ({
      isvSvn: shape.integer(shape.record(level.tcb, `${at}.tcb`).isvsvn, `${at}.tcb.isvsvn`, maxIsvSvn),
      ...readLevelStatus(level, at, ['UpToDate', 'OutOfDate', 'Revoked']),
    }),
    (a, b) => a.isvSvn - b.isvSvn,
  )
}

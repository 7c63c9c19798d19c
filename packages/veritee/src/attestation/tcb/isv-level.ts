import { type LevelStatus, readLevelStatus, readLevels, shape } from './document.ts'

/** A level of an enclave or module identity, keyed by one ISVSVN. */
export interface IsvLevel extends LevelStatus<IsvStatus | 'Unrecognized'> {
  readonly isvSvn: number
}

/** What Intel's library knows here. */
const statuses = ['UpToDate', 'OutOfDate', 'Revoked'] as const
type IsvStatus = (typeof statuses)[number]

/**
 * Levels of an identity, highest ISVSVN first. As Intel's library does it, a status it does not know is refused in the identity of a quoting enclave; in one
 * of a TDX module it becomes `Unrecognized`, and whatever it is the level of is not supported. Throws `collateral_malformed`.
 */
export function readIsvLevels(value: unknown, where: string, maxIsvSvn: number, unknown: 'refused' | 'unrecognized'): readonly IsvLevel[] {
  return readLevels(
    value,
    where,
    (level, at) => ({
      isvSvn: shape.integer(shape.record(level.tcb, `${at}.tcb`).isvsvn, `${at}.tcb.isvsvn`, maxIsvSvn),
      ...readLevelStatus(unknown === 'refused' ? level : { ...level, tcbStatus: recognized(level.tcbStatus, at) }, at, [
        ...statuses,
        ...(unknown === 'refused' ? [] : ['Unrecognized' as const]),
      ]),
    }),
    (a, b) => a.isvSvn - b.isvSvn,
  )
}

function recognized(value: unknown, at: string): IsvStatus | 'Unrecognized' {
  const status = shape.string(value, `${at}.tcbStatus`, 100)
  return statuses.find((known) => known === status) ?? 'Unrecognized'
}

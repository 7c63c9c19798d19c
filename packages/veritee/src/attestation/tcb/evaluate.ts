import type { TcbLevelResult, TcbStatus } from '../claims.ts'
import { findModuleIdentity, hasModuleVersion } from '../tdx/module.ts'
import type { IsvLevel } from './isv-level.ts'
import type { QeIdentity } from './qe-identity.ts'
import type { PlatformStatus, TcbInfo } from './tcb-info.ts'

/** The security versions of one platform: from the PCK certificate (P11) and the QE report, not from the quoted body. */
export interface PlatformSvns {
  /** 16 components of the PCK certificate. */
  readonly sgxComponents: Uint8Array
  readonly pceSvn: number
  readonly qeIsvSvn: number
}

export interface TcbEvaluation {
  readonly launch: TcbLevelResult
  readonly current: TcbLevelResult
}

/** Anew each time: what is returned belongs to the caller. */
function notSupported(): TcbLevelResult {
  return { status: 'NotSupported', tcbDate: null, advisories: [] }
}

/**
 * Evaluates a platform at launch and now. `teeTcbSvn` is null for SGX; `teeTcbSvn2` is null for bodies that carry no second one, whose current TCB
 * is that of the launch. Where nothing matches the launch or the current TCB, both are `NotSupported`, which is not `OutOfDate` (P12).
 *
 * The launch status becomes `TDRelaunchAdvised` (or its ConfigurationNeeded form) where the launch was out of date and the platform no longer is.
 */
export function evaluateTcb(
  info: TcbInfo,
  qe: QeIdentity,
  svns: PlatformSvns,
  teeTcbSvn: Uint8Array | null,
  teeTcbSvn2: Uint8Array | null,
): TcbEvaluation {
  const launch = evaluateLevel(info, qe, svns, teeTcbSvn)
  if (teeTcbSvn2 === null) return { launch, current: launch }
  const current = evaluateLevel(info, qe, svns, teeTcbSvn2)
  if (launch.status === 'NotSupported' || current.status === 'NotSupported') return { launch: notSupported(), current: notSupported() }
  return { launch: { ...launch, status: relaunch(launch.status, current.status) }, current }
}

/** One pass over levels, highest first; then the TDX module's and the quoting enclave's own levels; then the three converged. */
function evaluateLevel(info: TcbInfo, qe: QeIdentity, svns: PlatformSvns, teeTcbSvn: Uint8Array | null): TcbLevelResult {
  const first = teeTcbSvn !== null && hasModuleVersion(teeTcbSvn) ? 2 : 0
  const platform = info.levels.find(
    (level) =>
      reaches(svns.sgxComponents, level.sgxComponents, 0) &&
      svns.pceSvn >= level.pceSvn &&
      (teeTcbSvn === null || (level.tdxComponents !== null && reaches(teeTcbSvn, level.tdxComponents, first))),
  )
  const components: (IsvLevel | undefined)[] = [qe.levels.find((level) => svns.qeIsvSvn >= level.isvSvn)]
  if (teeTcbSvn !== null && hasModuleVersion(teeTcbSvn)) {
    const [minor = 0] = teeTcbSvn
    components.push(findModuleIdentity(info, teeTcbSvn)?.levels.find((level) => minor >= level.isvSvn))
  }
  const matched = components.filter((level) => level !== undefined)
  if (platform === undefined || matched.length !== components.length || matched.some(({ status }) => status === 'Unrecognized')) return notSupported()
  let earliest = platform.tcbDate.getTime()
  for (const level of matched) earliest = Math.min(earliest, level.tcbDate.getTime())
  return { status: converge(platform.status, matched), tcbDate: new Date(earliest), advisories: unionOf(platform.advisories, matched) }
}

/** All advisories, sorted, each once. */
function unionOf(platform: readonly string[], components: readonly IsvLevel[]): readonly string[] {
  // Most levels list theirs so.
  const union = isAscending(platform) ? [...platform] : [...new Set(platform)].sort()
  for (const { advisories } of components)
    for (const advisory of advisories) {
      let at = union.length
      while (at > 0 && (union[at - 1] as string) > advisory) at--
      if (union[at - 1] !== advisory) union.splice(at, 0, advisory)
    }
  return union
}

function isAscending(texts: readonly string[]): boolean {
  for (let at = 1; at < texts.length; at++) if ((texts[at - 1] as string) >= (texts[at] as string)) return false
  return true
}

/** Every component at least the level's: a partial order, so a higher value elsewhere makes up for nothing. */
function reaches(components: Uint8Array, level: Uint8Array, first: number): boolean {
  // Written so that a missing component does not reach anything.
  for (let index = first; index < level.length; index++) if (!((components[index] as number) >= (level[index] as number))) return false
  return true
}

/** Revoked wins; an out-of-date component makes an otherwise current platform out of date. */
function converge(platform: PlatformStatus, components: readonly IsvLevel[]): PlatformStatus {
  if (components.some((level) => level.status === 'Revoked')) return 'Revoked'
  if (!components.some((level) => level.status === 'OutOfDate')) return platform
  switch (platform) {
    case 'UpToDate':
    case 'SWHardeningNeeded':
      return 'OutOfDate'
    case 'ConfigurationNeeded':
    case 'ConfigurationAndSWHardeningNeeded':
      return 'OutOfDateConfigurationNeeded'
    default:
      return platform
  }
}

function relaunch(launch: TcbStatus, current: TcbStatus): TcbStatus {
  const wasOutOfDate = launch === 'OutOfDate' || launch === 'OutOfDateConfigurationNeeded'
  const configurationNeeded = current === 'ConfigurationNeeded' || current === 'ConfigurationAndSWHardeningNeeded'
  const isCurrent = configurationNeeded || current === 'UpToDate' || current === 'SWHardeningNeeded'
  if (!wasOutOfDate || !isCurrent) return launch
  return configurationNeeded || launch === 'OutOfDateConfigurationNeeded' ? 'TDRelaunchAdvisedConfigurationNeeded' : 'TDRelaunchAdvised'
}

import type { DocumentFields } from './collateral.ts'
import type { SimModuleIdentity, SimQeLevel, SimTcbLevel, SimTdxModule } from './documents.ts'

/**
 * What the simulated vendor publishes about a platform. All of it may change when collateral is issued again.
 * Levels may be in any order; where none are given, the platform is UpToDate and everything below it OutOfDate.
 */
export interface SimStanding {
  /** How long revocation lists and documents are valid from `at`; 30 where not given, as Intel's. */
  readonly validDays?: number
  readonly tcbLevels?: readonly SimTcbLevel[]
  readonly qeLevels?: readonly SimQeLevel[]
  readonly evaluationDataNumber?: number
  /** Of the TCB info for SGX; 3 where not given. */
  readonly tcbInfoVersion?: 2 | 3
  /** The same for TDX. `tdxModule` is for modules without a major version, the identities for the others; null leaves those out. */
  readonly tdxTcbLevels?: readonly SimTcbLevel[]
  readonly tdQeLevels?: readonly SimQeLevel[]
  readonly tdxModule?: SimTdxModule
  readonly tdxModuleIdentities?: readonly SimModuleIdentity[] | null
  /** Whose certificates are on their issuer's revocation list. */
  readonly revoked?: readonly ('pck' | 'intermediate' | 'tcbSigning')[]
}

/** What a platform is, for the documents about it. */
export interface PlatformFacts {
  readonly at: Date
  readonly fmspc: string
  readonly pceId: string
  readonly components: readonly number[]
  readonly pceSvn: number
  readonly teeTcbSvn: readonly number[]
  /** Of both quoting enclaves. */
  readonly qeMrsigner: string
}

/** The two quoting enclaves, told apart by ISVPRODID as Intel's are. */
export const quotingEnclaves = {
  sgx: { id: 'QE', isvProdId: 1, isvSvn: 10 },
  tdx: { id: 'TD_QE', isvProdId: 2, isvSvn: 7 },
} as const

const day = 86_400_000
const advisories: readonly string[] = ['INTEL-SA-00000']
/** As on hardware: Intel's own modules have no MRSIGNERSEAM, and no attributes. */
const intelModule: SimTdxModule = { mrsigner: '00'.repeat(48), attributes: '00'.repeat(8), attributesMask: 'FF'.repeat(8) }

/** The SGX documents of a platform. */
export function sgxDocuments(facts: PlatformFacts, standing: SimStanding): DocumentFields {
  const { fmspc, pceId, components, pceSvn, at } = facts
  const { evaluationDataNumber = 20, tcbInfoVersion = 3 } = standing
  const levels = standing.tcbLevels ?? platformLevels(at, { components, pceSvn })
  return {
    tcbInfo: { version: tcbInfoVersion, fmspc, pceId, evaluationDataNumber, levels },
    qeIdentity: qeIdentity('sgx', facts, standing.qeLevels, evaluationDataNumber),
  }
}

/** The TDX documents of the same platform. */
export function tdxDocuments(facts: PlatformFacts, standing: SimStanding): DocumentFields {
  const { fmspc, pceId, components, pceSvn, teeTcbSvn, at } = facts
  const { evaluationDataNumber = 20, tdxModule: module = intelModule } = standing
  const levels = standing.tdxTcbLevels ?? platformLevels(at, { components, pceSvn, tdxComponents: teeTcbSvn })
  const identities = standing.tdxModuleIdentities === undefined ? moduleIdentities(at, teeTcbSvn) : standing.tdxModuleIdentities
  return {
    tcbInfo: { fmspc, pceId, evaluationDataNumber, levels, tdx: { module, identities } },
    qeIdentity: qeIdentity('tdx', facts, standing.tdQeLevels, evaluationDataNumber),
  }
}

function qeIdentity(tee: 'sgx' | 'tdx', facts: PlatformFacts, levels: readonly SimQeLevel[] | undefined, evaluationDataNumber: number) {
  const { id, isvProdId, isvSvn } = quotingEnclaves[tee]
  return { id, isvProdId, mrsigner: facts.qeMrsigner, evaluationDataNumber, levels: levels ?? isvLevels(facts.at, isvSvn, 1) }
}

function platformLevels(at: Date, versions: Pick<SimTcbLevel, 'components' | 'pceSvn' | 'tdxComponents'>): SimTcbLevel[] {
  const zeros = new Array<number>(16).fill(0)
  const lowest = { components: zeros, pceSvn: 0, ...(versions.tdxComponents === undefined ? {} : { tdxComponents: zeros }) }
  return [
    { ...versions, status: 'UpToDate', tcbDate: midnightBefore(at, 90) },
    { ...lowest, status: 'OutOfDate', tcbDate: midnightBefore(at, 455), advisories },
  ]
}

function isvLevels(at: Date, isvSvn: number, lowest: number): SimQeLevel[] {
  return [
    { isvSvn, status: 'UpToDate', tcbDate: midnightBefore(at, 90) },
    { isvSvn: lowest, status: 'OutOfDate', tcbDate: midnightBefore(at, 455), advisories },
  ]
}

/** Modules without a major version have no identity (TDX 1.0). */
function moduleIdentities(at: Date, [minor = 0, major = 0]: readonly number[]): SimModuleIdentity[] | null {
  if (major === 0) return null
  const id = `TDX_${major.toString(16).toUpperCase().padStart(2, '0')}`
  // A lowest level of 0 would be the same level again for a minor version of 0.
  return [{ id, ...intelModule, levels: isvLevels(at, minor, 0).slice(0, minor === 0 ? 1 : 2) }]
}

function midnightBefore(at: Date, days: number): Date {
  return new Date((Math.floor(at.getTime() / day) - days) * day)
}

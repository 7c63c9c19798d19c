import type { Window } from './authority.ts'

/** One TCB level of a simulated platform. `status` is any text, so that tests can use one no verifier knows. */
export interface SimTcbLevel {
  /** The 16 TCB component SVNs. */
  readonly components: readonly number[]
  readonly pceSvn: number
  readonly status: string
  readonly tcbDate: Date
  readonly advisories?: readonly string[]
}

/** One TCB level of the simulated quoting enclave. */
export interface SimQeLevel {
  readonly isvSvn: number
  readonly status: string
  readonly tcbDate: Date
  readonly advisories?: readonly string[]
}

/** A JSON object still to be signed: edit its members, then hand it to `signDocument`. */
export type UnsignedDocument = Readonly<Record<string, unknown>>

/** TCB info of version 3 for SGX (Intel SGX PCS API v4, Get TCB Info), with members in Intel's order. */
export function tcbInfoDocument(
  fields: { readonly fmspc: string; readonly pceId: string; readonly evaluationDataNumber: number; readonly levels: readonly SimTcbLevel[] },
  window: Window,
): UnsignedDocument {
  return {
    id: 'SGX',
    version: 3,
    issueDate: utcSeconds(window.from),
    nextUpdate: utcSeconds(window.to),
    fmspc: fields.fmspc.toUpperCase(),
    pceId: fields.pceId.toUpperCase(),
    tcbType: 0,
    tcbEvaluationDataNumber: fields.evaluationDataNumber,
    tcbLevels: fields.levels.map((level) => ({
      tcb: { sgxtcbcomponents: level.components.map((svn) => ({ svn })), pcesvn: level.pceSvn },
      ...standing(level),
    })),
  }
}

/** QE identity of version 2 for SGX (Intel SGX PCS API v4, Get QE Identity), with members in Intel's order. */
export function qeIdentityDocument(
  fields: { readonly mrsigner: string; readonly isvProdId: number; readonly evaluationDataNumber: number; readonly levels: readonly SimQeLevel[] },
  window: Window,
): UnsignedDocument {
  return {
    id: 'QE',
    version: 2,
    issueDate: utcSeconds(window.from),
    nextUpdate: utcSeconds(window.to),
    tcbEvaluationDataNumber: fields.evaluationDataNumber,
    miscselect: '00000000',
    miscselectMask: 'FFFFFFFF',
    // INIT and PROVISION_KEY must be set, DEBUG clear; MODE64BIT and XFRM are free.
    attributes: '11000000000000000000000000000000',
    attributesMask: 'FBFFFFFFFFFFFFFF0000000000000000',
    mrsigner: fields.mrsigner.toUpperCase(),
    isvprodid: fields.isvProdId,
    tcbLevels: fields.levels.map((level) => ({ tcb: { isvsvn: level.isvSvn }, ...standing(level) })),
  }
}

function standing(level: SimTcbLevel | SimQeLevel): UnsignedDocument {
  const advisories = level.advisories ?? []
  // Intel leaves the list out where it would be empty.
  return { tcbDate: utcSeconds(level.tcbDate), tcbStatus: level.status, ...(advisories.length === 0 ? {} : { advisoryIDs: advisories }) }
}

/** A date as Intel's documents write it: UTC, whole seconds. */
export function utcSeconds(at: Date): string {
  return `${at.toISOString().slice(0, 19)}Z`
}

import type { Window } from './authority.ts'

/** One TCB level of a simulated platform. `status` is any text, so that tests can use one no verifier knows. */
export interface SimTcbLevel {
  /** The 16 TCB component SVNs. */
  readonly components: readonly number[]
  /** For TDX: 16 more, compared with TEE_TCB_SVN. */
  readonly tdxComponents?: readonly number[]
  readonly pceSvn: number
  readonly status: string
  readonly tcbDate: Date
  readonly advisories?: readonly string[]
}

/** One TCB level of what has a single ISVSVN: a simulated quoting enclave or TDX module. */
export interface SimQeLevel {
  readonly isvSvn: number
  readonly status: string
  readonly tcbDate: Date
  readonly advisories?: readonly string[]
}

/** Who may have signed a TDX module, and its attributes: hex of 48, 8 and 8 bytes. */
export interface SimTdxModule {
  readonly mrsigner: string
  readonly attributes: string
  readonly attributesMask: string
}

/** The identity of TDX modules of one major version; `id` is any text. */
export interface SimModuleIdentity extends SimTdxModule {
  readonly id: string
  readonly levels: readonly SimQeLevel[]
}

/** What TCB info says. With `tdx` it is for TDX, whose `identities` may be null: absent, as for TDX 1.0. */
export interface TcbInfoFields {
  /** 2 has the components as members of their own, and no TDX; 3 where not given. */
  readonly version?: 2 | 3
  readonly fmspc: string
  readonly pceId: string
  readonly evaluationDataNumber: number
  readonly levels: readonly SimTcbLevel[]
  readonly tdx?: { readonly module: SimTdxModule; readonly identities: readonly SimModuleIdentity[] | null }
}

/** What the identity of a quoting enclave says: `QE` for SGX, `TD_QE` for TDX. */
export interface QeIdentityFields {
  readonly id: 'QE' | 'TD_QE'
  readonly mrsigner: string
  readonly isvProdId: number
  readonly evaluationDataNumber: number
  readonly levels: readonly SimQeLevel[]
}

/** A JSON object still to be signed: edit its members, then hand it to `signDocument`. */
export type UnsignedDocument = Readonly<Record<string, unknown>>

/** TCB info of version 3 (Intel SGX PCS API v4, Get TCB Info) or 2 (API v3), with members in Intel's order. */
export function tcbInfoDocument(fields: TcbInfoFields, window: Window): UnsignedDocument {
  const { version = 3, tdx } = fields
  return {
    ...(version === 2 ? {} : { id: tdx === undefined ? 'SGX' : 'TDX' }),
    version,
    issueDate: utcSeconds(window.from),
    nextUpdate: utcSeconds(window.to),
    fmspc: fields.fmspc.toUpperCase(),
    pceId: fields.pceId.toUpperCase(),
    tcbType: 0,
    tcbEvaluationDataNumber: fields.evaluationDataNumber,
    ...(tdx === undefined ? {} : modules(tdx)),
    tcbLevels: fields.levels.map((level) => ({ tcb: version === 2 ? namedComponents(level) : listedComponents(level), ...standing(level) })),
  }
}

function namedComponents(level: SimTcbLevel): UnsignedDocument {
  const named = level.components.map((svn, index) => [`sgxtcbcomp${String(index + 1).padStart(2, '0')}svn`, svn] as const)
  return { ...Object.fromEntries(named), pcesvn: level.pceSvn }
}

function listedComponents(level: SimTcbLevel): UnsignedDocument {
  const listed = (svns: readonly number[]): unknown => svns.map((svn) => ({ svn }))
  return {
    sgxtcbcomponents: listed(level.components),
    pcesvn: level.pceSvn,
    ...(level.tdxComponents === undefined ? {} : { tdxtcbcomponents: listed(level.tdxComponents) }),
  }
}

function modules(tdx: NonNullable<TcbInfoFields['tdx']>): UnsignedDocument {
  const signer = ({ mrsigner, attributes, attributesMask }: SimTdxModule): UnsignedDocument => ({ mrsigner, attributes, attributesMask })
  const { module, identities } = tdx
  return {
    tdxModule: signer(module),
    ...(identities === null
      ? {}
      : { tdxModuleIdentities: identities.map((one) => ({ id: one.id, ...signer(one), tcbLevels: one.levels.map(isvLevel) })) }),
  }
}

/** QE identity of version 2 (Intel SGX PCS API v4, Get Enclave Identity), with members in Intel's order. */
export function qeIdentityDocument(fields: QeIdentityFields, window: Window): UnsignedDocument {
  return {
    id: fields.id,
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
    tcbLevels: fields.levels.map(isvLevel),
  }
}

function isvLevel(level: SimQeLevel): UnsignedDocument {
  return { tcb: { isvsvn: level.isvSvn }, ...standing(level) }
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

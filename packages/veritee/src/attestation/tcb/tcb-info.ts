import { compare } from '../../bytes/bytes.ts'
import { type LevelStatus, readDocument, readHex, readLevelStatus, readLevels, readSignedDocument, type SignedDocument, shape } from './document.ts'
import { type IsvLevel, readIsvLevels } from './isv-level.ts'

/** Statuses a platform level may have (Intel PCS API v4, Get TCB Info). */
export const platformStatuses = [
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'Revoked',
] as const
export type PlatformStatus = (typeof platformStatuses)[number]

export interface PlatformLevel extends LevelStatus<PlatformStatus> {
  /** 16 security versions each. */
  readonly sgxComponents: Uint8Array
  /** Null in SGX documents. */
  readonly tdxComponents: Uint8Array | null
  readonly pceSvn: number
}

/** Who may have signed a TDX module, and with which SEAM attributes. */
export interface TdxModule {
  readonly mrSigner: Uint8Array
  readonly attributes: Uint8Array
}

export interface TdxModuleIdentity extends TdxModule {
  /** Upper case, such as `TDX_03`. */
  readonly id: string
  /** Highest first. */
  readonly levels: readonly IsvLevel[]
}

/** Intel's TCB info for one platform family, as parsed. The signature over its text is not part of it. */
export interface TcbInfo extends SignedDocument {
  readonly version: 2 | 3
  readonly tee: 'sgx' | 'tdx'
  readonly fmspc: Uint8Array
  readonly pceId: Uint8Array
  /** Highest first. */
  readonly levels: readonly PlatformLevel[]
  /** Null in SGX documents. */
  readonly tdxModule: TdxModule | null
  readonly tdxModuleIdentities: readonly TdxModuleIdentity[]
}

const where = 'tcbInfo'
const maxModuleIdentities = 256

/**
 * Parses the text of a TCB info, version 2 (`sgxtcbcompNNsvn`, SGX only) or 3 (arrays; SGX or TDX) (P19).
 *
 * Types and ranges are strict, unknown members are allowed, unknown statuses of platform levels are not. An SGX document with TDX parts, a TDX document without
 * `tdxModule` or `tdxtcbcomponents` (P13), an empty list of module identities, two different ones of one id, security versions above 255 and repeated
 * levels are refused. Levels come
 * back sorted as Intel's library sorts them: SGX components, PCESVN, TDX components, highest first.
 *
 * Throws `malformed_json`, `collateral_malformed`.
 */
export function parseTcbInfo(text: string): TcbInfo {
  const document = readDocument(text, where)
  const version = shape.integer(document.version, `${where}.version`)
  if (version !== 2 && version !== 3) throw shape.refuse(`${where}.version`, '2 or 3')
  const tee = version === 2 || shape.oneOf(document.id, `${where}.id`, ['SGX', 'TDX']) === 'SGX' ? 'sgx' : 'tdx'
  if (shape.integer(document.tcbType, `${where}.tcbType`) !== 0) throw shape.refuse(`${where}.tcbType`, '0')
  return {
    version,
    tee,
    ...readSignedDocument(document, where),
    fmspc: readHex(document.fmspc, `${where}.fmspc`, 6),
    pceId: readHex(document.pceId, `${where}.pceId`, 2),
    ...readModules(document, tee),
    levels: readLevels(document.tcbLevels, `${where}.tcbLevels`, (level, at) => readPlatformLevel(level, at, version, tee), compareLevels),
  }
}

function readPlatformLevel(level: Record<string, unknown>, at: string, version: 2 | 3, tee: 'sgx' | 'tdx'): PlatformLevel {
  const tcb = shape.record(level.tcb, `${at}.tcb`)
  return {
    sgxComponents: version === 2 ? readComponentsV2(tcb, at) : readComponents(tcb.sgxtcbcomponents, `${at}.tcb.sgxtcbcomponents`),
    tdxComponents: tee === 'tdx' ? readComponents(tcb.tdxtcbcomponents, `${at}.tcb.tdxtcbcomponents`) : null,
    pceSvn: shape.integer(tcb.pcesvn, `${at}.tcb.pcesvn`, 65_535),
    ...readLevelStatus(level, at, platformStatuses),
  }
}

function readComponentsV2(tcb: Record<string, unknown>, at: string): Uint8Array {
  const names = Array.from({ length: 16 }, (_, i) => `sgxtcbcomp${String(i + 1).padStart(2, '0')}svn`)
  return Uint8Array.from(names, (name) => shape.integer(tcb[name], `${at}.tcb.${name}`, 255))
}

function readComponents(value: unknown, at: string): Uint8Array {
  const items = shape.array(value, at, 16)
  if (items.length !== 16) throw shape.refuse(at, '16 components')
  const svns = new Uint8Array(16)
  for (let i = 0; i < 16; i++) {
    const svn = (items[i] as { readonly svn?: unknown } | null)?.svn
    // Where it stands is put into words only for a component that is refused: a document has hundreds.
    svns[i] = isOctet(svn) ? svn : shape.integer(shape.record(items[i], `${at}[${i}]`).svn, `${at}[${i}].svn`, 255)
  }
  return svns
}

function isOctet(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 255
}

function compareLevels(a: PlatformLevel, b: PlatformLevel): number {
  const bySgx = compare(a.sgxComponents, b.sgxComponents) || a.pceSvn - b.pceSvn
  return bySgx === 0 && a.tdxComponents !== null && b.tdxComponents !== null ? compare(a.tdxComponents, b.tdxComponents) : bySgx
}

function readModules(document: Record<string, unknown>, tee: 'sgx' | 'tdx'): Pick<TcbInfo, 'tdxModule' | 'tdxModuleIdentities'> {
  const { tdxModule, tdxModuleIdentities } = document
  if (tee === 'sgx') {
    if (tdxModule !== undefined || tdxModuleIdentities !== undefined) throw shape.refuse(where, 'no TDX module in TCB info for SGX')
    return { tdxModule: null, tdxModuleIdentities: [] }
  }
  return {
    tdxModule: readModule(shape.record(tdxModule, `${where}.tdxModule`), `${where}.tdxModule`),
    tdxModuleIdentities: tdxModuleIdentities === undefined ? [] : readModuleIdentities(tdxModuleIdentities, `${where}.tdxModuleIdentities`),
  }
}

/** Where there is a list there is an identity in it. One that says the very same a second time changes nothing; two that differ are refused. */
function readModuleIdentities(value: unknown, at: string): TdxModuleIdentity[] {
  const items = shape.array(value, at, maxModuleIdentities)
  if (items.length === 0) throw shape.refuse(at, 'at least one identity')
  const texts = new Map<string, string>()
  return items.map((item, index) => {
    const identity = readModuleIdentity(item, `${at}[${index}]`)
    const text = JSON.stringify(item)
    if ((texts.get(identity.id) ?? text) !== text) throw shape.refuse(at, `one identity ${identity.id}`)
    texts.set(identity.id, text)
    return identity
  })
}

function readModuleIdentity(value: unknown, at: string): TdxModuleIdentity {
  const identity = shape.record(value, at)
  return {
    // Compared without regard to case (P14).
    id: shape.string(identity.id, `${at}.id`, 100).toUpperCase(),
    ...readModule(identity, at),
    levels: readIsvLevels(identity.tcbLevels, `${at}.tcbLevels`, 255, 'unrecognized'),
  }
}

/** `attributesMask` is required to be well-formed and otherwise not used: the whole field must be equal, and zero. */
function readModule(module: Record<string, unknown>, at: string): TdxModule {
  readHex(module.attributesMask, `${at}.attributesMask`, 8)
  return { mrSigner: readHex(module.mrsigner, `${at}.mrsigner`, 48), attributes: readHex(module.attributes, `${at}.attributes`, 8) }
}

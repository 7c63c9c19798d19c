import * as crypto from '#crypto'
import type { Collateral, Trust } from '../../src/attestation/index.ts'
import {
  type Alteration,
  type Authority,
  assembleCollateral,
  type CollateralPieces,
  chainPem,
  createSimVendor,
  issueAuthority,
  issueAuthorityCrl,
  leafProfile,
  qeIdentityDocument,
  qeReportData,
  type SgxReportFields,
  type SimVendor,
  sgxExtension,
  sgxReport,
  signDocument,
  tcbInfoDocument,
  type UnsignedDocument,
} from '../../src/attestation/sim/index.ts'
import { concat, fromHex, utf8 } from '../../src/bytes/index.ts'
import type { SigningKey } from '../../src/crypto/types.ts'

/** When synthetic evidence is made and judged. */
export const syntheticAt: Date = new Date('2026-03-04T05:06:07.000Z')
const day = 86_400_000
const window = { from: new Date(syntheticAt.getTime() - 10 * day), to: new Date(syntheticAt.getTime() + 20 * day) }
const tcbDate = new Date('2025-06-01T00:00:00.000Z')
const mrsigner = 'd1'.repeat(32)

/** A TD report body; what is not named is zero. */
export interface TdBody {
  readonly teeTcbSvn?: readonly number[]
  readonly teeTcbSvn2?: readonly number[]
  readonly mrSignerSeam?: Uint8Array
  readonly seamAttributes?: Uint8Array
  readonly tdAttributes?: Uint8Array
}

/** What to change in evidence that would otherwise verify as UpToDate. */
export interface Changes {
  readonly vendor?: SimVendor
  readonly ca?: 'processor' | 'platform'
  readonly version?: 3 | 4 | 5
  /** Null: SGX. */
  readonly td?: (TdBody & { readonly kind: 'td10' | 'td15' | 'td15ex' }) | null
  readonly components?: readonly number[]
  readonly pceSvn?: number
  readonly body?: Partial<SgxReportFields>
  readonly qeReport?: Partial<SgxReportFields>
  readonly qeAuthData?: Uint8Array
  /** The last byte of the QE report's data, which should be zero. */
  readonly qeReportTail?: number
  readonly alterPck?: Alteration
  readonly tcbInfo?: (document: UnsignedDocument) => UnsignedDocument
  readonly qeIdentity?: (document: UnsignedDocument) => UnsignedDocument
  readonly pieces?: (pieces: CollateralPieces, vendor: SimVendor, pckCa: Authority, pck: Authority) => Promise<Partial<CollateralPieces>>
  /** Certificates of the quote, leaf to root. */
  readonly chain?: (pck: Authority, pckCa: Authority, root: Authority) => readonly Authority[]
  readonly collateral?: (collateral: Collateral) => Partial<Collateral>
}

export interface Evidence {
  readonly quote: Uint8Array
  readonly collateral: Collateral
  readonly trust: Trust
}

/** The same components at every level, so that a test names what differs. */
export const components: readonly number[] = [5, 5, 2, 2, 3, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]
export const tdSvn: readonly number[] = [6, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
const tdKinds = { td10: [2, 584], td15: [3, 648], td15ex: [4, 885] } as const

let shared: Promise<SimVendor> | null = null
/** One vendor for all tests that need no particular one: keys are slow to make. */
export function sharedVendor(): Promise<SimVendor> {
  shared ??= createSimVendor(syntheticAt)
  return shared
}

export async function synthesize(changes: Changes = {}): Promise<Evidence> {
  const vendor = changes.vendor ?? (await sharedVendor())
  const { ca = 'platform', td = null, version = 3, pceSvn = 13 } = changes
  const pckCa = ca === 'platform' ? vendor.platformCa : vendor.processorCa
  const extension = sgxExtension({
    ppid: '0f'.repeat(16),
    components: changes.components ?? components,
    pceSvn,
    pceId: '0000',
    fmspc: '00906ed50000',
    platform: ca === 'platform' ? { instanceId: '1e'.repeat(16), dynamicPlatform: false, cachedKeys: true, smtEnabled: true } : null,
  })
  const profile = leafProfile('Intel SGX PCK Certificate', new Date(syntheticAt.getTime() - day), new Date('2033-01-01T00:00:00Z'), extension)
  const pck = await issueAuthority((changes.alterPck ?? ((same) => same))(profile), pckCa)
  const chain = changes.chain?.(pck, pckCa, vendor.root) ?? [pck, pckCa, vendor.root]
  return {
    quote: await makeQuote(changes, pck, chainPem(...chain), version, td),
    collateral: await makeCollateral(changes, vendor, pckCa, pck, td !== null, pceSvn),
    trust: { roots: [vendor.root.certificate] },
  }
}

async function makeQuote(changes: Changes, pck: Authority, pem: string, version: 3 | 4 | 5, td: Changes['td']): Promise<Uint8Array> {
  const key = await crypto.generateP256()
  const authData = changes.qeAuthData ?? new Uint8Array(32).fill(7)
  const zero = {
    cpuSvn: new Uint8Array(16),
    attributes: fromHex('1500000000000000e700000000000000'),
    miscSelect: 0,
    mrenclave: '11'.repeat(32),
    isvProdId: 1,
  }
  const bound = await qeReportData(key.publicKey, authData)
  bound[63] = changes.qeReportTail ?? 0
  const qeReport = sgxReport({ ...zero, mrsigner, isvSvn: 8, reportData: bound, ...changes.qeReport })
  const sgx = sgxReport({ ...zero, mrsigner: 'aa'.repeat(32), isvSvn: 1, reportData: new Uint8Array(64).fill(9), ...changes.body })
  const body = td === null || td === undefined ? sgx : tdReport(td)
  const header = concat(u16(version), u16(2), u32(td ? 0x81 : 0), new Uint8Array(4), fromHex('939a7233f79c4ca9940a0db3957f0607'), new Uint8Array(20))
  const [type, length] = td ? tdKinds[td.kind] : [1, 384]
  const signed = version === 5 ? concat(header, u16(type), u32(length), body) : concat(header, body)
  const chain = utf8(`${pem}\0`)
  const certified = concat(qeReport, await pck.key.sign(qeReport), u16(authData.length), authData, u16(5), u32(chain.length), chain)
  return seal(signed, key, version === 3 ? certified : concat(u16(6), u32(certified.length), certified))
}

async function seal(signed: Uint8Array, key: SigningKey, certified: Uint8Array): Promise<Uint8Array> {
  const authentication = concat(await key.sign(signed), key.publicKey, certified)
  return concat(signed, u32(authentication.length), authentication)
}

function tdReport(td: TdBody & { readonly kind: 'td10' | 'td15' | 'td15ex' }): Uint8Array {
  const body = new Uint8Array(tdKinds[td.kind][1])
  body.set(td.teeTcbSvn ?? tdSvn, 0)
  body.set(td.mrSignerSeam ?? new Uint8Array(48), 64)
  body.set(td.seamAttributes ?? new Uint8Array(8), 112)
  body.set(td.tdAttributes ?? fromHex('0000001000000000'), 120)
  body.set(new Uint8Array(64).fill(9), 520)
  if (td.kind !== 'td10') body.set(td.teeTcbSvn2 ?? td.teeTcbSvn ?? tdSvn, 584)
  return body
}

async function makeCollateral(
  changes: Changes,
  vendor: SimVendor,
  pckCa: Authority,
  pck: Authority,
  isTd: boolean,
  pceSvn: number,
): Promise<Collateral> {
  const unchanged = (document: UnsignedDocument): UnsignedDocument => document
  const level = { components, pceSvn, status: 'UpToDate', tcbDate }
  const sgxInfo = tcbInfoDocument({ fmspc: '00906ed50000', pceId: '0000', evaluationDataNumber: 20, levels: [level] }, window)
  const identity = qeIdentityDocument(
    { mrsigner, isvProdId: 1, evaluationDataNumber: 19, levels: [{ isvSvn: 8, status: 'UpToDate', tcbDate }] },
    window,
  )
  const tcbInfo = (changes.tcbInfo ?? unchanged)(isTd ? tdxInfo(sgxInfo) : sgxInfo)
  const qeIdentity = (changes.qeIdentity ?? unchanged)(isTd ? { ...identity, id: 'TD_QE' } : identity)
  const pieces: CollateralPieces = {
    rootCaCrl: await issueAuthorityCrl(vendor.root, [], window),
    pckCrl: await issueAuthorityCrl(pckCa, [], window),
    tcbInfo: await signDocument(tcbInfo, vendor.tcbSigning),
    qeIdentity: await signDocument(qeIdentity, vendor.tcbSigning),
  }
  const collateral = assembleCollateral(vendor, pckCa, { ...pieces, ...(await changes.pieces?.(pieces, vendor, pckCa, pck)) })
  return { ...collateral, ...changes.collateral?.(collateral) }
}

export const syntheticWindow: typeof window = window

/** One level of TCB info as JSON. */
export function jsonLevel(sgx: readonly number[], pceSvn: number, status: string, tdx?: readonly number[]): Record<string, unknown> {
  const list = (svns: readonly number[]): unknown[] => svns.map((svn) => ({ svn }))
  const tcb = { sgxtcbcomponents: list(sgx), pcesvn: pceSvn, ...(tdx === undefined ? {} : { tdxtcbcomponents: list(tdx) }) }
  return { tcb, tcbDate: '2025-06-01T00:00:00Z', tcbStatus: status, advisoryIDs: [`INTEL-SA-${status}`] }
}

/** A module identity as JSON. */
export function jsonModule(id: string, levels: readonly (readonly [number, string])[]): Record<string, unknown> {
  return {
    id,
    mrsigner: '00'.repeat(48),
    attributes: '00'.repeat(8),
    attributesMask: 'ff'.repeat(8),
    tcbLevels: levels.map(([isvsvn, tcbStatus]) => ({ tcb: { isvsvn }, tcbDate: '2025-05-01T00:00:00Z', tcbStatus })),
  }
}

function tdxInfo(sgxInfo: UnsignedDocument): UnsignedDocument {
  return {
    ...sgxInfo,
    id: 'TDX',
    tdxModule: { mrsigner: '00'.repeat(48), attributes: '00'.repeat(8), attributesMask: 'ff'.repeat(8) },
    tdxModuleIdentities: [jsonModule('TDX_03', [[6, 'UpToDate']])],
    tcbLevels: [jsonLevel(components, 13, 'UpToDate', tdSvn)],
  }
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >> 8)
}

function u32(value: number): Uint8Array {
  return concat(u16(value & 0xffff), u16(value >>> 16))
}

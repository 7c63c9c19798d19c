import { type Collateral, parseQuote, type QuoteClaims, type Trust, VerificationError, verifyQuote } from '../../src/attestation/index.ts'
import {
  type Alteration,
  type Authority,
  assembleCollateral,
  type CertificationFields,
  type CollateralPieces,
  chainCertification,
  chainPem,
  createQuotingEnclave,
  createSimVendor,
  issueAuthority,
  issuePieces,
  leafProfile,
  type SgxReportFields,
  type SimEnclave,
  type SimPlatform,
  type SimTd,
  type SimVendor,
  sgxExtension,
  sgxReport,
  signDocument,
  type TdBodyKind,
  tdReport,
  type UnsignedDocument,
} from '../../src/attestation/sim/index.ts'
import { fromHex } from '../../src/bytes/index.ts'
import { VeriteeError } from '../../src/errors.ts'

/** When synthetic evidence is made, and when it is judged where a test does not say. */
export const at: Date = new Date('2026-05-06T07:08:09.000Z')
export const soon: Date = new Date(at.getTime() + 3_600_000)
const day = 86_400_000
export const daysLater = (days: number): Date => new Date(at.getTime() + days * day)
/** Of the lists and documents of {@link synthesize}. */
export const window: { readonly from: Date; readonly to: Date } = { from: daysLater(-10), to: daysLater(20) }

export const enclave: SimEnclave = { mrenclave: 'a1'.repeat(32), mrsigner: 'b2'.repeat(32), isvProdId: 3, isvSvn: 4 }
export const td: SimTd = { mrtd: 'c3'.repeat(48), rtmr0: 'd4'.repeat(48), xfam: 'e702060000000000' }
export const reportData: Uint8Array = Uint8Array.from({ length: 64 }, (_, index) => index)

export interface Evidence {
  readonly quote: Uint8Array
  readonly collateral: Collateral
  readonly trust: Trust
}

export async function evidenceOf(platform: SimPlatform): Promise<Evidence> {
  return { quote: await platform.quote(enclave, reportData), collateral: platform.collateral, trust: { roots: [platform.root] } }
}

export async function tdEvidenceOf(platform: SimPlatform, changes: Partial<SimTd> = {}, body: TdBodyKind = 'td15'): Promise<Evidence> {
  const quote = await platform.tdQuote({ ...td, ...changes }, reportData, { body })
  return { quote, collateral: platform.tdxCollateral, trust: { roots: [platform.root] } }
}

export async function claimsOf({ quote, collateral, trust }: Evidence, when: Date = soon): Promise<QuoteClaims> {
  return (await verifyQuote(parseQuote(quote), collateral, trust, when)).claims
}

/** The TCB status of accepted evidence or the code of its refusal. Anything else that is thrown is a defect of the verifier and passes through. */
export async function outcome(evidence: Evidence, when: Date = soon): Promise<string> {
  try {
    return (await claimsOf(evidence, when)).tcb.status
  } catch (error) {
    if (error instanceof VeriteeError) return error.code
    throw error
  }
}

/** The same with the id of the failed check before the code. */
export async function judged(evidence: Evidence, when: Date = soon): Promise<string> {
  try {
    return (await claimsOf(evidence, when)).tcb.status
  } catch (error) {
    if (error instanceof VerificationError) return `${error.checks.at(-1)?.id} ${error.code}`
    throw error
  }
}

/** Collateral whose TCB info or QE identity is edited and signed again, by the TCB signer of `vendor` or by another key. */
export async function edited(
  collateral: Collateral,
  which: 'tcbInfo' | 'qeIdentity',
  edit: (document: UnsignedDocument) => UnsignedDocument,
  signer: Authority,
): Promise<Collateral> {
  const { text, signature } = await signDocument(edit(JSON.parse(collateral[which]) as UnsignedDocument), signer)
  return which === 'tcbInfo'
    ? { ...collateral, tcbInfo: text, tcbInfoSignature: signature }
    : { ...collateral, qeIdentity: text, qeIdentitySignature: signature }
}

/** What to change in evidence that would otherwise verify as UpToDate. */
export interface Changes {
  readonly vendor?: SimVendor
  readonly ca?: 'processor' | 'platform'
  readonly version?: 3 | 4 | 5
  /** Absent: SGX. */
  readonly td?: Partial<SimTd> & { readonly kind: TdBodyKind }
  readonly components?: readonly number[]
  readonly pceSvn?: number
  readonly body?: Partial<SgxReportFields>
  readonly qeReport?: Partial<SgxReportFields> | ((report: SgxReportFields) => SgxReportFields)
  readonly qeAuthData?: Uint8Array
  readonly alterPck?: Alteration
  /** Issues the PCK certificate, signs the QE report, in the place of the right authority. */
  readonly pckIssuer?: Authority
  readonly qeSigner?: Authority
  readonly certification?: (certification: CertificationFields, pck: Authority) => CertificationFields
  readonly tcbInfo?: (document: UnsignedDocument) => UnsignedDocument
  readonly qeIdentity?: (document: UnsignedDocument) => UnsignedDocument
  readonly pieces?: (pieces: CollateralPieces, vendor: SimVendor, pckCa: Authority, pck: Authority) => Promise<Partial<CollateralPieces>>
  /** Certificates of the quote, leaf to root. */
  readonly chain?: (pck: Authority, pckCa: Authority, root: Authority) => readonly Authority[]
  readonly collateral?: (collateral: Collateral) => Partial<Collateral>
}

/** The security versions of the platform of {@link synthesize}; its one level demands exactly these. */
export const components: readonly number[] = [5, 5, 2, 2, 3, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]
export const tdSvn: readonly number[] = [6, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
const mrsigner = 'd1'.repeat(32)
const tcbDate = new Date('2025-06-01T00:00:00.000Z')

let shared: Promise<SimVendor> | null = null
/** One vendor for all tests that need no particular one: keys are slow to make. */
export function sharedVendor(): Promise<SimVendor> {
  shared ??= createSimVendor(at)
  return shared
}

/** Evidence of a machine put together piece by piece, so that a test can replace any of them. The evaluation numbers are 20 and 19. */
export async function synthesize(changes: Changes = {}): Promise<Evidence> {
  const vendor = changes.vendor ?? (await sharedVendor())
  const { ca = 'platform', pceSvn = 13 } = changes
  const pckCa = changes.pckIssuer ?? (ca === 'platform' ? vendor.platformCa : vendor.processorCa)
  const extension = sgxExtension({
    ppid: '0f'.repeat(16),
    components: changes.components ?? components,
    pceSvn,
    pceId: '0000',
    fmspc: '00906ed50000',
    platform: ca === 'platform' ? { instanceId: '1e'.repeat(16), dynamicPlatform: false, cachedKeys: true, smtEnabled: true } : null,
  })
  const profile = leafProfile('Intel SGX PCK Certificate', daysLater(-1), new Date('2033-01-01T00:00:00Z'), extension)
  const pck = await issueAuthority((changes.alterPck ?? ((same) => same))(profile), pckCa)
  return {
    quote: await makeQuote(changes, pck, changes.chain?.(pck, pckCa, vendor.root) ?? [pck, pckCa, vendor.root]),
    collateral: await makeCollateral(changes, vendor, ca === 'platform' ? vendor.platformCa : vendor.processorCa, pck, pceSvn),
    trust: { roots: [vendor.root.certificate] },
  }
}

async function makeQuote(changes: Changes, pck: Authority, chain: readonly Authority[]): Promise<Uint8Array> {
  const { td: wanted, version = wanted === undefined ? 3 : 5, qeReport = {} } = changes
  const zero = {
    cpuSvn: new Uint8Array(16),
    attributes: fromHex('1500000000000000e700000000000000'),
    miscSelect: 0,
    mrenclave: '11'.repeat(32),
    isvProdId: wanted === undefined ? 1 : 2,
  }
  const quotingEnclave = await createQuotingEnclave(
    { report: { ...zero, mrsigner, isvSvn: 8 }, pceSvn: 13, authData: changes.qeAuthData ?? new Uint8Array(32).fill(7) },
    changes.qeSigner ?? pck,
    typeof qeReport === 'function' ? qeReport : (report) => ({ ...report, ...qeReport }),
  )
  const data = new Uint8Array(64).fill(9)
  const body =
    wanted === undefined
      ? { kind: 'sgx' as const, bytes: sgxReport({ ...zero, mrsigner: 'aa'.repeat(32), isvSvn: 1, reportData: data, ...changes.body }) }
      : tdReport({ mrtd: '00'.repeat(48), ...wanted }, wanted.kind, data, wanted.teeTcbSvn ?? tdSvn)
  const certification = chainCertification(chainPem(...chain))
  return quotingEnclave(version, body, changes.certification?.(certification, pck) ?? certification)
}

async function makeCollateral(changes: Changes, vendor: SimVendor, pckCa: Authority, pck: Authority, pceSvn: number): Promise<Collateral> {
  const { tcbInfo, qeIdentity, td: wanted } = changes
  const level = { components, pceSvn, status: 'UpToDate', tcbDate, ...(wanted === undefined ? {} : { tdxComponents: tdSvn }) }
  const module = { mrsigner: '00'.repeat(48), attributes: '00'.repeat(8), attributesMask: 'ff'.repeat(8) }
  const identities = [{ id: 'TDX_03', ...module, levels: [{ isvSvn: 6, status: 'UpToDate', tcbDate }] }]
  const about = { fmspc: '00906ed50000', pceId: '0000', evaluationDataNumber: 20, levels: [level] }
  const levels = [{ isvSvn: 8, status: 'UpToDate', tcbDate }]
  const pieces = await issuePieces(
    vendor,
    pckCa,
    {
      tcbInfo: wanted === undefined ? about : { ...about, tdx: { module, identities } },
      qeIdentity: { id: wanted === undefined ? 'QE' : 'TD_QE', mrsigner, isvProdId: wanted === undefined ? 1 : 2, evaluationDataNumber: 19, levels },
      revokedByRoot: [],
      revokedByPckCa: [],
      crlNumber: 1,
    },
    window,
  )
  let collateral = assembleCollateral(vendor, pckCa, { ...pieces, ...(await changes.pieces?.(pieces, vendor, pckCa, pck)) })
  if (tcbInfo !== undefined) collateral = await edited(collateral, 'tcbInfo', tcbInfo, vendor.tcbSigning)
  if (qeIdentity !== undefined) collateral = await edited(collateral, 'qeIdentity', qeIdentity, vendor.tcbSigning)
  return { ...collateral, ...changes.collateral?.(collateral) }
}

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

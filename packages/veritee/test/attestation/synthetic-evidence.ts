import { type Collateral, parseQuote, type QuoteClaims, verifyQuote } from '../../src/attestation/index.ts'
import {
  type Authority,
  chainPem,
  createQuotingEnclave,
  enclaveReport,
  issueAuthority,
  leafProfile,
  type SgxReportFields,
  type SimEnclave,
  type SimPlatform,
  type SimVendor,
  sgxExtension,
  signDocument,
  type UnsignedDocument,
} from '../../src/attestation/sim/index.ts'
import { fromHex } from '../../src/bytes/index.ts'
import { VeriteeError } from '../../src/errors.ts'

/** When simulated collateral is issued, and when it is judged. */
export const at: Date = new Date('2026-05-06T07:08:09Z')
export const soon: Date = new Date(at.getTime() + 3_600_000)
export const day = 86_400_000
export const daysLater = (days: number): Date => new Date(at.getTime() + days * day)

export const enclave: SimEnclave = { mrenclave: 'a1'.repeat(32), mrsigner: 'b2'.repeat(32), isvProdId: 3, isvSvn: 4 }
export const reportData: Uint8Array = Uint8Array.from({ length: 64 }, (_, index) => index)

export interface Evidence {
  readonly quote: Uint8Array
  readonly collateral: Collateral
  readonly root: Uint8Array
}

export async function evidenceOf(platform: SimPlatform): Promise<Evidence> {
  return { quote: await platform.quote(enclave, reportData), collateral: platform.collateral, root: platform.root }
}

export async function claimsOf(evidence: Evidence, when: Date = soon): Promise<QuoteClaims> {
  return (await verifyQuote(parseQuote(evidence.quote), evidence.collateral, { roots: [evidence.root] }, when)).claims
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

/** What a hand-made machine may have differently from an honest one. */
export interface HandmadeFields {
  readonly pckIssuer?: Authority
  readonly pckSubject?: string
  readonly chain?: (pck: Authority) => string
  readonly components?: readonly number[]
  readonly alterQeReport?: (report: SgxReportFields) => SgxReportFields
  /** CPU SVN of the quoted report. */
  readonly reportCpuSvn?: Uint8Array
  /** Signs the QE report in the place of the certified PCK key. */
  readonly qeSigner?: Authority
}

export const honestComponents: readonly number[] = [12, 12, 3, 3, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]

/** A quote built piece by piece for the identity that `platform`'s collateral of the same vendor names. */
export async function handmadeQuote(vendor: SimVendor, platform: SimPlatform, fields: HandmadeFields = {}): Promise<Uint8Array> {
  const components = fields.components ?? honestComponents
  const issuer = fields.pckIssuer ?? vendor.platformCa
  const extension = sgxExtension({
    ppid: platform.ppid,
    components,
    pceSvn: 16,
    pceId: '0000',
    fmspc: platform.fmspc,
    platform: { instanceId: '00'.repeat(16), dynamicPlatform: false, cachedKeys: false, smtEnabled: true },
  })
  const pck = await issueAuthority(leafProfile(fields.pckSubject ?? 'Intel SGX PCK Certificate', daysLater(-1), daysLater(365), extension), issuer)
  const identity = JSON.parse(platform.collateral.qeIdentity) as { mrsigner: string; isvprodid: number }
  const quotingEnclave = await createQuotingEnclave(
    {
      report: {
        cpuSvn: Uint8Array.from(components),
        attributes: fromHex('1500000000000000e700000000000000'),
        miscSelect: 0,
        mrenclave: '00'.repeat(32),
        mrsigner: identity.mrsigner,
        isvProdId: identity.isvprodid,
        isvSvn: 10,
      },
      pceSvn: 16,
      authData: new Uint8Array(32),
      chain: (fields.chain ?? ((leaf) => chainPem(leaf, issuer, vendor.root)))(pck),
    },
    fields.qeSigner ?? pck,
    fields.alterQeReport,
  )
  return quotingEnclave(enclaveReport(enclave, reportData, fields.reportCpuSvn ?? Uint8Array.from(components)))
}

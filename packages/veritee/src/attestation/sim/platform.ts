import * as crypto from '#crypto'
import { fromHex, isHex, toHex, utf8 } from '../../bytes/index.ts'
import type { Collateral } from '../collateral.ts'
import { type Alteration, issueAuthority, leafProfile } from './authority.ts'
import { assembleCollateral, issueDocuments, issuePieces } from './collateral.ts'
import {
  type CertificationFields,
  chainCertification,
  leafCertification,
  platformCertification,
  type QuoteBody,
  type SgxReportFields,
  sgxReport,
} from './quote.ts'
import { createQuotingEnclave } from './quoting-enclave.ts'
import { sgxExtension } from './sgx-extension.ts'
import { type PlatformFacts, quotingEnclaves, type SimStanding, sgxDocuments, tdxDocuments } from './standing.ts'
import { type SimTd, securityVersions, type TdBodyKind, tdReport } from './td-report.ts'
import { chainPem, createSimVendor, type SimVendor, yearsAfter } from './vendor.ts'

export interface SimPlatformOptions extends SimStanding {
  /** When collateral is issued, cut to whole seconds. Certificates are valid from the day before. */
  readonly at: Date
  /** Shared by platforms that should have one root; made anew where not given. */
  readonly vendor?: SimVendor
  readonly ca?: 'processor' | 'platform'
  /** Lower-case hex: 6 bytes, 16 bytes (random where not given), 2 bytes. */
  readonly fmspc?: string
  readonly ppid?: string
  readonly pceId?: string
  /** The 16 TCB component SVNs of the PCK certificate. */
  readonly cpuSvn?: readonly number[]
  readonly pceSvn?: number
  /** The 16 TDX security versions: [0] and [1] are the minor and major version of the TDX module, or all are components where [1] is 0. */
  readonly teeTcbSvn?: readonly number[]
  /** What the quoting enclaves for SGX and for TDX report about themselves, where it should differ from what their identities demand. */
  readonly qeReport?: Partial<SgxReportFields>
  readonly tdQeReport?: Partial<SgxReportFields>
  readonly qeAuthData?: Uint8Array
  readonly alterPck?: Alteration
}

/** An enclave as the simulated hardware measures it. Hex is lower case. */
export interface SimEnclave {
  /** 32 bytes each. */
  readonly mrenclave: string
  readonly mrsigner: string
  readonly isvProdId: number
  readonly isvSvn: number
  /** Sets ATTRIBUTES.DEBUG. */
  readonly debug?: boolean
  /** ATTRIBUTES, 16 bytes: FLAGS then XFRM, as in the report. INIT and MODE64BIT with XFRM e7 where not given. */
  readonly attributes?: string
}

/** How the quote names the PCK certificate: 5, the whole chain, where not given. */
export interface SimQuoteForm {
  readonly certification?: 1 | 2 | 3 | 4 | 5
}

/** A machine without hardware: quotes in the real binary format, and collateral, under a root that is nobody's. */
export interface SimPlatform {
  /** DER of the root certificate: who passes it as a trusted root trusts this process and nothing more. */
  readonly root: Uint8Array
  readonly ppid: string
  readonly fmspc: string
  /** What was issued last: for SGX quotes, and for TDX quotes of the same machine. */
  readonly collateral: Collateral
  readonly tdxCollateral: Collateral
  /** A quote (of version 3 where not given) over exactly 64 bytes of report data. Throws `TypeError` for another length or a malformed identity. */
  quote(enclave: SimEnclave, reportData: Uint8Array, form?: SimQuoteForm & { readonly version?: 3 | 4 | 5 }): Promise<Uint8Array>
  /**
   * The same for a TD. Version 4 holds TD 1.0 bodies only, version 5 all of them; version 5 with a TD 1.5 body where not given.
   * Throws `TypeError` for a body that the version has no place for.
   */
  tdQuote(td: SimTd, reportData: Uint8Array, form?: SimQuoteForm & { readonly version?: 4 | 5; readonly body?: TdBodyKind }): Promise<Uint8Array>
  /** Issues revocation lists, TCB infos and QE identities again, from `at`. What `changes` does not name stays as it was. Returns the SGX set. */
  refreshCollateral(at: Date, changes?: SimStanding): Promise<Collateral>
}

const day = 86_400_000

/**
 * A simulated SGX and TDX platform for tests, demos and development. Verification judges it with the same code as hardware; it is told apart
 * by its root alone, and nothing here is marked in a way that anything would trust. Every private key is made here, stays in memory and is
 * never written anywhere. Throws `TypeError` for malformed options.
 */
export async function createSimPlatform(options: SimPlatformOptions): Promise<SimPlatform> {
  const { at, ca = 'platform', cpuSvn = [12, 12, 3, 3, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], pceSvn = 16 } = options
  const { teeTcbSvn = [6, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] } = options
  const fmspc = hex(options.fmspc ?? '53494d000000', 6, 'fmspc')
  const ppid = hex(options.ppid ?? toHex(crypto.randomBytes(16)), 16, 'ppid')
  const pceId = hex(options.pceId ?? '0000', 2, 'pceId')
  const vendor = options.vendor ?? (await createSimVendor(at))
  const pckCa = ca === 'platform' ? vendor.platformCa : vendor.processorCa
  const extension = sgxExtension({
    ppid,
    components: cpuSvn,
    pceSvn,
    pceId,
    fmspc,
    platform: ca === 'platform' ? { instanceId: toHex(crypto.randomBytes(16)), dynamicPlatform: true, cachedKeys: true, smtEnabled: false } : null,
  })
  const profile = leafProfile('Intel SGX PCK Certificate', new Date(at.getTime() - day), yearsAfter(at, 7), extension)
  const pck = await issueAuthority((options.alterPck ?? ((unaltered) => unaltered))(profile), pckCa)
  const rawCpuSvn = securityVersions(cpuSvn)
  securityVersions(teeTcbSvn)

  const qeMrsigner = toHex(await crypto.sha256(utf8('veritee simulated quoting enclave signer')))
  const quotingEnclave = async (tee: 'sgx' | 'tdx', altered: Partial<SgxReportFields> | undefined) => {
    const { isvProdId, isvSvn } = quotingEnclaves[tee]
    const report = {
      cpuSvn: rawCpuSvn,
      // INIT, MODE64BIT and PROVISION_KEY, as the real one.
      attributes: fromHex('1500000000000000e700000000000000'),
      miscSelect: 0,
      mrenclave: toHex(await crypto.sha256(utf8(`veritee simulated quoting enclave${tee === 'sgx' ? '' : ' for TDX'}`))),
      mrsigner: qeMrsigner,
      isvProdId,
      isvSvn,
    }
    const authData = options.qeAuthData ?? Uint8Array.from({ length: 32 }, (_, index) => index)
    return createQuotingEnclave({ report, pceSvn, authData }, pck, (unaltered) => ({ ...unaltered, ...altered }))
  }
  const quoteSgx = await quotingEnclave('sgx', options.qeReport)
  const quoteTdx = await quotingEnclave('tdx', options.tdQeReport)
  const certification = ({ certification: type = 5 }: SimQuoteForm): CertificationFields => {
    if (type === 5) return chainCertification(chainPem(pck, pckCa, vendor.root))
    if (type === 4) return leafCertification(chainPem(pck))
    return platformCertification(type, { ppid, cpuSvn: rawCpuSvn, pceSvn, pceId })
  }

  const facts: PlatformFacts = { at, fmspc, pceId, components: cpuSvn, pceSvn, teeTcbSvn, qeMrsigner }
  let standing: SimStanding = options
  let issued = 0
  const issue = async (from: Date): Promise<{ readonly sgx: Collateral; readonly tdx: Collateral }> => {
    const start = new Date(Math.floor(from.getTime() / 1000) * 1000)
    const window = { from: start, to: new Date(start.getTime() + (standing.validDays ?? 30) * day) }
    const revoked = standing.revoked ?? []
    const revokedByRoot = [
      ...(revoked.includes('intermediate') ? [pckCa.serial] : []),
      ...(revoked.includes('tcbSigning') ? [vendor.tcbSigning.serial] : []),
    ]
    issued++
    const lists = { revokedByRoot, revokedByPckCa: revoked.includes('pck') ? [pck.serial] : [], crlNumber: issued }
    const pieces = await issuePieces(vendor, pckCa, { ...sgxDocuments(facts, standing), ...lists }, window)
    const tdx = await issueDocuments(vendor, tdxDocuments(facts, standing), window)
    return { sgx: assembleCollateral(vendor, pckCa, pieces), tdx: assembleCollateral(vendor, pckCa, { ...pieces, ...tdx }) }
  }
  let collateral = await issue(at)

  return {
    root: vendor.root.certificate,
    ppid,
    fmspc,
    get collateral() {
      return collateral.sgx
    },
    get tdxCollateral() {
      return collateral.tdx
    },
    quote: async (enclave, reportData, form = {}) => quoteSgx(form.version ?? 3, enclaveReport(enclave, reportData, rawCpuSvn), certification(form)),
    tdQuote: async (td, reportData, form = {}) => {
      const { version = 5 } = form
      const body = form.body ?? (version === 4 ? 'td10' : 'td15')
      return quoteTdx(version, tdReport(td, body, reportData, teeTcbSvn), certification(form))
    },
    refreshCollateral: async (from, changes = {}) => {
      standing = { ...standing, ...changes }
      collateral = await issue(from)
      return collateral.sgx
    },
  }
}

/** The report body of an enclave on a processor with this CPU SVN. Throws `TypeError` for malformed fields. */
export function enclaveReport(enclave: SimEnclave, reportData: Uint8Array, cpuSvn: Uint8Array): QuoteBody {
  const attributes = fromHex(hex(enclave.attributes ?? '0500000000000000e700000000000000', 16, 'attributes'))
  if (enclave.debug === true) attributes[0] = (attributes[0] as number) | 0x02
  const bytes = sgxReport({
    cpuSvn,
    attributes,
    miscSelect: 0,
    mrenclave: hex(enclave.mrenclave, 32, 'mrenclave'),
    mrsigner: hex(enclave.mrsigner, 32, 'mrsigner'),
    isvProdId: enclave.isvProdId,
    isvSvn: enclave.isvSvn,
    reportData,
  })
  return { kind: 'sgx', bytes }
}

function hex(value: string, length: number, what: string): string {
  if (!isHex(value, length)) throw new TypeError(`sim: expected ${what} of ${2 * length} lower-case hex digits`)
  return value
}

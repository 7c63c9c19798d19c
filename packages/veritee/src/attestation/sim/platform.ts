import * as crypto from '#crypto'
import { fromHex, isHex, toHex, utf8 } from '../../bytes/index.ts'
import type { Collateral } from '../collateral.ts'
import { type Alteration, issueAuthority, leafProfile } from './authority.ts'
import { assembleCollateral, issuePieces } from './collateral.ts'
import type { SimQeLevel, SimTcbLevel } from './documents.ts'
import { type SgxReportFields, sgxReport } from './quote.ts'
import { createQuotingEnclave } from './quoting-enclave.ts'
import { sgxExtension } from './sgx-extension.ts'
import { chainPem, createSimVendor, type SimVendor, yearsAfter } from './vendor.ts'

/** What the simulated vendor publishes about a platform. All of it may change when collateral is issued again. */
export interface SimStanding {
  /** How long revocation lists and documents are valid from `at`; 30 where not given, as Intel's. */
  readonly validDays?: number
  /** Levels in any order; where not given, the platform is UpToDate and everything below it OutOfDate. */
  readonly tcbLevels?: readonly SimTcbLevel[]
  readonly qeLevels?: readonly SimQeLevel[]
  readonly evaluationDataNumber?: number
  /** Whose certificates are on their issuer's revocation list. */
  readonly revoked?: readonly ('pck' | 'intermediate' | 'tcbSigning')[]
}

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
  /** What the quoting enclave reports about itself, where it should differ from what the QE identity demands. */
  readonly qeReport?: Partial<SgxReportFields>
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

/** A machine without hardware: quotes in the real binary format, and collateral, under a root that is nobody's. */
export interface SimPlatform {
  /** DER of the root certificate: who passes it as a trusted root trusts this process and nothing more. */
  readonly root: Uint8Array
  readonly ppid: string
  readonly fmspc: string
  /** What was issued last. */
  readonly collateral: Collateral
  /** A quote over exactly 64 bytes of report data. Throws `TypeError` for another length or a malformed identity. */
  quote(enclave: SimEnclave, reportData: Uint8Array): Promise<Uint8Array>
  /** Issues revocation lists, TCB info and QE identity again, from `at`. What `changes` does not name stays as it was. */
  refreshCollateral(at: Date, changes?: SimStanding): Promise<Collateral>
}

const day = 86_400_000
const qeIsvSvn = 10

/**
 * A simulated SGX platform for tests, demos and development. Verification judges it with the same code as hardware; it is told apart by
 * its root alone, and nothing here is marked in a way that anything would trust. Every private key is made here, stays in memory and is
 * never written anywhere. Throws `TypeError` for malformed options.
 */
export async function createSimPlatform(options: SimPlatformOptions): Promise<SimPlatform> {
  const { at, ca = 'platform', cpuSvn = [12, 12, 3, 3, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], pceSvn = 16 } = options
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
  const rawCpuSvn = Uint8Array.from(cpuSvn)

  const qeMrsigner = toHex(await crypto.sha256(utf8('veritee simulated quoting enclave signer')))
  const quotingEnclave = await createQuotingEnclave(
    {
      report: {
        cpuSvn: rawCpuSvn,
        // INIT, MODE64BIT and PROVISION_KEY, as the real one.
        attributes: fromHex('1500000000000000e700000000000000'),
        miscSelect: 0,
        mrenclave: toHex(await crypto.sha256(utf8('veritee simulated quoting enclave'))),
        mrsigner: qeMrsigner,
        isvProdId: 1,
        isvSvn: qeIsvSvn,
      },
      pceSvn,
      authData: options.qeAuthData ?? Uint8Array.from({ length: 32 }, (_, index) => index),
      chain: chainPem(pck, pckCa, vendor.root),
    },
    pck,
    (report) => ({ ...report, ...options.qeReport }),
  )

  let standing: SimStanding = options
  let issued = 0
  const issue = async (from: Date): Promise<Collateral> => {
    const start = new Date(Math.floor(from.getTime() / 1000) * 1000)
    const revoked = standing.revoked ?? []
    const serials = [
      ...(revoked.includes('intermediate') ? [pckCa.serial] : []),
      ...(revoked.includes('tcbSigning') ? [vendor.tcbSigning.serial] : []),
    ]
    issued++
    const pieces = await issuePieces(
      vendor,
      pckCa,
      {
        fmspc,
        pceId,
        evaluationDataNumber: standing.evaluationDataNumber ?? 20,
        tcbLevels: standing.tcbLevels ?? defaultTcbLevels(at, cpuSvn, pceSvn),
        qeMrsigner,
        qeIsvProdId: 1,
        qeLevels: standing.qeLevels ?? defaultQeLevels(at),
        revokedByRoot: serials,
        revokedByPckCa: revoked.includes('pck') ? [pck.serial] : [],
        crlNumber: issued,
      },
      { from: start, to: new Date(start.getTime() + (standing.validDays ?? 30) * day) },
    )
    return assembleCollateral(vendor, pckCa, pieces)
  }
  let collateral = await issue(at)

  return {
    root: vendor.root.certificate,
    ppid,
    fmspc,
    get collateral() {
      return collateral
    },
    quote: async (enclave, reportData) => quotingEnclave(enclaveReport(enclave, reportData, rawCpuSvn)),
    refreshCollateral: async (from, changes = {}) => {
      standing = { ...standing, ...changes }
      collateral = await issue(from)
      return collateral
    },
  }
}

/** The report body of an enclave on a processor with this CPU SVN. Throws `TypeError` for malformed fields. */
export function enclaveReport(enclave: SimEnclave, reportData: Uint8Array, cpuSvn: Uint8Array): Uint8Array {
  const attributes = fromHex(hex(enclave.attributes ?? '0500000000000000e700000000000000', 16, 'attributes'))
  if (enclave.debug === true) attributes[0] = (attributes[0] ?? 0) | 0x02
  return sgxReport({
    cpuSvn,
    attributes,
    miscSelect: 0,
    mrenclave: hex(enclave.mrenclave, 32, 'mrenclave'),
    mrsigner: hex(enclave.mrsigner, 32, 'mrsigner'),
    isvProdId: enclave.isvProdId,
    isvSvn: enclave.isvSvn,
    reportData,
  })
}

function defaultTcbLevels(at: Date, components: readonly number[], pceSvn: number): SimTcbLevel[] {
  return [
    { components, pceSvn, status: 'UpToDate', tcbDate: midnightBefore(at, 90) },
    { components: components.map(() => 0), pceSvn: 0, status: 'OutOfDate', tcbDate: midnightBefore(at, 455), advisories: ['INTEL-SA-00000'] },
  ]
}

function defaultQeLevels(at: Date): SimQeLevel[] {
  return [
    { isvSvn: qeIsvSvn, status: 'UpToDate', tcbDate: midnightBefore(at, 90) },
    { isvSvn: 1, status: 'OutOfDate', tcbDate: midnightBefore(at, 455), advisories: ['INTEL-SA-00000'] },
  ]
}

function midnightBefore(at: Date, days: number): Date {
  return new Date((Math.floor(at.getTime() / day) - days) * day)
}

function hex(value: string, length: number, what: string): string {
  if (!isHex(value, length)) throw new TypeError(`sim: expected ${what} of ${2 * length} lower-case hex digits`)
  return value
}

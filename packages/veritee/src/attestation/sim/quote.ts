import * as crypto from '#crypto'
import { concat, fromHex, utf8 } from '../../bytes/index.ts'
import type { SignP256 } from '../pki/issue.ts'

/** Fields of an SGX report body (Intel SDM volume 3D, REPORT structure). What is not named is zero. Hex of either case. */
export interface SgxReportFields {
  /** 16 bytes each. */
  readonly cpuSvn: Uint8Array
  readonly attributes: Uint8Array
  readonly miscSelect: number
  /** 32 bytes each, hex. */
  readonly mrenclave: string
  readonly mrsigner: string
  readonly isvProdId: number
  readonly isvSvn: number
  /** 64 bytes. */
  readonly reportData: Uint8Array
}

/** The 384 bytes of a report body. Throws `TypeError` for a field of the wrong length or range. */
export function sgxReport(fields: SgxReportFields): Uint8Array {
  const report = new Uint8Array(384)
  const view = new DataView(report.buffer)
  report.set(exactly(fields.cpuSvn, 16, 'CPU SVN'), 0)
  view.setUint32(16, unsigned(fields.miscSelect, 32, 'MISCSELECT'), true)
  report.set(exactly(fields.attributes, 16, 'attributes'), 48)
  report.set(fromHex(fields.mrenclave, 32), 64)
  report.set(fromHex(fields.mrsigner, 32), 128)
  view.setUint16(256, unsigned(fields.isvProdId, 16, 'ISVPRODID'), true)
  view.setUint16(258, unsigned(fields.isvSvn, 16, 'ISVSVN'), true)
  report.set(exactly(fields.reportData, 64, 'report data'), 320)
  return report
}

/** Everything in a quote of version 3 that something signs or that a verifier reads. */
export interface QuoteParts {
  readonly qeSvn: number
  readonly pceSvn: number
  /** 20 bytes. */
  readonly userData: Uint8Array
  /** 384 bytes each. */
  readonly report: Uint8Array
  readonly qeReport: Uint8Array
  /** 64 bytes r || s by the PCK key over `qeReport`. */
  readonly qeReportSignature: Uint8Array
  readonly qeAuthData: Uint8Array
  /** 64 bytes x || y. */
  readonly attestationKey: Uint8Array
  /** PEM, leaf to root. */
  readonly certificationChain: string
}

const intelQeVendorId = fromHex('939a7233f79c4ca9940a0db3957f0607')

/**
 * The bytes of an SGX quote of version 3 with certification data of type 5 (Intel SGX ECDSA Quote Library Reference, appendix A.4).
 * `sign` is the attestation key's; it signs header and report. The chain ends in a NUL, as the real quoting library writes it.
 */
export async function assembleQuote(parts: QuoteParts, sign: SignP256): Promise<Uint8Array> {
  const body = concat(
    u16(3),
    u16(2), // ECDSA on P-256
    u32(0), // SGX
    u16(parts.qeSvn),
    u16(parts.pceSvn),
    intelQeVendorId,
    exactly(parts.userData, 20, 'user data'),
    exactly(parts.report, 384, 'report'),
  )
  const chain = utf8(`${parts.certificationChain}\0`)
  const authentication = concat(
    exactly(await sign(body), 64, 'signature'),
    exactly(parts.attestationKey, 64, 'attestation key'),
    exactly(parts.qeReport, 384, 'QE report'),
    exactly(parts.qeReportSignature, 64, 'QE report signature'),
    u16(parts.qeAuthData.length),
    parts.qeAuthData,
    u16(5), // PEM chain
    u32(chain.length),
    chain,
  )
  return concat(body, u32(authentication.length), authentication)
}

/** The report data by which a quoting enclave binds its attestation key: SHA-256(key || auth data), then zeros. */
export async function qeReportData(attestationKey: Uint8Array, qeAuthData: Uint8Array): Promise<Uint8Array> {
  return concat(await crypto.sha256(concat(attestationKey, qeAuthData)), new Uint8Array(32))
}

function exactly(bytes: Uint8Array, length: number, what: string): Uint8Array {
  if (bytes.length !== length) throw new TypeError(`sim: expected ${what} of ${length} bytes, found ${bytes.length}`)
  return bytes
}

function unsigned(value: number, bits: number, what: string): number {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** bits) throw new TypeError(`sim: expected ${what} of ${bits} bits, found ${value}`)
  return value
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(unsigned(value, 16, 'an integer') & 0xff, value >> 8)
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, unsigned(value, 32, 'an integer'), true)
  return bytes
}

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

/** Number and length of each body that version 5 can hold (Intel TDX DCAP Quoting Library API, appendix A.3.2). */
const bodyKinds = {
  sgx: { tee: 0x00, type: 1, length: 384 },
  td10: { tee: 0x81, type: 2, length: 584 },
  td15: { tee: 0x81, type: 3, length: 648 },
  td15ex: { tee: 0x81, type: 4, length: 885 },
} as const
export type BodyKind = keyof typeof bodyKinds

/** A report body and what kind it is. */
export interface QuoteBody {
  readonly kind: BodyKind
  readonly bytes: Uint8Array
}

/** Certification data: `type` is any number, so that tests can use one no verifier knows. */
export interface CertificationFields {
  readonly type: number
  readonly data: Uint8Array
}

/** Everything in a quote that something signs or that a verifier reads. */
export interface QuoteParts {
  readonly version: 3 | 4 | 5
  readonly body: QuoteBody
  /** In the header of version 3 only; the later ones have zeros there. */
  readonly qeSvn: number
  readonly pceSvn: number
  /** 20 bytes. */
  readonly userData: Uint8Array
  /** 384 bytes. */
  readonly qeReport: Uint8Array
  /** 64 bytes r || s by the PCK key over `qeReport`. */
  readonly qeReportSignature: Uint8Array
  readonly qeAuthData: Uint8Array
  /** 64 bytes x || y. */
  readonly attestationKey: Uint8Array
  readonly certification: CertificationFields
}

const intelQeVendorId = fromHex('939a7233f79c4ca9940a0db3957f0607')

/**
 * The bytes of a quote of version 3 (SGX only), 4 (SGX or TD 1.0) or 5 (any body, behind its descriptor); layouts: Intel SGX ECDSA Quote Library
 * Reference, appendix A.4, and Intel TDX DCAP Quoting Library API, appendix A.3. From version 4 on, the QE report and its certification are
 * themselves certification data, of type 6. `sign` is the attestation key's; it signs header, descriptor and body.
 *
 * Throws `TypeError` for a field of the wrong length or range and for a body that the version has no place for.
 */
export async function assembleQuote(parts: QuoteParts, sign: SignP256): Promise<Uint8Array> {
  const { version, body } = parts
  const kind = bodyKinds[body.kind]
  if ((version === 3 && kind.tee !== 0) || (version === 4 && kind.type > 2))
    throw new TypeError(`sim: a quote of version ${version} has no place for a body of kind ${body.kind}`)
  const signed = concat(
    u16(version),
    u16(2), // ECDSA on P-256
    u32(kind.tee),
    u16(version === 3 ? parts.qeSvn : 0),
    u16(version === 3 ? parts.pceSvn : 0),
    intelQeVendorId,
    exactly(parts.userData, 20, 'user data'),
    ...(version === 5 ? [u16(kind.type), u32(kind.length)] : []),
    exactly(body.bytes, kind.length, 'body'),
  )
  const { certification } = parts
  const certified = concat(
    exactly(parts.qeReport, 384, 'QE report'),
    exactly(parts.qeReportSignature, 64, 'QE report signature'),
    u16(parts.qeAuthData.length),
    parts.qeAuthData,
    u16(certification.type),
    u32(certification.data.length),
    certification.data,
  )
  const authentication = concat(
    exactly(await sign(signed), 64, 'signature'),
    exactly(parts.attestationKey, 64, 'attestation key'),
    ...(version === 3 ? [] : [u16(6), u32(certified.length)]),
    certified,
  )
  return concat(signed, u32(authentication.length), authentication)
}

/** Certification data of type 5: the whole PCK chain as PEM, ended by NUL as the real quoting library writes it. */
export function chainCertification(pem: string): CertificationFields {
  return { type: 5, data: utf8(`${pem}\0`) }
}

/** Certification data of type 4: the PCK certificate alone, as PEM. */
export function leafCertification(pem: string): CertificationFields {
  return { type: 4, data: utf8(pem) }
}

/** What names a platform whose PCK certificate must be fetched. Hex of either case. */
export interface PlatformIdentity {
  /** 16 bytes. */
  readonly ppid: string
  /** 16 bytes. */
  readonly cpuSvn: Uint8Array
  readonly pceSvn: number
  /** 2 bytes. */
  readonly pceId: string
}

/**
 * Certification data of type 1 (PPID in the clear) or of type 2 or 3, where the PPID is a ciphertext for Intel of 256 or 384 bytes:
 * here random ones, which nobody can decrypt.
 */
export function platformCertification(type: 1 | 2 | 3, identity: PlatformIdentity): CertificationFields {
  const ppid = type === 1 ? fromHex(identity.ppid, 16) : crypto.randomBytes(type === 2 ? 256 : 384)
  return { type, data: concat(ppid, exactly(identity.cpuSvn, 16, 'CPU SVN'), u16(identity.pceSvn), fromHex(identity.pceId, 2)) }
}

/** The report data by which a quoting enclave binds its attestation key: SHA-256(key || auth data), then zeros. */
export async function qeReportData(attestationKey: Uint8Array, qeAuthData: Uint8Array): Promise<Uint8Array> {
  return concat(await crypto.sha256(concat(attestationKey, qeAuthData)), new Uint8Array(32))
}

/** The bytes themselves where they have this length. Throws `TypeError` elsewhere. */
export function exactly(bytes: Uint8Array, length: number, what: string): Uint8Array {
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

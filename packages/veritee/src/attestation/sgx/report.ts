import { toHex } from '../../bytes/hex.ts'
import type { SgxClaims } from '../claims.ts'
import { ByteCursor } from '../quote/byte-cursor.ts'

/** An SGX report body (Intel SDM volume 3D, REPORT structure): of the quoted enclave, or of the quoting enclave itself. Byte fields are views. */
export interface SgxReport {
  readonly kind: 'sgx'
  /** All 384 bytes. */
  readonly bytes: Uint8Array
  readonly cpuSvn: Uint8Array
  readonly miscSelect: Uint8Array
  readonly attributes: Uint8Array
  readonly mrenclave: Uint8Array
  readonly mrsigner: Uint8Array
  readonly isvProdId: number
  readonly isvSvn: number
  readonly reportData: Uint8Array
}

export const sgxReportLength = 384

/** Reads the fields of a report body at the cursor. Reserved bytes are not looked at. Throws `quote_malformed` when fewer than 384 bytes are left. */
export function readSgxReport(cursor: ByteCursor, what: string): SgxReport {
  const bytes = cursor.take(sgxReportLength, what)
  const isv = new ByteCursor(bytes, 256)
  return {
    kind: 'sgx',
    bytes,
    cpuSvn: bytes.subarray(0, 16),
    miscSelect: bytes.subarray(16, 20),
    attributes: bytes.subarray(48, 64),
    mrenclave: bytes.subarray(64, 96),
    mrsigner: bytes.subarray(128, 160),
    isvProdId: isv.u16('ISVPRODID'),
    isvSvn: isv.u16('ISVSVN'),
    reportData: bytes.subarray(320, 384),
  }
}

export function sgxClaims(report: SgxReport): SgxClaims {
  return {
    tee: 'sgx',
    mrenclave: toHex(report.mrenclave),
    mrsigner: toHex(report.mrsigner),
    isvProdId: report.isvProdId,
    isvSvn: report.isvSvn,
    attributes: toHex(report.attributes),
    miscSelect: toHex(report.miscSelect),
    cpuSvn: toHex(report.cpuSvn),
  }
}

/** ATTRIBUTES.FLAGS bit 1: the enclave's memory is open to the debugger. */
export function isSgxDebug(report: SgxReport): boolean {
  return ((report.attributes[0] as number) & 0x02) !== 0
}

import { toHex } from '../../bytes/hex.ts'
import type { SgxClaims } from '../claims.ts'
import type { ByteCursor } from '../quote/byte-cursor.ts'

export const sgxReportLength = 384

/** An SGX report body (Intel SDM volume 3D, REPORT structure): of the quoted enclave, or of the quoting enclave itself. Byte fields are views, made when asked for. */
export class SgxReport {
  readonly kind = 'sgx'
  /** All 384 bytes. */
  readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  get cpuSvn(): Uint8Array {
    return this.bytes.subarray(0, 16)
  }

  get miscSelect(): Uint8Array {
    return this.bytes.subarray(16, 20)
  }

  get attributes(): Uint8Array {
    return this.bytes.subarray(48, 64)
  }

  get mrenclave(): Uint8Array {
    return this.bytes.subarray(64, 96)
  }

  get mrsigner(): Uint8Array {
    return this.bytes.subarray(128, 160)
  }

  get isvProdId(): number {
    return u16(this.bytes, 256)
  }

  get isvSvn(): number {
    return u16(this.bytes, 258)
  }

  get reportData(): Uint8Array {
    return this.bytes.subarray(320, 384)
  }
}

function u16(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8)
}

/** Reads a report body at the cursor. Reserved bytes are not looked at. Throws `quote_malformed` when fewer than 384 bytes are left. */
export function readSgxReport(cursor: ByteCursor, what: string): SgxReport {
  return new SgxReport(cursor.take(sgxReportLength, what))
}

/** `hex` is all of the report: pieces of one text take no time. */
export function sgxClaims(report: SgxReport, hex: string = toHex(report.bytes)): SgxClaims {
  return {
    tee: 'sgx',
    mrenclave: hex.slice(2 * 64, 2 * 96),
    mrsigner: hex.slice(2 * 128, 2 * 160),
    isvProdId: report.isvProdId,
    isvSvn: report.isvSvn,
    attributes: hex.slice(2 * 48, 2 * 64),
    miscSelect: hex.slice(2 * 16, 2 * 20),
    cpuSvn: hex.slice(0, 2 * 16),
  }
}

/** ATTRIBUTES.FLAGS bit 1: the enclave's memory is open to the debugger. */
export function isSgxDebug(report: SgxReport): boolean {
  return ((report.bytes[48] as number) & 0x02) !== 0
}

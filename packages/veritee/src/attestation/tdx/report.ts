import { toHex } from '../../bytes/hex.ts'
import type { TdxClaims } from '../claims.ts'
import type { ByteCursor } from '../quote/byte-cursor.ts'

/** The fields that all TD reports have. Byte fields are views, made when asked for. */
class TdReportFields {
  /** The whole body. */
  readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  get teeTcbSvn(): Uint8Array {
    return this.bytes.subarray(0, 16)
  }

  get mrSeam(): Uint8Array {
    return this.bytes.subarray(16, 64)
  }

  get mrSignerSeam(): Uint8Array {
    return this.bytes.subarray(64, 112)
  }

  get seamAttributes(): Uint8Array {
    return this.bytes.subarray(112, 120)
  }

  get tdAttributes(): Uint8Array {
    return this.bytes.subarray(120, 128)
  }

  get xfam(): Uint8Array {
    return this.bytes.subarray(128, 136)
  }

  get mrTd(): Uint8Array {
    return this.bytes.subarray(136, 184)
  }

  get mrConfigId(): Uint8Array {
    return this.bytes.subarray(184, 232)
  }

  get mrOwner(): Uint8Array {
    return this.bytes.subarray(232, 280)
  }

  get mrOwnerConfig(): Uint8Array {
    return this.bytes.subarray(280, 328)
  }

  get rtmr(): readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array] {
    const { bytes } = this
    return [bytes.subarray(328, 376), bytes.subarray(376, 424), bytes.subarray(424, 472), bytes.subarray(472, 520)]
  }

  get reportData(): Uint8Array {
    return this.bytes.subarray(520, 584)
  }
}

/** A TD report of TDX 1.0: 584 bytes. */
export class TdReport10 extends TdReportFields {
  readonly kind = 'td10'
}

/** A TD report of TDX 1.5: 648 bytes, or 885 in the extended form, whose further fields (migration and devices) are covered by the signature only. */
export class TdReport15 extends TdReportFields {
  readonly kind: 'td15' | 'td15ex'

  constructor(kind: 'td15' | 'td15ex', bytes: Uint8Array) {
    super(bytes)
    this.kind = kind
  }

  /** The TCB of now; `teeTcbSvn` is that of the launch. */
  get teeTcbSvn2(): Uint8Array {
    return this.bytes.subarray(584, 600)
  }

  get mrServiceTd(): Uint8Array {
    return this.bytes.subarray(600, 648)
  }
}

export type TdReport = TdReport10 | TdReport15

/** Exact lengths of the bodies (Intel TDX DCAP Quoting Library API, appendix A.3.2). */
export const tdReportLength = { td10: 584, td15: 648, td15ex: 885 } as const

/** Reads a TD report of the given kind at the cursor. Throws `quote_malformed` when too few bytes are left. */
export function readTdReport(cursor: ByteCursor, kind: TdReport['kind']): TdReport {
  const bytes = cursor.take(tdReportLength[kind], 'TD report')
  return kind === 'td10' ? new TdReport10(bytes) : new TdReport15(kind, bytes)
}

/** `hex` is all of the report: pieces of one text take no time. */
export function tdxClaims({ kind, bytes }: TdReport, hex: string = toHex(bytes)): TdxClaims {
  const at = (offset: number, length: number): string => hex.slice(2 * offset, 2 * (offset + length))
  return {
    tee: 'tdx',
    mrtd: at(136, 48),
    rtmr0: at(328, 48),
    rtmr1: at(376, 48),
    rtmr2: at(424, 48),
    rtmr3: at(472, 48),
    mrseam: at(16, 48),
    mrsignerSeam: at(64, 48),
    seamAttributes: at(112, 8),
    tdAttributes: at(120, 8),
    xfam: at(128, 8),
    mrConfigId: at(184, 48),
    mrOwner: at(232, 48),
    mrOwnerConfig: at(280, 48),
    teeTcbSvn: at(0, 16),
    teeTcbSvn2: kind === 'td10' ? null : at(584, 16),
    mrServiceTd: kind === 'td10' ? null : at(600, 48),
  }
}

/** Any bit of TUD (byte 0 of TD attributes): the TD is untrusted, DEBUG among the reasons. */
export function isTdDebug(report: TdReport): boolean {
  return report.bytes[120] !== 0
}

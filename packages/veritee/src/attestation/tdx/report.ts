import { toHex } from '../../bytes/hex.ts'
import type { TdxClaims } from '../claims.ts'
import type { ByteCursor } from '../quote/byte-cursor.ts'

interface TdReportFields {
  /** The whole body. */
  readonly bytes: Uint8Array
  readonly teeTcbSvn: Uint8Array
  readonly mrSeam: Uint8Array
  readonly mrSignerSeam: Uint8Array
  readonly seamAttributes: Uint8Array
  readonly tdAttributes: Uint8Array
  readonly xfam: Uint8Array
  readonly mrTd: Uint8Array
  readonly mrConfigId: Uint8Array
  readonly mrOwner: Uint8Array
  readonly mrOwnerConfig: Uint8Array
  readonly rtmr: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array]
  readonly reportData: Uint8Array
}

/** A TD report of TDX 1.0: 584 bytes. Byte fields are views. */
export interface TdReport10 extends TdReportFields {
  readonly kind: 'td10'
}

/** A TD report of TDX 1.5: 648 bytes, or 885 in the extended form, whose further fields (migration and devices) are covered by the signature only. */
export interface TdReport15 extends TdReportFields {
  readonly kind: 'td15' | 'td15ex'
  /** The TCB of now; `teeTcbSvn` is that of the launch. */
  readonly teeTcbSvn2: Uint8Array
  readonly mrServiceTd: Uint8Array
}

export type TdReport = TdReport10 | TdReport15

/** Exact lengths of the bodies (Intel TDX DCAP Quoting Library API, appendix A.3.2). */
export const tdReportLength = { td10: 584, td15: 648, td15ex: 885 } as const

/** Reads a TD report of the given kind at the cursor. Throws `quote_malformed` when too few bytes are left. */
export function readTdReport(cursor: ByteCursor, kind: TdReport['kind']): TdReport {
  const bytes = cursor.take(tdReportLength[kind], 'TD report')
  const at = (offset: number, length: number): Uint8Array => bytes.subarray(offset, offset + length)
  const fields: TdReportFields = {
    bytes,
    teeTcbSvn: at(0, 16),
    mrSeam: at(16, 48),
    mrSignerSeam: at(64, 48),
    seamAttributes: at(112, 8),
    tdAttributes: at(120, 8),
    xfam: at(128, 8),
    mrTd: at(136, 48),
    mrConfigId: at(184, 48),
    mrOwner: at(232, 48),
    mrOwnerConfig: at(280, 48),
    rtmr: [at(328, 48), at(376, 48), at(424, 48), at(472, 48)],
    reportData: at(520, 64),
  }
  return kind === 'td10' ? { kind, ...fields } : { kind, ...fields, teeTcbSvn2: at(584, 16), mrServiceTd: at(600, 48) }
}

export function tdxClaims(report: TdReport): TdxClaims {
  const [rtmr0, rtmr1, rtmr2, rtmr3] = report.rtmr
  return {
    tee: 'tdx',
    mrtd: toHex(report.mrTd),
    rtmr0: toHex(rtmr0),
    rtmr1: toHex(rtmr1),
    rtmr2: toHex(rtmr2),
    rtmr3: toHex(rtmr3),
    mrseam: toHex(report.mrSeam),
    mrsignerSeam: toHex(report.mrSignerSeam),
    seamAttributes: toHex(report.seamAttributes),
    tdAttributes: toHex(report.tdAttributes),
    xfam: toHex(report.xfam),
    mrConfigId: toHex(report.mrConfigId),
    mrOwner: toHex(report.mrOwner),
    mrOwnerConfig: toHex(report.mrOwnerConfig),
    teeTcbSvn: toHex(report.teeTcbSvn),
    teeTcbSvn2: report.kind === 'td10' ? null : toHex(report.teeTcbSvn2),
    mrServiceTd: report.kind === 'td10' ? null : toHex(report.mrServiceTd),
  }
}

/** Any bit of TUD (byte 0 of TD attributes): the TD is untrusted, DEBUG among the reasons. */
export function isTdDebug(report: TdReport): boolean {
  return report.tdAttributes[0] !== 0
}

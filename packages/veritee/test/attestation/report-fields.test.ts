import { describe, expect, it } from 'vitest'
import { ByteCursor } from '../../src/attestation/quote/byte-cursor.ts'
import { readSgxReport, sgxClaims } from '../../src/attestation/sgx/report.ts'
import { readTdReport, tdReportLength, tdxClaims } from '../../src/attestation/tdx/report.ts'
import { toHex } from '../../src/bytes/index.ts'

/** Bytes none of whose runs of two is met twice. */
function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => (at % 2 === 0 ? at >> 8 : at & 0xff) ^ (at >> 1))
}

describe('P10: fields stand where Intel puts them', () => {
  it('in an SGX report', () => {
    const bytes = pattern(384)
    const at = (from: number, to: number): string => toHex(bytes.subarray(from, to))
    const { cpuSvn, miscSelect, attributes, mrenclave, mrsigner, isvProdId, isvSvn, reportData } = readSgxReport(new ByteCursor(bytes), 'report')
    expect([cpuSvn, miscSelect, attributes, mrenclave, mrsigner, reportData].map(toHex)).toEqual([
      at(0, 16),
      at(16, 20),
      at(48, 64),
      at(64, 96),
      at(128, 160),
      at(320, 384),
    ])
    const numbers = new DataView(bytes.buffer)
    expect([isvProdId, isvSvn]).toEqual([numbers.getUint16(256, true), numbers.getUint16(258, true)])
    expect(sgxClaims(readSgxReport(new ByteCursor(bytes), 'report'))).toEqual({
      tee: 'sgx',
      mrenclave: at(64, 96),
      mrsigner: at(128, 160),
      isvProdId,
      isvSvn,
      attributes: at(48, 64),
      miscSelect: at(16, 20),
      cpuSvn: at(0, 16),
    })
  })

  it.each(['td10', 'td15', 'td15ex'] as const)('in a TD report (%s)', (kind) => {
    const bytes = pattern(tdReportLength[kind])
    const report = readTdReport(new ByteCursor(bytes), kind)
    const at = (offset: number, length: number): string => toHex(bytes.subarray(offset, offset + length))
    const second = report.kind === 'td10' ? null : { teeTcbSvn2: toHex(report.teeTcbSvn2), mrServiceTd: toHex(report.mrServiceTd) }
    expect(second).toEqual(kind === 'td10' ? null : { teeTcbSvn2: at(584, 16), mrServiceTd: at(600, 48) })
    expect(toHex(report.reportData)).toBe(at(520, 64))
    const { teeTcbSvn, mrSeam, mrSignerSeam, seamAttributes, tdAttributes, xfam, mrTd, mrConfigId, mrOwner, mrOwnerConfig, rtmr } = report
    const [rtmr0, rtmr1, rtmr2, rtmr3] = rtmr
    const views = { mrtd: mrTd, rtmr0, rtmr1, rtmr2, rtmr3, mrseam: mrSeam, mrsignerSeam: mrSignerSeam, seamAttributes, tdAttributes, xfam }
    const more = { mrConfigId, mrOwner, mrOwnerConfig, teeTcbSvn }
    const inHex = Object.fromEntries(Object.entries({ ...views, ...more }).map(([name, value]) => [name, toHex(value)]))
    expect(tdxClaims(report)).toEqual({ tee: 'tdx', teeTcbSvn2: null, mrServiceTd: null, ...inHex, ...second })
    const offsets = [136, 328, 376, 424, 472, 16, 64] as const
    const names = ['mrtd', 'rtmr0', 'rtmr1', 'rtmr2', 'rtmr3', 'mrseam', 'mrsignerSeam'] as const
    for (const [index, name] of names.entries()) expect(inHex[name], name).toBe(at(offsets[index] as number, 48))
    expect([inHex.seamAttributes, inHex.tdAttributes, inHex.xfam]).toEqual([at(112, 8), at(120, 8), at(128, 8)])
    expect([inHex.mrConfigId, inHex.mrOwner, inHex.mrOwnerConfig, inHex.teeTcbSvn]).toEqual([at(184, 48), at(232, 48), at(280, 48), at(0, 16)])
  })
})

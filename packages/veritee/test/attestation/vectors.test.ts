import { describe, expect, it } from 'vitest'
import { checkIds, intelSgxRootCa, parseQeIdentity, parseQuote, parseTcbInfo, verifyQuote } from '../../src/attestation/index.ts'
import { SgxReport } from '../../src/attestation/sgx/report.ts'
import {
  collateralText,
  failure,
  genuinePairs,
  haveVectors,
  intel,
  load,
  metaOf,
  type Pair,
  pairOf,
  pairs,
  quoteOf,
  titleOf,
  vectorsNote,
} from './vectors.ts'

const iso = (date: Date | null): string | null => (date === null ? null : date.toISOString().replace('.000Z', 'Z'))

describe.skipIf(!haveVectors)(`real quotes against Intel's own verdicts${vectorsNote}`, () => {
  it.each(genuinePairs.map((pair) => [titleOf(pair), pair] as const))('%s', async (_, pair: Pair) => {
    const { bytes, collateral, at } = load(pair)
    const { claims, checks } = await verifyQuote(parseQuote(bytes), collateral, intel, at)
    expect(claims.tcb.status).toBe(pair.tcbStatus)
    for (const which of ['launch', 'current'] as const) {
      const expected = pair[which]
      const found = claims.tcb[which]
      if (expected === null) {
        expect(found).toEqual({ status: 'NotSupported', tcbDate: null, advisories: [] })
        continue
      }
      expect({ ...found, tcbDate: iso(found.tcbDate) }).toEqual({
        status: expected.status,
        tcbDate: expected.tcbDate,
        advisories: [...new Set(expected.advisoryIDs)].sort(),
      })
    }
    expect({ status: claims.tcb.status, tcbDate: claims.tcb.tcbDate, advisories: claims.tcb.advisories }).toEqual(claims.tcb.launch)
    if (pair.tcbEvaluationDataNumber !== null) expect(claims.tcb.evaluationDataNumber).toBe(pair.tcbEvaluationDataNumber)
    // Intel's library counts the two documents; ours counts lists and certificates too, so it may only be earlier.
    const documents = [parseTcbInfo(collateral.tcbInfo), parseQeIdentity(collateral.qeIdentity)].map(({ nextUpdate }) => nextUpdate.getTime())
    if (pair.earliestExpiration !== null) expect(iso(new Date(Math.min(...documents)))).toBe(pair.earliestExpiration)
    expect(claims.collateral.earliestExpiration.getTime()).toBeLessThanOrEqual(Math.min(...documents))
    expect(claims.collateral.earliestExpiration.getTime()).toBeGreaterThanOrEqual(at.getTime())
    expect(claims.collateral.latestIssue.getTime()).toBeLessThanOrEqual(at.getTime())
    expect(checks.every(({ status }) => status === 'pass')).toBe(true)
    expect(checks.map(({ id }) => id)).toEqual(checkIds.filter((id) => id !== 'tdx.module' || claims.body.tee === 'tdx'))
    expect(claims.simulated).toBe(false)
  })

  it('P2: a pair whose PCK list has the right issuer name and another key is refused', async () => {
    const refused = pairs.filter(({ genuine }) => !genuine)
    expect(refused.length).toBeGreaterThan(0)
    for (const pair of refused) {
      const { bytes, collateral, at } = load(pair)
      expect(await failure(bytes, collateral, at)).toBe('crl.pck crl_signature_invalid')
    }
  })

  it('P26: a quote with a damaged certificate is refused with a code', async () => {
    const bytes = quoteOf('sgx/v3-openenclave-sgx_cert_ec_bad.der-4e3f9fa7')
    const { collateral, at } = load(pairOf('sgx/v3-phala'))
    expect(await failure(bytes, collateral, at)).toBe('pck.format certificate_malformed')
  })

  it('P21: bytes after the declared end are counted, may be anything, and change nothing', async () => {
    const pair = pairOf('tdx/v4-google-tdx_prod')
    const { bytes, collateral, at } = load(pair)
    const { claims } = await verifyQuote(parseQuote(bytes), collateral, intel, at)
    expect(claims.trailingBytes).toBe(39)
    const longer = new Uint8Array(bytes.length + 100).fill(0xaa)
    longer.set(bytes.subarray(0, bytes.length - 39))
    const again = await verifyQuote(parseQuote(longer), collateral, intel, at)
    expect(again.claims).toEqual({ ...claims, trailingBytes: 139 })
  })

  it('P12: a platform that matches no level is NotSupported, not OutOfDate', async () => {
    const { bytes, collateral, at } = load(pairOf('tdx/v4-google-tdx_prod'))
    const { claims } = await verifyQuote(parseQuote(bytes), collateral, intel, at)
    expect(claims.tcb).toMatchObject({
      status: 'NotSupported',
      tcbDate: null,
      launch: { status: 'NotSupported' },
      current: { status: 'NotSupported' },
    })
  })

  it('the same quote is judged by the evaluation its collateral is of', async () => {
    const verdicts = new Map<number, string>()
    for (const pair of genuinePairs.filter(({ vector }) => vector.includes('dcap-tdx-1766059550570652607'))) {
      const { bytes, collateral, at } = load(pair)
      const { claims } = await verifyQuote(parseQuote(bytes), collateral, intel, at)
      verdicts.set(claims.tcb.evaluationDataNumber, claims.tcb.status)
    }
    expect([...verdicts].sort()).toEqual([
      [17, 'UpToDate'],
      [18, 'UpToDate'],
      [21, 'OutOfDate'],
    ])
  })

  it('debug enclaves and TDs verify, and say so', async () => {
    const debug = new Set<string>()
    for (const pair of genuinePairs) {
      const { bytes, collateral, at } = load(pair)
      const { claims } = await verifyQuote(parseQuote(bytes), collateral, intel, at)
      if (claims.debug) debug.add(pair.vector)
    }
    const stated = genuinePairs.filter(({ vector }) => metaOf(vector).parsed.debug === true)
    expect([...debug].sort()).toEqual([...new Set(stated.map(({ vector }) => vector))].sort())
  })

  it('claims are what another program read from the same bytes', async () => {
    for (const pair of genuinePairs) {
      const { bytes, collateral, at } = load(pair)
      const quote = parseQuote(bytes)
      const { claims } = await verifyQuote(quote, collateral, intel, at)
      const { parsed } = metaOf(pair.vector)
      const common = { version: claims.quoteVersion, tee: claims.body.tee.toUpperCase(), debug: claims.debug, trailingBytes: claims.trailingBytes }
      expect({ ...common, reportData: claims.reportData, qeIsvSvn: quote.qeReport.isvSvn, pckCa: claims.platform.ca }).toEqual(
        pick(parsed, commonNames),
      )
      const { ppid, fmspc, pceid, cpusvn, pcesvn } = parsed.pck as Record<string, unknown>
      expect(claims.platform).toMatchObject({ ppid, fmspc, pceId: pceid, cpuSvn: cpusvn, pceSvn: pcesvn })
      if (claims.body.tee === 'sgx') {
        expect(pick({ ...claims.body }, sgxNames)).toEqual(pick(parsed, sgxNames))
      } else {
        const { teeTcbSvn, mrsignerSeam, seamAttributes, tdAttributes, xfam, mrtd } = claims.body
        expect({ teeTcbSvn, mrSignerSeam: mrsignerSeam, seamAttr: seamAttributes, tdAttr: tdAttributes, xfam, mrTd: mrtd }).toEqual(
          pick(parsed, tdxNames),
        )
      }
    }
  })

  it('both PCK authorities occur, and platform facts come from the certificate', async () => {
    const phala = load(pairOf('sgx/v3-phala'))
    const processor = await verifyQuote(parseQuote(phala.bytes), phala.collateral, intel, phala.at)
    expect(processor.claims.platform).toEqual({
      ppid: 'd04ec06d4e6d92dc90d0ad3cf5ee2ddf',
      fmspc: '00a067110000',
      pceId: '0000',
      cpuSvn: '0b0b0202ff0100000000000000000000',
      pceSvn: 13,
      ca: 'processor',
      platformInstanceId: null,
      dynamicPlatform: null,
      cachedKeys: null,
      smtEnabled: null,
    })
    const occlum = load(pairOf('sgx/v3-confidential-containers'))
    const platform = await verifyQuote(parseQuote(occlum.bytes), occlum.collateral, intel, occlum.at)
    expect(platform.claims.platform).toMatchObject({
      ca: 'platform',
      platformInstanceId: 'c8c0cfb23d3dd90b06d55c0641693a7a',
      dynamicPlatform: true,
      cachedKeys: true,
      smtEnabled: true,
    })
  })

  it('verification does not change its inputs', async () => {
    const pair = pairOf('sgx/v3-phala')
    const { bytes, collateral, at } = load(pair)
    const quote = parseQuote(bytes)
    await verifyQuote(quote, collateral, intel, at)
    expect(bytes).toEqual(load(pair).bytes)
    expect(quote).toEqual(parseQuote(bytes))
    expect(collateral).toEqual(load(pair).collateral)
    expect(at.getTime()).toBe(pair.at * 1000)
    expect(collateralText(pair).length).toBeGreaterThan(0)
  })
})

describe.skipIf(!haveVectors)(`arguments of verifyQuote${vectorsNote}`, () => {
  it('a quote whose fields were changed after parsing is judged by its bytes', async () => {
    const { bytes, collateral, at } = load(pairOf('sgx/v3-phala'))
    const quote = parseQuote(bytes)
    if (quote.tee !== 'sgx') throw new Error('expected an SGX quote')
    const other = new Uint8Array(quote.body.bytes)
    other.fill(1, 64, 96)
    const forged = { ...quote, body: new SgxReport(other) }
    const { claims } = await verifyQuote(forged, collateral, intel, at)
    expect(claims.body).toMatchObject({ mrenclave: '33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb' })
  })

  it('a trusted root that differs in one byte is not the root', async () => {
    const { bytes, collateral, at } = load(pairOf('sgx/v3-phala'))
    const other = new Uint8Array(intelSgxRootCa)
    other[other.length - 1] = (other.at(-1) ?? 0) ^ 1
    expect(await failure(bytes, collateral, at, { roots: [other] })).toBe('pck.root chain_untrusted')
  })
})

const commonNames = ['version', 'tee', 'debug', 'trailingBytes', 'reportData', 'qeIsvSvn', 'pckCa']
const sgxNames = ['mrenclave', 'mrsigner', 'isvProdId', 'isvSvn']
const tdxNames = ['teeTcbSvn', 'mrSignerSeam', 'seamAttr', 'tdAttr', 'xfam', 'mrTd']

function pick(from: Readonly<Record<string, unknown>>, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(names.map((name) => [name, from[name]]))
}

import { describe, expect, it } from 'vitest'
import { checkIds, parseQuote, verifyQuote } from '../../src/attestation/index.ts'
import {
  assembleQuote,
  chainCertification,
  createQuotingEnclave,
  createSimPlatform,
  issueAuthority,
  leafProfile,
  qeReportData,
  type SimTd,
  tdReport,
} from '../../src/attestation/sim/index.ts'
import { concat, fromHex, toHex } from '../../src/bytes/index.ts'
import { VeriteeError } from '../../src/errors.ts'
import { at, claimsOf, type Evidence, enclave, judged, outcome, reportData, sharedVendor, soon } from './synthetic.ts'

/** Every field its own value, so that two that are exchanged show. */
const td: Required<SimTd> = {
  mrtd: 'a1'.repeat(48),
  rtmr0: 'b0'.repeat(48),
  rtmr1: 'b1'.repeat(48),
  rtmr2: 'b2'.repeat(48),
  rtmr3: 'b3'.repeat(48),
  mrConfigId: 'c1'.repeat(48),
  mrOwner: 'c2'.repeat(48),
  mrOwnerConfig: 'c3'.repeat(48),
  tdAttributes: '0000001000000080',
  xfam: 'e702060000000000',
  mrseam: 'd1'.repeat(48),
  mrsignerSeam: '00'.repeat(48),
  seamAttributes: '00'.repeat(8),
  teeTcbSvn: [6, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
  teeTcbSvn2: [7, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8],
  mrServiceTd: 'd2'.repeat(48),
  extension: 'e1'.repeat(237),
}

const vendor = await sharedVendor()
const platform = await createSimPlatform({ at, vendor })
const trust = { roots: [platform.root] } as const
const tdForms = [
  { version: 4, body: 'td10' },
  { version: 5, body: 'td10' },
  { version: 5, body: 'td15' },
  { version: 5, body: 'td15ex' },
] as const
const quotes = [
  ...(await Promise.all([3, 4, 5].map(async (v) => [`SGX v${v}`, await platform.quote(enclave, reportData, { version: v as 3 | 4 | 5 })] as const))),
  ...(await Promise.all(tdForms.map(async (form) => [`TDX v${form.version} ${form.body}`, await platform.tdQuote(td, reportData, form)] as const))),
]
const evidenceOf = (quote: Uint8Array): Evidence => {
  const collateral = parseQuote(quote).tee === 'sgx' ? platform.collateral : platform.tdxCollateral
  return { quote, collateral, trust }
}

describe('every form of quote', () => {
  it.each(quotes)('%s verifies with every check taken', async (_, quote) => {
    const { collateral } = evidenceOf(quote)
    const { claims, checks } = await verifyQuote(parseQuote(quote), collateral, trust, soon)
    expect(claims).toMatchObject({ tcb: { status: 'UpToDate' }, reportData: toHex(reportData), simulated: true, trailingBytes: 0 })
    expect(checks.map(({ id }) => id)).toEqual(checkIds.filter((id) => id !== 'tdx.module' || claims.body.tee === 'tdx'))
  })

  it.each(quotes)('P10, P15: %s with one byte of header, descriptor or body changed is refused', async (_, quote) => {
    const { signed } = parseQuote(quote)
    const evidence = evidenceOf(quote)
    // Every other one; real quotes are changed at every position elsewhere.
    for (let index = 0; index < signed.length; index += 2) {
      const changed = new Uint8Array(quote)
      changed[index] = (changed[index] as number) ^ (1 << ((index >> 1) % 8))
      expect(await outcome({ ...evidence, quote: changed }), `at ${index}`).toMatch(/^(quote_[a-z_]+|tdx_module_mismatch|tcb_info_mismatch)$/)
    }
  })

  it.each(quotes)('P21: %s with bytes after its end gives the same claims', async (_, quote) => {
    const evidence = evidenceOf(quote)
    const longer = await claimsOf({ ...evidence, quote: concat(quote, new Uint8Array(77).fill(0xee)) })
    expect(longer).toEqual({ ...(await claimsOf(evidence)), trailingBytes: 77 })
  })

  it.each(['SGX v3', 'SGX v4', 'SGX v5'])('%s says the same about the enclave', async (name) => {
    const { quote, ...evidence } = evidenceOf(quotes.find(([title]) => title === name)?.[1] ?? new Uint8Array())
    const claims = await claimsOf({ ...evidence, quote })
    expect(claims.quoteVersion).toBe(Number(name.at(-1)))
    expect(claims.body).toMatchObject({ tee: 'sgx', ...enclave, cpuSvn: '0c0c0303ffff01000000000000000000' })
  })

  it.each(tdForms)('P10: TDX v$version $body: every field is read from its own place', async ({ version, body }) => {
    const claims = await claimsOf(evidenceOf(await platform.tdQuote(td, reportData, { version, body })))
    const { teeTcbSvn, teeTcbSvn2, mrServiceTd, extension: _, ...plain } = td
    expect(claims.quoteVersion).toBe(version)
    expect(claims.body).toEqual({
      tee: 'tdx',
      ...plain,
      teeTcbSvn: toHex(Uint8Array.from(teeTcbSvn)),
      teeTcbSvn2: body === 'td10' ? null : toHex(Uint8Array.from(teeTcbSvn2)),
      mrServiceTd: body === 'td10' ? null : mrServiceTd,
    })
  })

  it('one TD in two bodies of version 5 is two signed quotes: the descriptor cannot be exchanged', async () => {
    const long = await platform.tdQuote(td, reportData, { body: 'td15' })
    const shortened = concat(long.subarray(0, 48), Uint8Array.of(2, 0, 0x48, 2, 0, 0), long.subarray(54, 54 + 584), long.subarray(54 + 648))
    expect(parseQuote(shortened).body.kind).toBe('td10')
    expect(await judged(evidenceOf(shortened))).toBe('quote.signature quote_signature_invalid')
  })

  it('P22: SEPT_VE_DISABLE, MRSERVICETD and XFAM are claims for a policy, not reasons to refuse', async () => {
    for (const changes of [
      { tdAttributes: '00'.repeat(8) },
      { tdAttributes: '0000001000000000' },
      { mrServiceTd: 'ff'.repeat(48) },
      { mrServiceTd: '00'.repeat(48) },
      { xfam: 'ff'.repeat(8) },
    ]) {
      const claims = await claimsOf(evidenceOf(await platform.tdQuote({ ...td, ...changes }, reportData)))
      expect(claims).toMatchObject({ debug: false, body: changes, tcb: { status: 'UpToDate' } })
    }
  })
})

describe('parts of a simulated platform by themselves', () => {
  it('a quoting enclave binds its key unless it is altered', async () => {
    const { pck, fields } = await quotingParts()
    const quotingEnclave = await createQuotingEnclave(fields, pck)
    const body = tdReport(td, 'td10', reportData, td.teeTcbSvn)
    const { qeReport, attestationKey, qeAuthData } = parseQuote(await quotingEnclave(4, body, chainCertification('')))
    expect(qeReport.reportData).toEqual(await qeReportData(attestationKey, qeAuthData))
  })

  it('a module of minor version 0 has one level', async () => {
    const sim = await createSimPlatform({ at, vendor, teeTcbSvn: [0, 5, ...new Array<number>(14).fill(0)] })
    expect(JSON.parse(sim.tdxCollateral.tcbInfo)).toMatchObject({ tdxModuleIdentities: [{ id: 'TDX_05', tcbLevels: [{ tcb: { isvsvn: 0 } }] }] })
    const quote = await sim.tdQuote({ mrtd: td.mrtd }, reportData)
    expect(await outcome({ quote, collateral: sim.tdxCollateral, trust })).toBe('UpToDate')
  })
})

async function quotingParts() {
  const pck = await issueAuthority(leafProfile('Intel SGX PCK Certificate', at, soon), vendor.platformCa)
  const report = { cpuSvn: new Uint8Array(16), attributes: new Uint8Array(16), miscSelect: 0, mrenclave: '00'.repeat(32), mrsigner: '00'.repeat(32) }
  return { pck, fields: { report: { ...report, isvProdId: 2, isvSvn: 7 }, pceSvn: 0, authData: new Uint8Array(3) } }
}

describe('P10, P15: what cannot be assembled', () => {
  it('a body that the version has no place for, and fields of the wrong length', async () => {
    const body = tdReport({ mrtd: '00'.repeat(48) }, 'td15', new Uint8Array(64), new Array(16).fill(0))
    const parts = {
      qeSvn: 0,
      pceSvn: 0,
      userData: new Uint8Array(20),
      qeReport: new Uint8Array(384),
      qeReportSignature: new Uint8Array(64),
      qeAuthData: new Uint8Array(0),
      attestationKey: new Uint8Array(64),
      certification: chainCertification(''),
    }
    const sign = (): Uint8Array => new Uint8Array(64)
    for (const version of [3, 4] as const) await expect(assembleQuote({ ...parts, version, body }, sign)).rejects.toThrow(TypeError)
    await expect(assembleQuote({ ...parts, version: 5, body: { ...body, kind: 'td10' } }, sign)).rejects.toThrow(TypeError)
    await expect(platform.tdQuote(td, reportData, { version: 4, body: 'td15' })).rejects.toThrow(TypeError)
    for (const wrong of [{ mrtd: 'a1' }, { xfam: 'E7'.repeat(8) }, { teeTcbSvn: [1] }, { teeTcbSvn2: new Array(16).fill(256) }, { mrServiceTd: '' }])
      await expect(platform.tdQuote({ ...td, ...wrong }, reportData), JSON.stringify(wrong)).rejects.toThrow(TypeError)
    await expect(platform.tdQuote(td, new Uint8Array(63))).rejects.toThrow(TypeError)
    expect((await platform.tdQuote({ mrtd: td.mrtd }, reportData, { version: 4 })).length).toBeGreaterThan(4000)
  })
})

describe('quotes that carry no PCK chain', () => {
  const failureOf = async (quote: Uint8Array): Promise<VeriteeError> => {
    const error = await claimsOf(evidenceOf(quote)).catch((reason: unknown) => reason)
    if (error instanceof VeriteeError) return error
    throw new Error('expected a refusal')
  }

  it.each([1, 2, 3] as const)('certification data of type %i: the platform to fetch for is named', async (certification) => {
    for (const quote of [
      await platform.quote(enclave, reportData, { certification }),
      await platform.quote(enclave, reportData, { certification, version: 5 }),
      await platform.tdQuote(td, reportData, { certification, version: 4 }),
      await platform.tdQuote(td, reportData, { certification }),
    ]) {
      const data = parseQuote(quote).certification
      if (data.kind !== 'platform') throw new Error('expected the identity of a platform')
      expect(data.type).toBe(certification)
      expect(data.ppid.length).toBe({ 1: 16, 2: 256, 3: 384 }[certification])
      if (certification === 1) expect(toHex(data.ppid)).toBe(platform.ppid)
      const error = await failureOf(quote)
      expect(error).toMatchObject({ code: 'quote_no_pck_chain', kind: 'unavailable' })
      for (const part of [`PPID ${toHex(data.ppid)}`, 'PCE id 0000', 'CPU SVN 0c0c0303ffff01000000000000000000', 'PCE SVN 16'])
        expect(error.message).toContain(part)
      expect(error.message.includes('encrypted PPID')).toBe(certification !== 1)
    }
  })

  it('certification data of type 4: the certificate is there, its chain is not', async () => {
    const error = await failureOf(await platform.quote(enclave, reportData, { certification: 4 }))
    expect(error).toMatchObject({ code: 'quote_no_pck_chain' })
    expect(error.message).toContain('type 5, found 4: fetch the chain of the PCK certificate in it')
  })

  it('a chain that is cut, empty or no PEM is refused as such', async () => {
    const { quote: _, ...rest } = evidenceOf(quotes[0]?.[1] ?? new Uint8Array())
    const quote = await platform.quote(enclave, reportData)
    const at_ = quote.indexOf(0x2d, 1052)
    for (const [bytes, code] of [
      [concat(quote.subarray(0, at_), fromHex('ff'), quote.subarray(at_ + 1)), 'pck.format malformed_encoding'],
      [concat(quote.subarray(0, at_), fromHex('20'), quote.subarray(at_ + 1)), 'pck.format malformed_encoding'],
    ] as const)
      expect(await judged({ ...rest, quote: bytes })).toBe(code)
  })
})

import { describe, expect, it } from 'vitest'
import { collateralToJson, formatCollateral, parseCollateral, parseQeIdentity, parseTcbInfo } from '../../src/attestation/index.ts'
import { components, jsonModule, synthesize, tdSvn } from './synthetic.ts'
import { codeOf } from './vectors.ts'

type Json = Record<string, unknown>
const { collateral } = await synthesize()
const td = (await synthesize({ version: 5, td: { kind: 'td15' } })).collateral
const tcbInfo = JSON.parse(collateral.tcbInfo) as Json
const tdxInfo = JSON.parse(td.tcbInfo) as Json
const qeIdentity = JSON.parse(collateral.qeIdentity) as Json
const malformed = 'collateral_malformed'
const infoCode = (value: unknown): string => codeOf(() => parseTcbInfo(JSON.stringify(value)))
const identityCode = (value: unknown): string => codeOf(() => parseQeIdentity(JSON.stringify(value)))
const firstLevel = (document: Json): Json => (document.tcbLevels as Json[])[0] as Json
const withLevel = (document: Json, change: Json): Json => ({ ...document, tcbLevels: [{ ...firstLevel(document), ...change }] })
const withTcb = (document: Json, change: Json): Json => withLevel(document, { tcb: { ...(firstLevel(document).tcb as Json), ...change } })

const wrong: readonly unknown[] = [null, true, -1, 1e20, '', 'x', [], {}, [[]]]

describe('parseTcbInfo', () => {
  it('a number with a fraction or an exponent is no integer, whatever its value', () => {
    for (const [from, to] of [
      ['"version":3', '"version":3.0'],
      ['"pcesvn":13', '"pcesvn":1.3e1'],
      ['"svn":5', '"svn":5.0'],
    ] as const) {
      const text = collateral.tcbInfo.replace(from, to)
      expect(text).not.toBe(collateral.tcbInfo)
      expect(codeOf(() => parseTcbInfo(text))).toBe('malformed_json')
    }
    expect(identityCode({ ...qeIdentity, isvprodid: 1.5 })).toBe('malformed_json')
    expect(infoCode({ ...tcbInfo, more: 1e300 })).toBe('malformed_json')
  })

  it('reads the documents the cases below change', () => {
    expect(parseTcbInfo(collateral.tcbInfo)).toMatchObject({
      version: 3,
      tee: 'sgx',
      evaluationDataNumber: 20,
      tdxModule: null,
      tdxModuleIdentities: [],
    })
    expect(parseTcbInfo(td.tcbInfo)).toMatchObject({ tee: 'tdx', tdxModuleIdentities: [{ id: 'TDX_03' }] })
  })

  it.each(['version', 'id', 'issueDate', 'nextUpdate', 'fmspc', 'pceId', 'tcbType', 'tcbEvaluationDataNumber', 'tcbLevels', 'tdxModule'])(
    'the member %s is required and typed',
    (name) => {
      const { [name]: _, ...rest } = tdxInfo
      expect(infoCode(rest)).toBe(malformed)
      for (const value of wrong) expect(infoCode({ ...tdxInfo, [name]: value }), JSON.stringify(value)).toBe(malformed)
    },
  )

  it('unknown members are allowed at every level: Intel adds some', () => {
    expect(infoCode({ ...withTcb(withLevel(tdxInfo, { more: 1 }), { more: [] }), more: {} })).toBe('accepted')
  })

  it.each([1, 4])('version %i is refused', (version) => {
    expect(infoCode({ ...tcbInfo, version })).toBe(malformed)
  })

  it('another id and another TCB type are refused', () => {
    expect(infoCode({ ...tcbInfo, id: 'sgx' })).toBe(malformed)
    expect(infoCode({ ...tcbInfo, id: 'SEV' })).toBe(malformed)
    expect(infoCode({ ...tcbInfo, tcbType: 1 })).toBe(malformed)
  })

  it.each([
    '2026-02-30T00:00:00Z',
    '2026-02-28T24:00:00Z',
    '2026-02-28T23:60:00Z',
    '2026-02-28T23:59:60Z',
    '2026-13-28T00:00:00Z',
    '0026-02-28T00:00:00Z',
    '2026-02-2:T00:00:00Z',
    '2026-02-28',
    '2026-02-28T00:00:00.000Z',
    '2026-02-28T00:00:00+00:00',
    '2026-02-28 00:00:00Z',
    '0',
    0,
  ])('the date %s is refused', (date) => {
    expect(infoCode({ ...tcbInfo, nextUpdate: date })).toBe(malformed)
    expect(infoCode(withLevel(tcbInfo, { tcbDate: date }))).toBe(malformed)
  })

  it.each(['00906ed5000', '00906ed500000', '00906ed5000g', ' 0906ed50000', 5])('the FMSPC %s is refused', (fmspc) => {
    expect(infoCode({ ...tcbInfo, fmspc })).toBe(malformed)
  })

  it('hex of either case is read', () => {
    expect(parseTcbInfo(JSON.stringify({ ...tcbInfo, fmspc: '00906ED50000' })).fmspc).toEqual(
      parseTcbInfo(JSON.stringify({ ...tcbInfo, fmspc: '00906ed50000' })).fmspc,
    )
  })

  it('P25: security versions are integers from 0 to 255, PCESVN to 65535', () => {
    for (const svn of [-1, 256, '3', null, 1e20, true]) {
      const sgxtcbcomponents = components.map((value, i) => ({ svn: i === 7 ? svn : value }))
      expect(infoCode(withTcb(tcbInfo, { sgxtcbcomponents })), `${svn}`).toBe(malformed)
      const tdxtcbcomponents = tdSvn.map((value, i) => ({ svn: i === 7 ? svn : value }))
      expect(infoCode(withTcb(tdxInfo, { tdxtcbcomponents })), `${svn}`).toBe(malformed)
    }
    for (const pcesvn of [-1, 65_536, '13', null]) expect(infoCode(withTcb(tcbInfo, { pcesvn })), `${pcesvn}`).toBe(malformed)
  })

  it('exactly 16 components of each kind', () => {
    for (const length of [0, 15, 17]) {
      const list = Array.from({ length }, () => ({ svn: 0 }))
      expect(infoCode(withTcb(tcbInfo, { sgxtcbcomponents: list }))).toBe(malformed)
      expect(infoCode(withTcb(tdxInfo, { tdxtcbcomponents: list }))).toBe(malformed)
    }
  })

  it('P13: a TDX document without TDX components is refused, not evaluated without them', () => {
    expect(infoCode({ ...tdxInfo, tcbLevels: tcbInfo.tcbLevels })).toBe(malformed)
  })

  it('an SGX document with TDX parts is refused', () => {
    expect(infoCode({ ...tdxInfo, id: 'SGX' })).toBe(malformed)
    expect(infoCode({ ...tcbInfo, tdxModule: null })).toBe(malformed)
    expect(infoCode({ ...tcbInfo, tdxModuleIdentities: [] })).toBe(malformed)
  })

  it('P19: version 2 has its 16 named components', () => {
    const named = Object.fromEntries(components.map((svn, i) => [`sgxtcbcomp${String(i + 1).padStart(2, '0')}svn`, svn]))
    const { id: _, ...rest } = tcbInfo
    const v2 = { ...withLevel(rest, { tcb: { ...named, pcesvn: 13 } }), version: 2 }
    expect(parseTcbInfo(JSON.stringify(v2)).levels[0]?.sgxComponents).toEqual(Uint8Array.from(components))
    const { sgxtcbcomp16svn: __, ...short } = named
    expect(infoCode(withLevel(v2, { tcb: { ...short, pcesvn: 13 } }))).toBe(malformed)
    expect(infoCode({ ...tcbInfo, version: 2 })).toBe(malformed)
  })

  it('unknown statuses are refused', () => {
    for (const tcbStatus of ['uptodate', 'UpToDate ', 'TDRelaunchAdvised', 'NotSupported', 'Unrecognized', '', null, 0, 'toString'])
      expect(infoCode(withLevel(tcbInfo, { tcbStatus })), `${tcbStatus}`).toBe(malformed)
  })

  it('P24: advisories may be absent, of any family, and nothing but strings', () => {
    expect(infoCode(withLevel(tcbInfo, { advisoryIDs: ['INTEL-SA-00615', 'INTEL-DOC-10000'] }))).toBe('accepted')
    for (const advisoryIDs of [null, 'INTEL-SA-00615', [1], ['x'.repeat(101)], {}])
      expect(infoCode(withLevel(tcbInfo, { advisoryIDs }))).toBe(malformed)
  })

  it('repeated levels, no levels and too many are refused', () => {
    const level = firstLevel(tcbInfo)
    expect(infoCode({ ...tcbInfo, tcbLevels: [level, { ...level, tcbStatus: 'OutOfDate' }] })).toBe(malformed)
    expect(infoCode({ ...tcbInfo, tcbLevels: [] })).toBe(malformed)
    const many = Array.from({ length: 257 }, (_, pcesvn) => ({ ...level, tcb: { ...(level.tcb as Json), pcesvn } }))
    expect(infoCode({ ...tcbInfo, tcbLevels: many.slice(1) })).toBe('accepted')
    expect(infoCode({ ...tcbInfo, tcbLevels: many })).toBe(malformed)
    // Levels that differ in TDX components only are two levels.
    const other = firstLevel(withTcb(tdxInfo, { tdxtcbcomponents: tdSvn.map((svn) => ({ svn: svn + 1 })) }))
    expect(infoCode({ ...tdxInfo, tcbLevels: [firstLevel(tdxInfo), other] })).toBe('accepted')
  })

  it('module identities: types, repetition, case', () => {
    const identity = jsonModule('TDX_03', [[6, 'UpToDate']])
    const with_ = (...list: readonly unknown[]): string => infoCode({ ...tdxInfo, tdxModuleIdentities: list })
    expect(with_(identity, jsonModule('TDX_01', [[6, 'UpToDate']]))).toBe('accepted')
    expect(with_(identity, jsonModule('tdx_03', [[6, 'Revoked']]))).toBe(malformed)
    expect(with_(identity, jsonModule('TDX_01', [[6, 'UpToDate']]), identity), 'the very same twice').toBe('accepted')
    expect(with_(), 'Intel’s library wants an identity where there is a list').toBe(malformed)
    expect(with_({ ...identity, id: 3 })).toBe(malformed)
    expect(with_({ ...identity, mrsigner: '00' })).toBe(malformed)
    expect(with_({ ...identity, attributes: '00' })).toBe(malformed)
    expect(with_({ ...identity, tcbLevels: [] })).toBe(malformed)
    expect(with_(jsonModule('TDX_03', [[256, 'UpToDate']]))).toBe(malformed)
    expect(
      with_(
        jsonModule('TDX_03', [
          [6, 'UpToDate'],
          [6, 'OutOfDate'],
        ]),
      ),
    ).toBe(malformed)
    expect(with_({ ...identity, tcbLevels: [{ ...(identity.tcbLevels as Json[])[0], tcbStatus: 6 }] })).toBe(malformed)
    // A status that nobody knows is no defect of the document; it is judged where it is the platform's (tdx-level.test.ts).
    expect(with_(jsonModule('TDX_03', [[6, 'SWHardeningNeeded']]))).toBe('accepted')
    expect(infoCode({ ...tdxInfo, tdxModuleIdentities: {} })).toBe(malformed)
  })
})

describe('parseQeIdentity', () => {
  it.each(Object.keys(qeIdentity))('the member %s is required and typed', (name) => {
    const { [name]: _, ...rest } = qeIdentity
    expect(identityCode(rest)).toBe(malformed)
    for (const value of wrong) expect(identityCode({ ...qeIdentity, [name]: value }), JSON.stringify(value)).toBe(malformed)
  })

  it('other ids and versions are refused, unknown members are not', () => {
    for (const id of ['QVE', 'qe', 'TD_QE ']) expect(identityCode({ ...qeIdentity, id })).toBe(malformed)
    for (const version of [1, 3]) expect(identityCode({ ...qeIdentity, version })).toBe(malformed)
    expect(identityCode({ ...qeIdentity, more: 1 })).toBe('accepted')
    expect(identityCode({ ...qeIdentity, id: 'TD_QE' })).toBe('accepted')
  })

  it('masks and values have their lengths', () => {
    for (const name of ['miscselect', 'miscselectMask', 'attributes', 'attributesMask', 'mrsigner'])
      for (const change of [
        (text: string) => text.slice(1),
        (text: string) => text.slice(2),
        (text: string) => `${text}00`,
        (text: string) => text.replace(/^./, 'x'),
      ])
        expect(identityCode({ ...qeIdentity, [name]: change(qeIdentity[name] as string) }), name).toBe(malformed)
  })

  it('levels: ISVSVN from 0 to 65535, no repetition', () => {
    const level = firstLevel(qeIdentity)
    for (const isvsvn of [-1, 65_536, '8', null]) expect(identityCode(withLevel(qeIdentity, { tcb: { isvsvn } }))).toBe(malformed)
    expect(identityCode({ ...qeIdentity, tcbLevels: [level, { ...level, tcbStatus: 'Revoked' }] })).toBe(malformed)
  })
})

describe('P25: hostile JSON', () => {
  const text = collateral.tcbInfo
  it.each([
    ['a duplicate member', `{"version":3,${text.slice(1)}`],
    ['a duplicate nested member', text.replace('"pcesvn":13', '"pcesvn":13,"pcesvn":0')],
    ['__proto__', `{"__proto__":{},${text.slice(1)}`],
    ['nesting', `{"x":${'['.repeat(20)}${']'.repeat(20)},${text.slice(1)}`],
    ['deep nesting', '['.repeat(100_000)],
    ['a trailing comma', `${text.slice(0, -1)},}`],
    ['two values', text + text],
    ['a byte order mark', `\ufeff${text}`],
    ['more than 512 KiB', `${text}${' '.repeat(524_288)}`],
    ['nothing', ''],
  ])('%s', (_, hostile) => {
    expect(codeOf(() => parseTcbInfo(hostile))).toBe('malformed_json')
    expect(codeOf(() => parseQeIdentity(hostile))).toBe('malformed_json')
  })

  it.each(['[]', '3', 'null', '"x"'])('%s is no document', (hostile) => {
    expect(codeOf(() => parseTcbInfo(hostile))).toBe(malformed)
    expect(codeOf(() => parseQeIdentity(hostile))).toBe(malformed)
    expect(codeOf(() => parseCollateral(hostile))).toBe(malformed)
  })
})

describe('parseCollateral', () => {
  const json: Json = { ...collateralToJson(collateral) }
  const codeFor = (value: Json): string => codeOf(() => parseCollateral(JSON.stringify(value)))

  it('P3: every member is required', () => {
    for (const name of Object.keys(json)) {
      const { [name]: _, ...rest } = json
      expect(codeFor(rest), name).toBe('collateral_missing')
      expect(codeFor({ ...json, [name]: '' }), name).toBe('collateral_missing')
      expect(codeFor({ ...json, [name]: null }), name).toBe('collateral_missing')
    }
    expect(codeFor({})).toBe('collateral_missing')
  })

  it('members are strings', () => {
    for (const name of Object.keys(json)) for (const value of [1, true, [], {}]) expect(codeFor({ ...json, [name]: value }), name).toBe(malformed)
  })

  it('unknown members are refused', () => {
    expect(codeFor({ ...json, pck_certificate_chain: 'x' })).toBe(malformed)
    expect(codeFor({ ...json, ROOT_CA_CRL: 'x' })).toBe(malformed)
  })

  it('P17: lists and signatures are hex, and nothing like it', () => {
    for (const name of ['root_ca_crl', 'pck_crl', 'tcb_info_signature', 'qe_identity_signature']) {
      const text = json[name] as string
      for (const value of [`0x${text}`, text.slice(1), `${text} `, text.replace(/^../, 'zz'), `-----BEGIN X509 CRL-----\n${text}`])
        expect(codeFor({ ...json, [name]: value }), name).toBe(malformed)
    }
    for (const name of ['tcb_info_signature', 'qe_identity_signature'])
      for (const value of [(json[name] as string).slice(2), `${json[name] as string}00`]) expect(codeFor({ ...json, [name]: value })).toBe(malformed)
  })

  it('duplicate members and more than 1 MiB are refused', () => {
    const text = JSON.stringify(json)
    expect(codeOf(() => parseCollateral(`{"pck_crl":"00",${text.slice(1)}`))).toBe('malformed_json')
    expect(codeOf(() => parseCollateral(text + ' '.repeat(1_048_577 - text.length)))).toBe('malformed_json')
    expect(codeOf(() => parseCollateral(text + ' '.repeat(1_048_576 - text.length)))).toBe('accepted')
  })

  it('formatCollateral writes what parseCollateral reads', () => {
    expect(parseCollateral(formatCollateral(collateral))).toEqual(collateral)
    expect(JSON.parse(formatCollateral(collateral))).toEqual(json)
    expect(codeFor({ ...json, pck_crl: (json.pck_crl as string).toUpperCase() })).toBe('accepted')
  })
})

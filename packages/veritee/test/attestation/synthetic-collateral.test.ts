import { describe, expect, it } from 'vitest'
import { type Collateral, type CollateralJson, collateralFromJson, collateralToJson } from '../../src/attestation/index.ts'
import { crlNumber, type Extension, issueCrl } from '../../src/attestation/pki/issue.ts'
import {
  type Authority,
  chainPem,
  createSimPlatform,
  createSimVendor,
  issueAuthority,
  issueAuthorityCrl,
  leafProfile,
  signDocument,
  type UnsignedDocument,
  type Window,
} from '../../src/attestation/sim/index.ts'
import { at, claimsOf, daysLater, edited, evidenceOf, outcome, soon } from './synthetic.ts'

const vendor = await createSimVendor(at)
const platform = await createSimPlatform({ at, vendor })
const honest = await evidenceOf(platform)
const good = honest.collateral
const stranger = await createSimPlatform({ at, evaluationDataNumber: 99 })
const judged = (changes: Partial<Collateral>, when: Date = soon): Promise<string> => outcome({ ...honest, collateral: { ...good, ...changes } }, when)

type Piece = keyof Collateral
const pieces: readonly Piece[] = [
  'pckCrlIssuerChain',
  'rootCaCrl',
  'pckCrl',
  'tcbInfoIssuerChain',
  'tcbInfo',
  'tcbInfoSignature',
  'qeIdentityIssuerChain',
  'qeIdentity',
  'qeIdentitySignature',
]
const emptyOf = (value: string | Uint8Array): string | Uint8Array => (typeof value === 'string' ? '' : new Uint8Array(0))
// In the middle of something for every piece: half of a chain may be one whole certificate.
const cut = (value: string | Uint8Array): string | Uint8Array => value.slice(0, Math.floor(value.length * 0.4))

/** The code for each piece when it is absent or cut, and when it is that of a platform under another root. */
const codes: Record<Piece, readonly [damaged: string, foreign: string]> = {
  pckCrlIssuerChain: ['malformed_encoding', 'chain_untrusted'],
  rootCaCrl: ['crl_malformed', 'crl_signature_invalid'],
  pckCrl: ['crl_malformed', 'crl_signature_invalid'],
  tcbInfoIssuerChain: ['malformed_encoding', 'chain_untrusted'],
  tcbInfo: ['tcb_info_signature_invalid', 'tcb_info_signature_invalid'],
  tcbInfoSignature: ['tcb_info_signature_invalid', 'tcb_info_signature_invalid'],
  qeIdentityIssuerChain: ['malformed_encoding', 'chain_untrusted'],
  qeIdentity: ['qe_identity_signature_invalid', 'qe_identity_signature_invalid'],
  qeIdentitySignature: ['qe_identity_signature_invalid', 'qe_identity_signature_invalid'],
}

describe('every piece of collateral is needed and judged', () => {
  it('the complete set is accepted', async () => {
    expect(await judged({})).toBe('UpToDate')
  })

  it.each(pieces)('P3, P4: without %s', async (piece) => {
    expect(await judged({ [piece]: emptyOf(good[piece]) })).toBe(codes[piece][0])
    const names = Object.keys(collateralToJson(good)) as (keyof CollateralJson)[]
    const json: Record<string, string> = { ...collateralToJson(good) }
    delete json[names[pieces.indexOf(piece)] ?? '']
    expect(() => collateralFromJson(json)).toThrow(expect.objectContaining({ code: 'collateral_missing' }))
  })

  it.each(pieces)('P2: with %s cut short', async (piece) => {
    expect(await judged({ [piece]: cut(good[piece]) })).toBe(codes[piece][0])
  })

  it.each(['pckCrlIssuerChain', 'tcbInfoIssuerChain', 'qeIdentityIssuerChain'] as const)(
    'with one certificate of %s missing or too many',
    async (piece) => {
      const [first = '', second = ''] = good[piece].split(/(?<=END CERTIFICATE-----\n)/)
      for (const chain of [first, second, first + first, first + second + second]) expect(await judged({ [piece]: chain })).toBe('chain_invalid')
      expect(await judged({ [piece]: second + first }), 'P18').toBe('UpToDate')
    },
  )

  it.each(pieces)('P2, P5: with %s of a platform under another root', async (piece) => {
    expect(await judged({ [piece]: stranger.collateral[piece] })).toBe(codes[piece][1])
  })

  it('P1, P5: with a whole document, signature and chain included, from under another root', async () => {
    const { tcbInfo, tcbInfoSignature, tcbInfoIssuerChain, qeIdentity, qeIdentitySignature, qeIdentityIssuerChain } = stranger.collateral
    expect(await judged({ tcbInfo, tcbInfoSignature, tcbInfoIssuerChain })).toBe('chain_untrusted')
    expect(await judged({ qeIdentity, qeIdentitySignature, qeIdentityIssuerChain })).toBe('chain_untrusted')
    expect(await outcome({ ...honest, collateral: stranger.collateral })).toBe('crl_signature_invalid')
  })

  it('TCB info and QE identity do not stand in for each other, although one key signs both', async () => {
    expect(await judged({ tcbInfo: good.qeIdentity, tcbInfoSignature: good.qeIdentitySignature })).toBe('collateral_malformed')
    expect(await judged({ qeIdentity: good.tcbInfo, qeIdentitySignature: good.tcbInfoSignature })).toBe('collateral_malformed')
  })

  it('bytes after a list or text around a chain are refused', async () => {
    const longer = new Uint8Array(good.pckCrl.length + 1)
    longer.set(good.pckCrl)
    expect(await judged({ pckCrl: longer })).toBe('crl_malformed')
    expect(await judged({ tcbInfoIssuerChain: `issuer chain:\n${good.tcbInfoIssuerChain}` })).toBe('malformed_encoding')
  })

  it('P17: lists in PEM or hex text are refused', async () => {
    expect(await judged({ rootCaCrl: new TextEncoder().encode('-----BEGIN X509 CRL-----\n') })).toBe('crl_malformed')
    expect(await judged({ rootCaCrl: new TextEncoder().encode(collateralToJson(good).root_ca_crl) })).toBe('crl_malformed')
  })
})

describe('who signs', async () => {
  const otherSigners: [string, Authority][] = [
    ['the root', vendor.root],
    ['the PCK authority', vendor.platformCa],
    ['another vendor', (await createSimVendor(at)).tcbSigning],
  ]

  it.each(otherSigners)('P5, P1: %s does not sign TCB info and QE identity', async (_, signer) => {
    const same = (document: UnsignedDocument): UnsignedDocument => document
    expect(await judged(await edited(good, 'tcbInfo', same, signer))).toBe('tcb_info_signature_invalid')
    expect(await judged(await edited(good, 'qeIdentity', same, signer))).toBe('qe_identity_signature_invalid')
  })

  it('P5, P1: nor does anybody else with a certificate of his own', async () => {
    const signers: [Authority, string, string][] = [
      [vendor.platformCa, chainPem(vendor.platformCa, vendor.root), 'chain_invalid'],
      [vendor.root, chainPem(vendor.root), 'chain_invalid'],
      [vendor.root, chainPem(vendor.root, vendor.root), 'chain_invalid'],
    ]
    const pckSigner = await issueAuthority(leafProfile('Intel SGX TCB Signing', daysLater(-1), daysLater(30)), vendor.platformCa)
    signers.push([pckSigner, chainPem(pckSigner, vendor.platformCa), 'chain_invalid'])
    signers.push([pckSigner, chainPem(pckSigner, vendor.platformCa, vendor.root), 'chain_invalid'])
    signers.push([pckSigner, chainPem(pckSigner, vendor.root), 'chain_invalid'])
    for (const [signer, tcbInfoIssuerChain, code] of signers) {
      const { text, signature } = await signDocument(JSON.parse(good.tcbInfo) as UnsignedDocument, signer)
      expect(await judged({ tcbInfo: text, tcbInfoSignature: signature, tcbInfoIssuerChain })).toBe(code)
      const identity = await signDocument(JSON.parse(good.qeIdentity) as UnsignedDocument, signer)
      expect(await judged({ qeIdentity: identity.text, qeIdentitySignature: identity.signature, qeIdentityIssuerChain: tcbInfoIssuerChain })).toBe(
        code,
      )
    }
  })

  it("P2: the processor authority's list does not cover a platform of the platform authority", async () => {
    const { pckCrl, pckCrlIssuerChain } = (await createSimPlatform({ at, vendor, ca: 'processor' })).collateral
    expect(await judged({ pckCrl })).toBe('crl_issuer_mismatch')
    expect(await judged({ pckCrlIssuerChain })).toBe('crl_issuer_mismatch')
    expect(await judged({ pckCrl, pckCrlIssuerChain })).toBe('crl_issuer_mismatch')
  })

  it('a list without number or authority key, or with a critical extension, is refused', async () => {
    const [number, authority] = [crlNumber(1), { oid: '2.5.29.35', critical: false, value: Uint8Array.of(0x30, 0) }]
    const delta: Extension = { oid: '2.5.29.27', critical: true, value: Uint8Array.of(2, 1, 0) }
    const listWith = (extensions: readonly Extension[]): Promise<Uint8Array> =>
      issueCrl({ issuer: vendor.platformCa.subject, thisUpdate: at, nextUpdate: daysLater(30), revoked: [], extensions }, vendor.platformCa.key.sign)
    for (const extensions of [[], [number], [authority], [number, authority, delta]])
      expect(await judged({ pckCrl: await listWith(extensions) }), String(extensions.length)).toBe('crl_malformed')
    expect(await judged({ pckCrl: await listWith([number, authority]) })).toBe('UpToDate')
  })
})

describe('when', () => {
  const inWindow = async (piece: 'rootCaCrl' | 'pckCrl' | 'tcbInfo' | 'qeIdentity', window: Window): Promise<Partial<Collateral>> => {
    if (piece === 'rootCaCrl') return { rootCaCrl: await issueAuthorityCrl(vendor.root, [], window) }
    if (piece === 'pckCrl') return { pckCrl: await issueAuthorityCrl(vendor.platformCa, [], window) }
    const seconds = (date: Date): string => `${date.toISOString().slice(0, 19)}Z`
    return edited(good, piece, (document) => ({ ...document, issueDate: seconds(window.from), nextUpdate: seconds(window.to) }), vendor.tcbSigning)
  }

  const expired = { rootCaCrl: 'crl_expired', pckCrl: 'crl_expired', tcbInfo: 'tcb_info_expired', qeIdentity: 'qe_identity_expired' } as const
  it.each(Object.entries(expired) as [keyof typeof expired, string][])('%s counts from its first to its last second', async (piece, code) => {
    const window = { from: daysLater(1), to: daysLater(2) }
    const changes = await inWindow(piece, window)
    const offset = (date: Date, ms: number): Date => new Date(date.getTime() + ms)
    expect(await judged(changes, offset(window.from, -1000))).toBe(code)
    expect(await judged(changes, window.from)).toBe('UpToDate')
    expect(await judged(changes, window.to)).toBe('UpToDate')
    expect(await judged(changes, offset(window.to, 1000))).toBe(code)
    expect(await judged(changes, offset(window.to, 1))).toBe(code)
  })

  it('the whole set expires together, and a refreshed one serves again', async () => {
    const running = await createSimPlatform({ at, validDays: 7 })
    const evidence = await evidenceOf(running)
    expect(await outcome(evidence, daysLater(7))).toBe('UpToDate')
    expect(await outcome(evidence, daysLater(8))).toBe('crl_expired')
    await running.refreshCollateral(daysLater(8))
    expect(await outcome({ ...evidence, collateral: running.collateral }, daysLater(8))).toBe('UpToDate')
  })

  it("the claims tell the first issue, the last issue and the first expiry; the root's yearly list counts for the expiry only", async () => {
    const shorter = await inWindow('qeIdentity', { from: at, to: daysLater(5) })
    const older = await inWindow('pckCrl', { from: daysLater(-3), to: daysLater(9) })
    const yearly = await inWindow('rootCaCrl', { from: daysLater(-300), to: daysLater(4) })
    const claims = await claimsOf({ ...honest, collateral: { ...good, ...shorter, ...older } })
    expect(claims.collateral).toEqual({ earliestIssue: daysLater(-3), latestIssue: at, earliestExpiration: daysLater(5) })
    const { collateral } = await claimsOf({ ...honest, collateral: { ...good, ...shorter, ...older, ...yearly } })
    expect(collateral).toEqual({ earliestIssue: daysLater(-3), latestIssue: at, earliestExpiration: daysLater(4) })
  })

  it('a document whose window is no date is refused', async () => {
    for (const nextUpdate of ['2026-13-01T00:00:00Z', '2026-02-30T00:00:00Z', '2026-06-01', '', 0, null])
      expect(await judged(await edited(good, 'tcbInfo', (document) => ({ ...document, nextUpdate }), vendor.tcbSigning)), String(nextUpdate)).toBe(
        'collateral_malformed',
      )
  })
})

describe('revocation', () => {
  it.each(['pck', 'intermediate', 'tcbSigning'] as const)('of %s is found', async (revoked) => {
    expect(await outcome(await evidenceOf(await createSimPlatform({ at, vendor, revoked: [revoked] })))).toBe('certificate_revoked')
  })

  it('between two verifications is found by the second', async () => {
    const running = await createSimPlatform({ at, vendor })
    const evidence = await evidenceOf(running)
    expect(await outcome(evidence)).toBe('UpToDate')
    await running.refreshCollateral(at, { revoked: ['pck'] })
    expect(await outcome({ ...evidence, collateral: running.collateral })).toBe('certificate_revoked')
  })

  it('of others does not matter', async () => {
    const others = Array.from({ length: 300 }, (_, i) => Uint8Array.of(1, i >> 8, i & 255))
    const window = { from: at, to: daysLater(30) }
    expect(await judged({ pckCrl: await issueAuthorityCrl(vendor.platformCa, others, window) })).toBe('UpToDate')
    expect(await judged({ rootCaCrl: await issueAuthorityCrl(vendor.root, [vendor.processorCa.serial], window) })).toBe('UpToDate')
  })
})

describe('what the documents are for', () => {
  const signed = (which: 'tcbInfo' | 'qeIdentity', changes: UnsignedDocument): Promise<Collateral> =>
    edited(good, which, (document) => ({ ...document, ...changes }), vendor.tcbSigning)

  it('TCB info must be for this FMSPC, PCE and kind of TEE', async () => {
    expect(await judged(await signed('tcbInfo', { fmspc: '53494D000001' }))).toBe('tcb_info_mismatch')
    expect(await judged(await signed('tcbInfo', { pceId: '0001' }))).toBe('tcb_info_mismatch')
    expect(await judged(await signed('tcbInfo', { fmspc: '53494d000000' })), 'lower case').toBe('UpToDate')
    const levels = (JSON.parse(good.tcbInfo) as { tcbLevels: { tcb: object }[] }).tcbLevels
    const module = { mrsigner: '00'.repeat(48), attributes: '00'.repeat(8), attributesMask: 'FF'.repeat(8) }
    const tdx = {
      id: 'TDX',
      tdxModule: module,
      tcbLevels: levels.map((level) => ({ ...level, tcb: { ...level.tcb, tdxtcbcomponents: new Array(16).fill({ svn: 0 }) } })),
    }
    expect(await judged(await signed('tcbInfo', tdx))).toBe('tcb_info_mismatch')
    expect(await judged(await signed('tcbInfo', { tdxModule: module })), 'TDX parts in an SGX document').toBe('collateral_malformed')
  })

  it.each([
    ['another id', 'tcbInfo', { id: 'SEV' }],
    ['another version', 'tcbInfo', { version: 4 }],
    ['version 2 without its members', 'tcbInfo', { version: 2 }],
    ['another TCB type', 'tcbInfo', { tcbType: 1 }],
    ['a short FMSPC', 'tcbInfo', { fmspc: '00' }],
    ['no evaluation number', 'tcbInfo', { tcbEvaluationDataNumber: null }],
    ['a negative evaluation number', 'tcbInfo', { tcbEvaluationDataNumber: -1 }],
    ['another id', 'qeIdentity', { id: 'QVE' }],
    ['another version', 'qeIdentity', { version: 1 }],
    ['a short mask', 'qeIdentity', { attributesMask: 'FF' }],
    ['no signer', 'qeIdentity', { mrsigner: '' }],
    ['a product id as text', 'qeIdentity', { isvprodid: '1' }],
    ['no levels', 'qeIdentity', { tcbLevels: [] }],
    [
      'a level with a status of platforms',
      'qeIdentity',
      { tcbLevels: [{ tcb: { isvsvn: 1 }, tcbDate: '2026-01-01T00:00:00Z', tcbStatus: 'ConfigurationNeeded' }] },
    ],
  ] as const)('P25: %s in %s is refused, although signed', async (_, which, changes) => {
    expect(await judged(await signed(which, changes))).toBe('collateral_malformed')
  })

  it('P6: the signature is over the exact text, however it is laid out', async () => {
    const pretty = JSON.stringify(JSON.parse(good.tcbInfo), null, 2)
    expect(await judged({ tcbInfo: pretty })).toBe('tcb_info_signature_invalid')
    const signature = await vendor.tcbSigning.key.sign(new TextEncoder().encode(pretty))
    expect(await judged({ tcbInfo: pretty, tcbInfoSignature: signature })).toBe('UpToDate')
  })

  it('P25: duplicate and forbidden names are refused, although signed', async () => {
    for (const text of [
      good.tcbInfo.replace('{"id"', '{"fmspc":"000000000000","id"'),
      good.tcbInfo.replace('{"id"', '{"__proto__":{},"id"'),
      `${good.tcbInfo}{}`,
    ]) {
      const signature = await vendor.tcbSigning.key.sign(new TextEncoder().encode(text))
      expect(await judged({ tcbInfo: text, tcbInfoSignature: signature })).toBe('malformed_json')
    }
  })

  it('another platform of the same vendor and family shares the documents, one of another family does not', async () => {
    const [sibling, cousin] = [await createSimPlatform({ at, vendor }), await createSimPlatform({ at, vendor, fmspc: '00906ea10000' })]
    expect(await outcome({ ...(await evidenceOf(sibling)), collateral: good })).toBe('UpToDate')
    expect(await outcome({ ...(await evidenceOf(cousin)), collateral: good })).toBe('tcb_info_mismatch')
  })
})

import { describe, expect, it } from 'vitest'
import { type Collateral, collateralFromJson, collateralToJson, parseQuote, verifyQuote } from '../../src/attestation/index.ts'
import { authorityKeyIdentifier, certificatePem, issueCertificate, keyIdentifier, subjectKeyIdentifier } from '../../src/attestation/pki/issue.ts'
import {
  type Authority,
  chainPem,
  createSimPlatform,
  createSimVendor,
  issueAuthorityCrl,
  leafProfile,
  type SimTcbLevel,
} from '../../src/attestation/sim/index.ts'
import { concat, fromHex, utf8 } from '../../src/bytes/index.ts'
import { at, claimsOf, components, daysLater, edited, evidenceOf, judged, outcome, sharedVendor, soon, synthesize } from './synthetic.ts'

const vendor = await sharedVendor()
const platform = await createSimPlatform({ at, vendor })
const honest = await evidenceOf(platform)
const good = honest.collateral
const verdict = (changes: Partial<Collateral>, when: Date = soon): Promise<string> => judged({ ...honest, collateral: { ...good, ...changes } }, when)

describe('P2, P4: a revocation list that does not do its work is refused, for the root and for the PCK authority', async () => {
  const window = { from: at, to: daysLater(30) }
  const stranger = await createSimVendor(at)
  const lists = [
    ['rootCaCrl', 'crl.root', 'root', 'platformCa'],
    ['pckCrl', 'crl.pck', 'platformCa', 'root'],
  ] as const
  const cases = lists.flatMap(([piece, check, issuer, other]) => {
    const list = (authority: Authority, span = window): Promise<Uint8Array> => issueAuthorityCrl(authority, [], span)
    const damaged = new Uint8Array(good[piece])
    damaged[damaged.length - 1] = (damaged.at(-1) ?? 0) ^ 1
    const all: readonly (readonly [string, () => Uint8Array | Promise<Uint8Array>, string])[] = [
      ['empty', () => new Uint8Array(0), 'crl_malformed'],
      ['garbage', () => utf8('no list at all'), 'crl_malformed'],
      ['zeros', () => new Uint8Array(300), 'crl_malformed'],
      [
        'PEM (P17)',
        () => utf8(`-----BEGIN X509 CRL-----\n${Buffer.from(good[piece]).toString('base64')}\n-----END X509 CRL-----\n`),
        'crl_malformed',
      ],
      ['hex (P17)', () => utf8(Buffer.from(good[piece]).toString('hex')), 'crl_malformed'],
      ['with a bad signature', () => damaged, 'crl_signature_invalid'],
      ['by another key of the same name', () => list(stranger[issuer]), 'crl_signature_invalid'],
      ['by another issuer', () => list(vendor[other]), 'crl_issuer_mismatch'],
      ['by the processor authority', () => list(vendor.processorCa), 'crl_issuer_mismatch'],
      ['swapped with the other one', () => good[piece === 'rootCaCrl' ? 'pckCrl' : 'rootCaCrl'], 'crl_issuer_mismatch'],
      ['expired', () => list(vendor[issuer], { from: daysLater(-30), to: new Date(soon.getTime() - 1000) }), 'crl_expired'],
      ['not valid yet', () => list(vendor[issuer], { from: new Date(soon.getTime() + 1000), to: daysLater(30) }), 'crl_expired'],
      ['with bytes after it', () => concat(good[piece], Uint8Array.of(0)), 'crl_malformed'],
    ]
    return all.map(([name, make, code]) => [piece, name, make, `${check} ${code}`] as const)
  })

  it.each(cases)('%s: %s', async (piece, _, make, expected) => {
    expect(await verdict({ [piece]: await make() })).toBe(expected)
  })

  it.each(['root_ca_crl', 'pck_crl'] as const)('%s: absent', (name) => {
    const { [name]: _, ...rest } = collateralToJson(good)
    for (const value of [rest, { ...rest, [name]: '' }, { ...rest, [name]: null }])
      expect(() => collateralFromJson(value)).toThrow(expect.objectContaining({ code: 'collateral_missing' }))
  })
})

describe('mistakes that other verifiers made', () => {
  it('P3: nothing is checked only when asked for: verifyQuote takes no switches', async () => {
    expect(verifyQuote.length).toBe(4)
    const lenient = { getCollateral: false, checkRevocations: false, skipCrl: true, allowExpired: true }
    const quote = parseQuote(honest.quote)
    const broken = { ...good, pckCrl: new Uint8Array(0), ...lenient } as Collateral
    const trust = { ...honest.trust, ...lenient }
    await expect(verifyQuote(quote, broken, trust, soon)).rejects.toMatchObject({ code: 'crl_malformed' })
  })

  it('P19: TCB info of version 2, as API v3 serves it, gives the same verdicts as version 3', async () => {
    const level = (status: string, changes: Partial<SimTcbLevel> = {}): SimTcbLevel => ({
      components: [12, 12, 3, 3, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
      pceSvn: 16,
      status,
      tcbDate: new Date('2026-02-01T00:00:00Z'),
      ...changes,
    })
    const standings: readonly (readonly SimTcbLevel[])[] = [
      [level('UpToDate')],
      [level('ConfigurationNeeded', { advisories: ['INTEL-SA-00001'] })],
      [level('UpToDate', { pceSvn: 17 }), level('OutOfDate')],
      [level('UpToDate', { components: [13, ...new Array<number>(15).fill(0)] }), level('Revoked', { components: new Array(16).fill(0) })],
      [level('UpToDate', { pceSvn: 17 })],
    ]
    for (const tcbLevels of standings) {
      const [two, three] = [
        await claimsOf(await evidenceOf(await createSimPlatform({ at, vendor, tcbLevels, tcbInfoVersion: 2 }))),
        await claimsOf(await evidenceOf(await createSimPlatform({ at, vendor, tcbLevels }))),
      ]
      expect(two.tcb).toEqual(three.tcb)
    }
    const old = await createSimPlatform({ at, vendor, tcbInfoVersion: 2 })
    expect(JSON.parse(old.collateral.tcbInfo)).toMatchObject({
      version: 2,
      tcbLevels: [{ tcb: { sgxtcbcomp01svn: 12, sgxtcbcomp16svn: 0, pcesvn: 16 } }, {}],
    })
    expect(JSON.parse(old.collateral.tcbInfo)).not.toHaveProperty('id')
  })

  it('P20: a TCB signing certificate that is issued again with the same serial and key is judged by its own dates', async () => {
    const { tcbSigning, root } = vendor
    const reissue = async (notBefore: Date, notAfter: Date): Promise<string> => {
      const { subject, extensions } = leafProfile('Intel SGX TCB Signing', notBefore, notAfter)
      const fields = {
        serial: tcbSigning.serial,
        issuer: root.subject,
        subject,
        notBefore,
        notAfter,
        publicKey: tcbSigning.key.publicKey,
        extensions: [
          authorityKeyIdentifier(await keyIdentifier(root.key.publicKey)),
          subjectKeyIdentifier(await keyIdentifier(tcbSigning.key.publicKey)),
          ...extensions,
        ],
      }
      return certificatePem(await issueCertificate(fields, root.key.sign)) + chainPem(root)
    }
    const old = await reissue(daysLater(-400), daysLater(-1))
    const current = await reissue(daysLater(-1), daysLater(400))
    const future = await reissue(daysLater(1), daysLater(400))
    expect(await verdict({ tcbInfoIssuerChain: current, qeIdentityIssuerChain: old })).toBe('qe-identity.chain certificate_expired')
    expect(await verdict({ tcbInfoIssuerChain: old, qeIdentityIssuerChain: current })).toBe('tcb-info.chain certificate_expired')
    expect(await verdict({ tcbInfoIssuerChain: current, qeIdentityIssuerChain: future })).toBe('qe-identity.chain certificate_not_yet_valid')
    expect(await verdict({ tcbInfoIssuerChain: current, qeIdentityIssuerChain: current })).toBe('UpToDate')
    expect(await verdict({ tcbInfoIssuerChain: current })).toBe('UpToDate')
  })

  it('P23: documents of two evaluations give the lower number, whichever is older', async () => {
    for (const [tcbInfo, qeIdentity] of [
      [17, 21],
      [21, 17],
    ] as const) {
      let collateral = await edited(good, 'tcbInfo', (document) => ({ ...document, tcbEvaluationDataNumber: tcbInfo }), vendor.tcbSigning)
      collateral = await edited(collateral, 'qeIdentity', (document) => ({ ...document, tcbEvaluationDataNumber: qeIdentity }), vendor.tcbSigning)
      expect((await claimsOf({ ...honest, collateral })).tcb.evaluationDataNumber).toBe(17)
    }
  })

  it('P24: advisories of every family are reported, and none where the list is absent or empty', async () => {
    const level = { components, pceSvn: 13, tcbDate: new Date('2026-02-01T00:00:00Z') }
    const advisoriesWith = async (advisoryIDs: unknown): Promise<readonly string[]> => {
      const tcb = { sgxtcbcomponents: level.components.map((svn) => ({ svn })), pcesvn: 13 }
      const listed = { tcb, tcbDate: '2026-02-01T00:00:00Z', tcbStatus: 'OutOfDate', ...(advisoryIDs === undefined ? {} : { advisoryIDs }) }
      return (await claimsOf(await synthesize({ tcbInfo: (document) => ({ ...document, tcbLevels: [listed] }) }))).tcb.advisories
    }
    expect(await advisoriesWith(['INTEL-SA-00615', 'INTEL-DOC-10000', 'INTEL-DOC-10001'])).toEqual([
      'INTEL-DOC-10000',
      'INTEL-DOC-10001',
      'INTEL-SA-00615',
    ])
    expect(await advisoriesWith([])).toEqual([])
    expect(await advisoriesWith(undefined)).toEqual([])
  })

  it('P26: damage in the certificates of a quote or of an issuer chain is a refusal with a code, bit by bit', async () => {
    const [pem = ''] = good.tcbInfoIssuerChain.split(/(?<=END CERTIFICATE-----\n)/)
    const der = Buffer.from(pem.replace(/-----.*-----|\n/g, ''), 'base64')
    for (let index = 0; index < der.length; index += 3) {
      const damaged = new Uint8Array(der)
      damaged[index] = (damaged[index] ?? 0) ^ (1 << (index % 8))
      const text = certificatePem(damaged) + chainPem(vendor.root)
      expect(await verdict({ tcbInfoIssuerChain: text }), `at ${index}`).toMatch(/^tcb-info\.(chain|signature) [a-z_]+$/)
    }
    // Not UTF-8 where a UTF8String should be, inside the PCK certificate of the quote.
    const broken = await synthesize({ alterPck: (profile) => ({ ...profile, subject: [...profile.subject, ['L', 'QQQQ']] }) })
    const text = new TextDecoder('latin1').decode(broken.quote)
    const start = text.indexOf('-----BEGIN CERTIFICATE-----') + 28
    const leaf = Buffer.from(text.slice(start, text.indexOf('-----END')), 'base64')
    leaf.set(fromHex('ff'), leaf.indexOf('QQQQ'))
    const replaced = certificatePem(new Uint8Array(leaf)).split('\n').slice(1, -2).join('\n')
    const quote = concat(broken.quote.subarray(0, start), utf8(replaced), broken.quote.subarray(start + replaced.length))
    expect(await judged({ ...broken, quote })).toBe('pck.format certificate_malformed')
  })

  it('P27: signatures with a high s are as good as those with a low one', async () => {
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
    const other = (signature: Uint8Array): Uint8Array => {
      const s = order - BigInt(`0x${Buffer.from(signature.subarray(32)).toString('hex')}`)
      return concat(signature.subarray(0, 32), fromHex(s.toString(16).padStart(64, '0')))
    }
    const isHigh = (signature: Uint8Array): boolean => (signature[32] ?? 0) >= 0x80
    const found = new Set<boolean>()
    for (const position of [436, 948]) {
      const signature = honest.quote.subarray(position, position + 64)
      const quote = concat(honest.quote.subarray(0, position), other(signature), honest.quote.subarray(position + 64))
      expect(await outcome({ ...honest, quote }), `at ${position}`).toBe('UpToDate')
      found.add(isHigh(signature)).add(isHigh(other(signature)))
    }
    for (const piece of ['tcbInfoSignature', 'qeIdentitySignature'] as const) expect(await verdict({ [piece]: other(good[piece]) })).toBe('UpToDate')
    expect(found).toEqual(new Set([true, false]))
  })
})

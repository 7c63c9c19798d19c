import { describe, expect, it } from 'vitest'
import { parseQuote, type Trust, verifyQuote } from '../../src/attestation/index.ts'
import {
  authorityKeyIdentifier,
  basicConstraints,
  type Extension,
  issueCertificate,
  keyIdentifier,
  keyUsage,
  subjectKeyIdentifier,
} from '../../src/attestation/pki/issue.ts'
import { CertificatePool } from '../../src/attestation/pki/pool.ts'
import {
  type Alteration,
  type CertificateProfile,
  caProfile,
  createSimVendor,
  issueAuthorityCrl,
  type VendorAlterations,
} from '../../src/attestation/sim/index.ts'
import { at, type Changes, claimsOf, judged, sharedVendor, synthesize, window } from './synthetic.ts'

async function failureOf(changes: Changes): Promise<string> {
  return judged(await synthesize(changes), at)
}

async function failureUnder(alter: VendorAlterations): Promise<string> {
  return failureOf({ vendor: await createSimVendor(at, alter) })
}

const without = (oid: string) => (profile: CertificateProfile) => ({
  ...profile,
  extensions: profile.extensions.filter((extension) => extension.oid !== oid),
})
const replacing =
  (extension: Extension): Alteration =>
  (profile) => {
    const rest = without(extension.oid)(profile)
    return { ...rest, extensions: [...rest.extensions, extension] }
  }
const named =
  (commonName: string): Alteration =>
  (profile) => ({ ...profile, subject: [['CN', commonName], ...profile.subject.slice(1)] })
const constraintsOid = '2.5.29.19'
const usageOid = '2.5.29.15'

describe('synthetic evidence', () => {
  it.each(['processor', 'platform'] as const)('verifies under its own root: the %s CA', async (ca) => {
    const claims = await claimsOf(await synthesize({ ca }), at)
    expect(claims.tcb).toMatchObject({ status: 'UpToDate', evaluationDataNumber: 19 })
    expect(claims.platform).toMatchObject(ca === 'platform' ? { ca, smtEnabled: true } : { ca, smtEnabled: null, platformInstanceId: null })
    expect(claims.simulated).toBe(true)
  })

  it('S15: collateral under another trusted root does not vouch for the quote', async () => {
    const other = await createSimVendor(at)
    const mine = await synthesize()
    const theirs = await synthesize({ vendor: other })
    const trust: Trust = { roots: [...mine.trust.roots, ...theirs.trust.roots] }
    const { tcbInfo, tcbInfoSignature, tcbInfoIssuerChain, qeIdentity, qeIdentitySignature, qeIdentityIssuerChain, pckCrlIssuerChain } =
      theirs.collateral
    const swapped = [
      [{ tcbInfo, tcbInfoSignature, tcbInfoIssuerChain }, 'tcb-info.chain chain_untrusted'],
      [{ qeIdentity, qeIdentitySignature, qeIdentityIssuerChain }, 'qe-identity.chain chain_untrusted'],
      [{ pckCrlIssuerChain }, 'crl.pck-issuer chain_untrusted'],
    ] as const
    for (const [change, code] of swapped)
      expect(await judged({ quote: mine.quote, collateral: { ...mine.collateral, ...change }, trust }, at)).toBe(code)
    expect(await judged({ quote: mine.quote, collateral: theirs.collateral, trust }, at)).toBe('crl.root crl_signature_invalid')
  })

  it('a root of the right name and another key is not the root', async () => {
    const other = await createSimVendor(at)
    expect(await failureOf({ chain: (pck, ca) => [pck, ca, other.root] })).toBe('pck.root chain_untrusted')
  })
})

describe('RFC 5280 rules for chains', () => {
  it.each([
    ['basicConstraints', constraintsOid],
    ['keyUsage', usageOid],
    ['cRLDistributionPoints', '2.5.29.31'],
  ] as const)('every certificate has what Intel’s library demands: %s', async (_, oid) => {
    expect(await failureOf({ alterPck: without(oid) })).toBe('pck.chain chain_invalid')
    for (const who of ['root', 'platformCa'] as const) expect(await failureUnder({ [who]: without(oid) }), who).toBe('pck.chain chain_invalid')
    expect(await failureUnder({ tcbSigning: without(oid) })).toBe('tcb-info.chain chain_invalid')
  })

  it.each([
    ['an intermediate without basicConstraints', { platformCa: without(constraintsOid) }],
    ['an intermediate that is not a CA', { platformCa: replacing(basicConstraints(null)) }],
    ['an intermediate without keyUsage', { platformCa: without(usageOid) }],
    ['an intermediate that may not sign certificates', { platformCa: replacing(keyUsage('cRLSign')) }],
    ['a root without basicConstraints', { root: without(constraintsOid) }],
  ] as const)('PCK chain: %s', async (_, alter: VendorAlterations) => {
    expect(await failureUnder(alter)).toBe('pck.chain chain_invalid')
  })

  it.each([
    ['that is a CA', replacing(basicConstraints(0))],
    ['of another name', named('Intel SGX TCB Signing')],
  ] as const)('a PCK certificate %s', async (_, alterPck: Alteration) => {
    expect(await failureOf({ alterPck })).toBe('pck.chain chain_invalid')
  })

  it.each([
    ['that is a CA', replacing(basicConstraints(0)), 'tcb-info.chain chain_invalid'],
    ['that may not sign', replacing(keyUsage('cRLSign')), 'tcb-info.chain chain_invalid'],
    ['of another name', named('Intel SGX PCK Certificate'), 'tcb-info.chain chain_invalid'],
  ] as readonly (readonly [string, Alteration, string])[])('a TCB signing certificate %s', async (_, tcbSigning, expected) => {
    expect(await failureUnder({ tcbSigning })).toBe(expected)
  })

  it('a chain longer or shorter than three, with a doubled or a foreign member, is refused', async () => {
    const vendor = await sharedVendor()
    expect(await failureOf({ chain: (pck, ca) => [pck, ca] })).toBe('pck.format chain_invalid')
    expect(await failureOf({ chain: (pck, _ca, root) => [pck, root] })).toBe('pck.format chain_invalid')
    expect(await failureOf({ chain: (pck, ca, root) => [pck, ca, root, root] })).toBe('pck.format chain_invalid')
    expect(await failureOf({ chain: (pck, ca) => [pck, ca, ca] })).toBe('pck.format chain_invalid')
    expect(await failureOf({ chain: (pck, _ca, root) => [pck, vendor.processorCa, root] })).toBe('pck.format chain_invalid')
    expect(await failureOf({ chain: (pck, ca, root) => [root, pck, ca] })).toBe('UpToDate')
  })

  it('a PCK certificate signed by an authority of the same name and another key', async () => {
    const imposter = (await createSimVendor(at)).platformCa
    const { root } = await sharedVendor()
    const imposed = await synthesize({ vendor: { ...(await sharedVendor()), platformCa: imposter } })
    expect(await judged({ quote: imposed.quote, collateral: imposed.collateral, trust: { roots: [root.certificate] } }, at)).toBe(
      'pck.chain chain_invalid',
    )
  })

  it('TCB info signed by another key of the root, such as the PCK authority', async () => {
    const vendor = await sharedVendor()
    expect(await failureOf({ vendor: { ...vendor, tcbSigning: vendor.platformCa } })).toBe('tcb-info.chain chain_invalid')
  })
})

describe('revocation', () => {
  it('the serial of another authority’s certificate revokes nothing here', async () => {
    expect(
      await failureOf({
        pieces: async (_pieces, vendor, pckCa, pck) => ({
          rootCaCrl: await issueAuthorityCrl(vendor.root, [pck.serial], window),
          pckCrl: await issueAuthorityCrl(pckCa, [pckCa.serial], window),
        }),
      }),
    ).toBe('UpToDate')
  })

  it('an authority that may not sign lists', async () => {
    expect(await failureUnder({ platformCa: replacing(keyUsage('keyCertSign')) })).toBe('crl.pck crl_issuer_mismatch')
    expect(await failureUnder({ root: replacing(keyUsage('keyCertSign')) })).toBe('crl.root crl_issuer_mismatch')
  })

  it('the list’s own chain may carry a reissued authority of the same name and key, and no other', async () => {
    const vendor = await sharedVendor()
    const other = await createSimVendor(at)
    const { platformCa, root } = vendor
    const { extensions: profiled, subject, notBefore } = caProfile('Intel SGX PCK Platform CA', 0, new Date('2026-01-01T00:00:00Z'), at)
    const extensions = [
      authorityKeyIdentifier(await keyIdentifier(root.key.publicKey)),
      subjectKeyIdentifier(await keyIdentifier(platformCa.key.publicKey)),
      ...profiled,
    ]
    const reissue = (notAfter: Date): Promise<Uint8Array> =>
      issueCertificate(
        { serial: Uint8Array.of(9), issuer: root.subject, subject, notBefore, notAfter, publicKey: platformCa.key.publicKey, extensions },
        root.key.sign,
      )
    const until = new Date(at.getTime() + 5000)
    const evidence = await synthesize()
    const reissued = { ...evidence.collateral, pckCrlIssuerChain: chain(await reissue(until), root.certificate) }
    const { claims } = await verifyQuote(parseQuote(evidence.quote), reissued, evidence.trust, at)
    expect(claims.collateral.earliestExpiration).toEqual(until)
    const stale = { ...evidence.collateral, pckCrlIssuerChain: chain(await reissue(new Date(at.getTime() - 1000)), root.certificate) }
    expect(await judged({ quote: evidence.quote, collateral: stale, trust: evidence.trust }, at)).toBe('crl.pck-issuer certificate_expired')
    const forged = await issueCertificate(
      { serial: Uint8Array.of(9), issuer: root.subject, subject, notBefore, notAfter: until, publicKey: platformCa.key.publicKey, extensions },
      other.root.key.sign,
    )
    const unsigned = { ...evidence.collateral, pckCrlIssuerChain: chain(forged, root.certificate) }
    expect(await judged({ quote: evidence.quote, collateral: unsigned, trust: evidence.trust }, at)).toBe('crl.pck-issuer chain_invalid')
    const changed = await failureOf({ collateral: () => ({ pckCrlIssuerChain: chain(other.platformCa.certificate, vendor.root.certificate) }) })
    expect(changed).toBe('crl.pck-issuer crl_issuer_mismatch')
  })
})

describe('the certificates of one verification', () => {
  it('a signature that was checked under one issuer says nothing about another', async () => {
    const one = await sharedVendor()
    const two = await createSimVendor(at)
    const pool = new CertificatePool()
    const { leaf: signer, root } = pool.chain(chain(one.tcbSigning.certificate, one.root.certificate), 2)
    const { root: other } = pool.chain(chain(two.tcbSigning.certificate, two.root.certificate), 2)
    expect(await pool.signed(root, signer)).toBe(true)
    expect(await pool.signed(other, signer)).toBe(false)
    expect(await pool.signed(root, signer)).toBe(true)
  })

  it('equal certificates are parsed once', async () => {
    const { tcbSigning, root } = await sharedVendor()
    const pool = new CertificatePool()
    const text = chain(tcbSigning.certificate, root.certificate)
    const { leaf } = pool.chain(text, 2)
    expect(pool.chain(text, 2).leaf).toBe(leaf)
  })
})

function chain(...certificates: readonly Uint8Array[]): string {
  return certificates.map((der) => `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64')}\n-----END CERTIFICATE-----\n`).join('')
}

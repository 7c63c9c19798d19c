import { describe, expect, it } from 'vitest'
import { intelSgxRootCa } from '../../src/attestation/index.ts'
import { type PooledCertificate, readCertificate } from '../../src/attestation/pki/certificate.ts'
import { Chain, checkWindow } from '../../src/attestation/pki/chain.ts'
import { basicConstraints, type Extension, keyUsage } from '../../src/attestation/pki/issue.ts'
import { CertificatePool } from '../../src/attestation/pki/pool.ts'
import {
  type Alteration,
  type Authority,
  createSimPlatform,
  createSimVendor,
  issueAuthority,
  leafProfile,
  type SimVendor,
} from '../../src/attestation/sim/index.ts'
import { type Pck, pckAuthority } from '../../src/attestation/steps/pck.ts'
import { at, type Changes, daysLater, evidenceOf, outcome, sharedVendor, soon, synthesize } from './synthetic.ts'

type Who = 'root' | 'platformCa' | 'tcbSigning' | 'pck'
const everyone = ['root', 'platformCa', 'tcbSigning', 'pck'] as const
const keyUsageOid = '2.5.29.15'
const without = (oid: string, extensions: readonly Extension[]): Extension[] => extensions.filter((extension) => extension.oid !== oid)
const replacing = (replacement: Extension, extensions: readonly Extension[]): Extension[] => [...without(replacement.oid, extensions), replacement]
const altered = async (who: Who, alter: Alteration): Promise<string> => {
  const vendor = await createSimVendor(at, who === 'pck' ? {} : { [who]: alter })
  return outcome(await evidenceOf(await createSimPlatform({ at, vendor, ...(who === 'pck' ? { alterPck: alter } : {}) })))
}
const alteredExtensions = (who: Who, change: (extensions: readonly Extension[]) => Extension[]): Promise<string> =>
  altered(who, (profile) => ({ ...profile, extensions: change(profile.extensions) }))

describe('each certificate of a platform in its role', () => {
  it.each(['root', 'platformCa'] as const)('%s must be an authority for certificates and for lists', async (who) => {
    expect(await alteredExtensions(who, (all) => replacing(keyUsage('digitalSignature'), all))).toBe('chain_invalid')
    expect(await alteredExtensions(who, (all) => replacing(keyUsage('keyCertSign'), all))).toBe('crl_issuer_mismatch')
    expect(await alteredExtensions(who, (all) => replacing(keyUsage('keyCertSign', 'cRLSign'), all))).toBe('UpToDate')
  })

  it('the path length of the root leaves room for one authority', async () => {
    expect(await alteredExtensions('root', (all) => replacing(basicConstraints(0), all))).toBe('chain_invalid')
    expect(await alteredExtensions('root', (all) => replacing(basicConstraints(5), all))).toBe('UpToDate')
  })

  it.each(['pck', 'tcbSigning'] as const)('%s must be an end entity that may sign', async (who) => {
    expect(await alteredExtensions(who, (all) => replacing(keyUsage('keyCertSign', 'cRLSign'), all))).toBe('chain_invalid')
    expect(await alteredExtensions(who, (all) => without(keyUsageOid, all))).toBe('chain_invalid')
    expect(await alteredExtensions(who, (all) => without('2.5.29.19', all)), 'RFC 5280 would take it, Intel’s library does not').toBe('chain_invalid')
  })

  it.each(everyone)('%s may carry unknown extensions unless they are critical', async (who) => {
    const unknown = { oid: '1.2.3.4', value: Uint8Array.of(5, 0) }
    expect(await alteredExtensions(who, (all) => [...all, { ...unknown, critical: true }])).toBe('chain_invalid')
    expect(await alteredExtensions(who, (all) => [...all, { ...unknown, critical: false }])).toBe('UpToDate')
  })

  it.each(everyone)('%s must be valid at the time, bounds included', async (who) => {
    const expiring = (notAfter: Date): Promise<string> => altered(who, (profile) => ({ ...profile, notAfter }))
    const starting = (notBefore: Date): Promise<string> => altered(who, (profile) => ({ ...profile, notBefore }))
    expect(await expiring(new Date(soon.getTime() - 1000))).toBe('certificate_expired')
    expect(await expiring(soon)).toBe('UpToDate')
    expect(await starting(new Date(soon.getTime() + 1000))).toBe('certificate_not_yet_valid')
    expect(await starting(soon)).toBe('UpToDate')
  })

  it.each(everyone)('%s must have the common name of its role', async (who) => {
    expect(await altered(who, (profile) => ({ ...profile, subject: [['CN', 'Intel SGX']] }))).toBe('chain_invalid')
    expect(await altered(who, (profile) => ({ ...profile, subject: [['O', 'Intel SGX Root CA']] }))).toBe('chain_invalid')
  })

  it('the intermediate must be one of the two PCK authorities', async () => {
    expect(await altered('platformCa', (profile) => ({ ...profile, subject: [['CN', 'Intel SGX PCK Other CA']] }))).toBe('chain_invalid')
  })

  it('a PCK certificate must have the SGX extension, once, and well-formed', async () => {
    const sgx = '1.2.840.113741.1.13.1'
    expect(await alteredExtensions('pck', (all) => without(sgx, all))).toBe('certificate_malformed')
    expect(await alteredExtensions('pck', (all) => [...all, ...all.filter(({ oid }) => oid === sgx)])).toBe('certificate_malformed')
    expect(await alteredExtensions('pck', (all) => all.map((one) => (one.oid === sgx ? { ...one, value: one.value.subarray(1) } : one)))).toBe(
      'certificate_malformed',
    )
  })
})

describe('PCK certificates of the wrong issuer', async () => {
  const vendor: SimVendor = await sharedVendor()
  const forged = async (changes: Changes): Promise<string> => outcome(await synthesize(changes))

  it('a genuine leaf cannot certify another machine', async () => {
    const leaf = await issueAuthority(leafProfile('Intel SGX PCK Platform CA', daysLater(-1), daysLater(30)), vendor.platformCa)
    expect(await forged({ pckIssuer: leaf, chain: (pck) => [pck, leaf, vendor.platformCa, vendor.root] })).toBe('chain_invalid')
    expect(await forged({ pckIssuer: leaf, chain: (pck) => [pck, leaf, vendor.root] })).toBe('chain_invalid')
    const underRoot = await issueAuthority(leafProfile('Intel SGX PCK Platform CA', daysLater(-1), daysLater(30)), vendor.root)
    expect(await forged({ pckIssuer: underRoot }), 'not a CA').toBe('chain_invalid')
  })

  it('the TCB signer, the root and a self-made authority cannot be the PCK authority', async () => {
    expect(await forged({ pckIssuer: vendor.tcbSigning })).toBe('chain_invalid')
    expect(await forged({ pckIssuer: vendor.root, chain: (pck) => [pck, vendor.platformCa, vendor.root] })).toBe('chain_invalid')
    expect(await forged({ pckIssuer: vendor.root, chain: (pck) => [pck, vendor.root] })).toBe('chain_invalid')
    const own: Authority = (await createSimVendor(at)).platformCa
    expect(await forged({ pckIssuer: own }), 'same names, other key').toBe('chain_invalid')
    expect(await forged({ pckIssuer: own, chain: (pck) => [pck, vendor.platformCa, vendor.root] })).toBe('chain_invalid')
  })

  it('P2: a certificate of the other authority is not covered by this authority’s list', async () => {
    expect(await forged({ pckIssuer: vendor.processorCa })).toBe('crl_issuer_mismatch')
  })
})

describe('certificates without what the checks look at', async () => {
  const genuine = readCertificate(intelSgxRootCa)
  const unnamed: PooledCertificate = { ...genuine, subject: { ...genuine.subject, commonName: null } }

  it('a key or a signature of another kind signs nothing', async () => {
    const pool = new CertificatePool()
    expect(await pool.signed(genuine, genuine)).toBe(true)
    expect(await new CertificatePool().signed({ ...genuine, publicKey: null }, genuine)).toBe(false)
    expect(await new CertificatePool().signed(genuine, { ...genuine, signature: null })).toBe(false)
  })

  it('a window counts also for a certificate without a common name', () => {
    const late = new Date('2060-01-01T00:00:00Z')
    expect(() => checkWindow(new Chain([unnamed]), late)).toThrow(expect.objectContaining({ code: 'certificate_expired' }))
    expect(() => checkWindow(new Chain([unnamed]), at)).not.toThrow()
  })

  it('an intermediate without a common name is neither of the PCK authorities', () => {
    const pck = { leaf: genuine, intermediate: unnamed, root: genuine, chain: new Chain([genuine]) } as unknown as Pck
    expect(() => pckAuthority(pck)).toThrow(expect.objectContaining({ code: 'chain_invalid' }))
  })

  it('a root without a common name that nobody trusts is untrusted', async () => {
    const vendor = await createSimVendor(at, { root: (profile) => ({ ...profile, subject: [['O', 'Nobody']] }) })
    const { trust } = await synthesize()
    expect(await outcome({ ...(await synthesize({ vendor })), trust })).toBe('chain_untrusted')
  })
})

import { createPublicKey, verify, X509Certificate } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import {
  Certificate as AsnCertificate,
  type Extension as AsnExtension,
  type Name as AsnName,
  AuthorityKeyIdentifier,
  BasicConstraints,
  CertificateList,
  id_ce_basicConstraints,
  id_ce_keyUsage,
  KeyUsage,
} from '@peculiar/asn1-x509'
import { describe, expect, it } from 'vitest'
import { type Certificate, type Crl, intelSgxRootCa, parseCertificate, parseCrl, parsePem, parseQuote } from '../../src/attestation/index.ts'
import { compare, fromUtf8, toHex } from '../../src/bytes/index.ts'
import { synthesize } from './synthetic.ts'
import { genuinePairs, load, vectorsNote } from './vectors.ts'

/** Distinct certificates and lists of all real vectors, or of the simulator where there are none. */
async function collect(): Promise<{ readonly certificates: readonly Uint8Array[]; readonly lists: readonly Uint8Array[] }> {
  const simulated = await synthesize()
  const sets = [...genuinePairs.map(load), { bytes: simulated.quote, collateral: simulated.collateral }]
  const texts = sets.flatMap(({ bytes, collateral }) => {
    const { certification } = parseQuote(bytes)
    const pem = certification.kind === 'pck-chain' ? fromUtf8(certification.pem).replace(/\0+$/, '') : ''
    return [pem, collateral.pckCrlIssuerChain, collateral.tcbInfoIssuerChain, collateral.qeIdentityIssuerChain]
  })
  const distinct = (list: readonly Uint8Array[]): Uint8Array[] => [...new Map(list.map((der) => [toHex(der), der])).values()]
  return {
    certificates: distinct([intelSgxRootCa, ...[...new Set(texts)].flatMap(parsePem)]),
    lists: distinct(sets.flatMap(({ collateral }) => [collateral.rootCaCrl, collateral.pckCrl])),
  }
}

const { certificates, lists } = await collect()
const bytes = (value: ArrayBuffer): Uint8Array => new Uint8Array(value)
const commonName = (name: AsnName): string | undefined =>
  name
    .flatMap((rdn) => [...rdn])
    .find(({ type }) => type === '2.5.4.3')
    ?.value.toString()
const plain = (list: readonly AsnExtension[]): unknown =>
  list.map(({ extnID, critical, extnValue }) => ({ id: extnID, critical, value: bytes(extnValue.buffer as ArrayBuffer) }))

function rawSignature(value: ArrayBuffer): Uint8Array {
  const outer = bytes(value)
  const rLength = outer[3] as number
  const r = outer.subarray(4, 4 + rLength)
  const s = outer.subarray(6 + rLength)
  const fixed = (part: Uint8Array): number[] => [...new Uint8Array(32), ...part].slice(-32)
  return Uint8Array.from([...fixed(r), ...fixed(s)])
}

describe(`our reading of certificates is another library's${vectorsNote.replace('skipped', 'simulated ones only')}`, () => {
  it.each(certificates.map((der) => [toHex(der).slice(60, 76), der] as const))('certificate …%s…', (_, der) => {
    const ours: Certificate = parseCertificate(der)
    const asn = AsnConvert.parse(der, AsnCertificate)
    const theirs = asn.tbsCertificate
    expect(theirs.version).toBe(2)
    expect(ours.serial).toEqual(bytes(theirs.serialNumber))
    expect(ours.tbs).toEqual(bytes(AsnConvert.serialize(theirs)))
    expect(ours.issuer.der).toEqual(bytes(AsnConvert.serialize(theirs.issuer)))
    expect(ours.subject.der).toEqual(bytes(AsnConvert.serialize(theirs.subject)))
    expect(ours.issuer.commonName).toBe(commonName(theirs.issuer))
    expect(ours.subject.commonName).toBe(commonName(theirs.subject))
    expect(ours.notBefore).toEqual(theirs.validity.notBefore.getTime())
    expect(ours.notAfter).toEqual(theirs.validity.notAfter.getTime())
    expect(ours.spki).toEqual(bytes(AsnConvert.serialize(theirs.subjectPublicKeyInfo)))
    expect(ours.publicKey).toEqual(bytes(theirs.subjectPublicKeyInfo.subjectPublicKey).subarray(1))
    expect(ours.extensions).toEqual(plain(theirs.extensions ?? []))
    expect(ours.signature).toEqual(rawSignature(asn.signatureValue))
    const find = (id: string): AsnExtension | undefined => theirs.extensions?.find(({ extnID }) => extnID === id)
    const constraints = AsnConvert.parse(find(id_ce_basicConstraints)?.extnValue.buffer as ArrayBuffer, BasicConstraints)
    expect(ours.basicConstraints).toEqual({ ca: constraints.cA, pathLength: constraints.pathLenConstraint ?? null })
    expect(ours.keyUsage).toBe(AsnConvert.parse(find(id_ce_keyUsage)?.extnValue.buffer as ArrayBuffer, KeyUsage).toNumber())
    const node = new X509Certificate(der)
    expect(toHex(ours.serial).replace(/^00/, '')).toBe(node.serialNumber.toLowerCase())
    expect(ours.notAfter).toEqual(new Date(node.validTo))
  })

  it.each(lists.map((der) => [toHex(der).slice(-16), der] as const))('revocation list …%s', (_, der) => {
    const ours: Crl = parseCrl(der)
    const asn = AsnConvert.parse(der, CertificateList)
    const theirs = asn.tbsCertList
    expect(theirs.version).toBe(1)
    expect(ours.issuer.der).toEqual(bytes(AsnConvert.serialize(theirs.issuer)))
    expect(ours.thisUpdate).toEqual(theirs.thisUpdate.getTime())
    expect(ours.nextUpdate).toEqual(theirs.nextUpdate?.getTime())
    expect(ours.revoked.all()).toEqual((theirs.revokedCertificates ?? []).map(({ userCertificate }) => bytes(userCertificate)))
    expect(ours.extensions).toEqual(plain(theirs.crlExtensions ?? []))
    expect(ours.signature).toEqual(rawSignature(asn.signature))
    const keyId = ours.extensions.find(({ id }) => id === '2.5.29.35')?.value
    expect(AsnConvert.parse(keyId ?? new Uint8Array(), AuthorityKeyIdentifier).keyIdentifier).toBeDefined()
    // The authority by its key identifier, found without our chain code: its key signed the list.
    const issuer = certificates
      .map(parseCertificate)
      .find((candidate) => candidate.subject.commonName === ours.issuer.commonName && signs(candidate, ours))
    expect(issuer?.basicConstraints?.ca).toBe(true)
  })

  it('the lists and certificates are many', () => {
    expect(certificates.length).toBeGreaterThan(vectorsNote === '' ? 20 : 3)
    expect(lists.length).toBeGreaterThan(vectorsNote === '' ? 10 : 1)
    expect([...certificates].sort(compare).length).toBe(certificates.length)
  })
})

function signs(issuer: Certificate, crl: Crl): boolean {
  const key = createPublicKey({ key: Buffer.from(issuer.spki), format: 'der', type: 'spki' })
  return verify('sha256', crl.tbs, { key, dsaEncoding: 'ieee-p1363' }, crl.signature)
}

import { createHash, createPrivateKey, generateKeyPairSync, sign as nodeSign, X509Certificate } from 'node:crypto'
import { connect, createServer } from 'node:tls'
import { AsnConvert } from '@peculiar/asn1-schema'
import { Certificate, CertificateList, id_ce_cRLNumber, id_ce_extKeyUsage, id_ce_subjectAltName, SubjectAlternativeName } from '@peculiar/asn1-x509'
import { describe, expect, it } from 'vitest'
import {
  basicConstraints,
  type CertificateFields,
  certificatePem,
  crlNumber,
  issueCertificate,
  issueCrl,
  issueSelfSignedTls,
  keyUsage,
  type Name,
  randomSerial,
} from '../../src/attestation/pki/issue.ts'
import { fromHex, toHex } from '../../src/bytes/index.ts'

const { privateKey, publicKey: publicKeyObject } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const spki = publicKeyObject.export({ format: 'der', type: 'spki' })
const publicKey = new Uint8Array(spki.subarray(spki.length - 64))
const sign = (message: Uint8Array): Uint8Array => new Uint8Array(nodeSign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' }))
const name: Name = [
  ['CN', 'A test'],
  ['O', 'Prüfstand'],
  ['C', 'DE'],
]
const fields: CertificateFields = {
  serial: fromHex('00c0ffee'),
  issuer: name,
  subject: name,
  notBefore: new Date('2026-01-02T03:04:05Z'),
  notAfter: new Date('2056-01-02T03:04:05Z'),
  publicKey,
  extensions: [basicConstraints(0), keyUsage('keyCertSign', 'cRLSign')],
}

describe('issuing certificates', () => {
  it('node:crypto reads and verifies them', async () => {
    const certificate = new X509Certificate(await issueCertificate(fields, sign))
    expect(certificate.verify(publicKeyObject)).toBe(true)
    expect(certificate.ca).toBe(true)
    expect(certificate.serialNumber).toBe('C0FFEE')
    expect(certificate.subject).toBe('CN=A test\nO=Prüfstand\nC=DE')
    expect(certificate.validFromDate).toEqual(fields.notBefore)
    expect(certificate.validToDate).toEqual(fields.notAfter)
    expect(certificate.publicKey.export({ format: 'der', type: 'spki' })).toEqual(spki)
  })

  it('@peculiar/asn1-x509 reads them and writes the same bytes', async () => {
    const written = await issueCertificate(fields, sign)
    const parsed = AsnConvert.parse(written, Certificate)
    expect(parsed.tbsCertificate.extensions?.map(({ critical }) => critical)).toEqual([true, true])
    expect(toHex(new Uint8Array(AsnConvert.serialize(parsed)))).toBe(toHex(written))
  })

  it('many signatures, whatever the leading bits of r and s, stay strict DER', async () => {
    for (let i = 0; i < 40; i++)
      expect(new X509Certificate(await issueCertificate({ ...fields, serial: randomSerial() }, sign)).verify(publicKeyObject)).toBe(true)
  })

  it('says exactly what it is told: no extension appears by itself', async () => {
    const parsed = AsnConvert.parse(await issueCertificate({ ...fields, extensions: [] }, sign), Certificate)
    expect(parsed.tbsCertificate.extensions).toBeUndefined()
  })

  it('PEM has lines of 64 characters and is what node:crypto writes', async () => {
    const written = await issueCertificate(fields, sign)
    expect(certificatePem(written)).toBe(new X509Certificate(written).toString())
    expect(certificatePem(new Uint8Array(0))).toBe('-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----\n')
  })

  it('refuses a key, serial or signature of the wrong length', async () => {
    await expect(async () => issueCertificate({ ...fields, publicKey: publicKey.subarray(1) }, sign)).rejects.toThrow(TypeError)
    await expect(async () => issueCertificate({ ...fields, serial: new Uint8Array(21) }, sign)).rejects.toThrow(TypeError)
    await expect(async () => issueCertificate({ ...fields, serial: new Uint8Array(0) }, sign)).rejects.toThrow(TypeError)
    await expect(issueCertificate(fields, (message) => sign(message).subarray(1))).rejects.toThrow(TypeError)
  })
})

describe('issuing revocation lists', () => {
  const window = { thisUpdate: new Date('2026-01-01T00:00:00Z'), nextUpdate: new Date('2026-02-01T00:00:00Z') }

  it('@peculiar/asn1-x509 reads them and writes the same bytes', async () => {
    const at = new Date('2025-12-31T00:00:00Z')
    const revoked = [
      { serial: fromHex('01'), at },
      { serial: fromHex('ff'.repeat(20)), at },
    ]
    const written = await issueCrl({ issuer: name, ...window, revoked, extensions: [crlNumber(7)] }, sign)
    const parsed = AsnConvert.parse(written, CertificateList)
    expect(parsed.tbsCertList.version).toBe(1)
    expect(parsed.tbsCertList.revokedCertificates?.map(({ userCertificate }) => toHex(new Uint8Array(userCertificate)))).toEqual([
      '01',
      `00${'ff'.repeat(20)}`,
    ])
    expect(parsed.tbsCertList.crlExtensions?.map(({ extnID }) => extnID)).toEqual([id_ce_cRLNumber])
    expect(toHex(new Uint8Array(AsnConvert.serialize(parsed)))).toBe(toHex(written))
  })

  it('leaves the list of entries out when nothing is revoked', async () => {
    const parsed = AsnConvert.parse(await issueCrl({ issuer: name, ...window, revoked: [], extensions: [] }, sign), CertificateList)
    expect(parsed.tbsCertList.revokedCertificates).toBeUndefined()
    expect(parsed.tbsCertList.crlExtensions).toBeUndefined()
  })
})

describe('self-signed TLS server certificates', () => {
  const notBefore = new Date(Date.now() - 60_000)
  const notAfter = new Date(Date.now() + 86_400_000)
  const base = { publicKey, sign, notBefore, notAfter }

  it('carry names, addresses, serverAuth, and the SPKI hash that a keyset lists', async () => {
    const ipv6 = fromHex('00000000000000000000000000000001')
    const { certificate, spkiSha256 } = await issueSelfSignedTls({
      ...base,
      dnsNames: ['worker.example', '*.example.org'],
      ipAddresses: ['127.0.0.1', ipv6],
    })
    const read = new X509Certificate(certificate)
    expect(read.subjectAltName).toBe('DNS:worker.example, DNS:*.example.org, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1')
    expect(read.verify(publicKeyObject)).toBe(true)
    expect(read.ca).toBe(false)
    expect(spkiSha256).toBe(createHash('sha256').update(spki).digest('hex'))
    const oids = AsnConvert.parse(certificate, Certificate).tbsCertificate.extensions?.map(({ extnID }) => extnID)
    expect(oids).toContain(id_ce_extKeyUsage)
    const names = AsnConvert.parse(certificate, Certificate).tbsCertificate.extensions?.find(({ extnID }) => extnID === id_ce_subjectAltName)
    expect(AsnConvert.parse(names?.extnValue.buffer ?? new ArrayBuffer(0), SubjectAlternativeName).length).toBe(4)
  })

  it('serve TLS 1.3 to a client that trusts exactly this certificate', async () => {
    const { certificate } = await issueSelfSignedTls({ ...base, dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] })
    const pem = certificatePem(certificate)
    const key = createPrivateKey({ key: privateKey.export({ format: 'der', type: 'pkcs8' }), format: 'der', type: 'pkcs8' })
    const server = createServer({ cert: pem, key: key.export({ format: 'pem', type: 'pkcs8' }), minVersion: 'TLSv1.3' }, (socket) => socket.end())
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    try {
      const address = server.address()
      if (address === null || typeof address === 'string') throw new Error('no port')
      const authorized = await new Promise<boolean>((resolve, reject) => {
        const socket = connect({ port: address.port, host: '127.0.0.1', ca: pem, servername: 'localhost' }, () => {
          resolve(socket.authorized)
          socket.end()
        })
        socket.on('error', reject)
      })
      expect(authorized).toBe(true)
    } finally {
      server.close()
    }
  })

  it('refuse no names, bad names and bad addresses', async () => {
    for (const wrong of [
      { dnsNames: [], ipAddresses: [] },
      { dnsNames: [''], ipAddresses: [] },
      { dnsNames: ['a b'], ipAddresses: [] },
      { dnsNames: ['-a.example'], ipAddresses: [] },
      { dnsNames: [`${'a.'.repeat(127)}example`], ipAddresses: [] },
      { dnsNames: ['evil\0.example'], ipAddresses: [] },
      { dnsNames: [], ipAddresses: ['256.0.0.1'] },
      { dnsNames: [], ipAddresses: ['1.2.3'] },
      { dnsNames: [], ipAddresses: ['::1'] },
      { dnsNames: [], ipAddresses: [new Uint8Array(5)] },
    ])
      await expect(issueSelfSignedTls({ ...base, ...wrong }), JSON.stringify(wrong)).rejects.toThrow(TypeError)
  })
})

import { createHash, verify, X509Certificate } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { AsnConvert } from '@peculiar/asn1-schema'
import { Certificate, CertificateList } from '@peculiar/asn1-x509'
import { describe, expect, it } from 'vitest'
import {
  createSimPlatform,
  createSimVendor,
  type SimEnclave,
  type SimPlatform,
  sgxExtension,
  sgxExtensionOid,
} from '../../src/attestation/sim/index.ts'
import { toHex, utf8 } from '../../src/bytes/index.ts'

const at = new Date('2026-05-06T07:08:09.500Z')
const enclave: SimEnclave = { mrenclave: 'a1'.repeat(32), mrsigner: 'b2'.repeat(32), isvProdId: 0x1234, isvSvn: 0x5678 }
const reportData = Uint8Array.from({ length: 64 }, (_, index) => 255 - index)

function pemCertificates(text: string): X509Certificate[] {
  return (text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/g) ?? []).map((pem) => new X509Certificate(pem))
}

/** A second, independent reading of the layout of attestation.md 1.1, for SGX quotes of version 3. */
function layout(quote: Uint8Array) {
  const view = new DataView(quote.buffer, quote.byteOffset, quote.length)
  const authLength = view.getUint32(432, true)
  const qeAuthLength = view.getUint16(1012, true)
  const certAt = 1014 + qeAuthLength
  return {
    version: view.getUint16(0, true),
    keyType: view.getUint16(2, true),
    tee: view.getUint32(4, true),
    qeSvn: view.getUint16(8, true),
    pceSvn: view.getUint16(10, true),
    vendor: toHex(quote.subarray(12, 28)),
    signed: quote.subarray(0, 432),
    report: quote.subarray(48, 432),
    end: 436 + authLength,
    signature: quote.subarray(436, 500),
    attestationKey: quote.subarray(500, 564),
    qeReport: quote.subarray(564, 948),
    qeReportSignature: quote.subarray(948, 1012),
    qeAuth: quote.subarray(1014, certAt),
    certType: view.getUint16(certAt, true),
    certLength: view.getUint32(certAt + 2, true),
    cert: quote.subarray(certAt + 6),
  }
}

function rawKey(certificate: X509Certificate | undefined): Uint8Array {
  return new Uint8Array(certificate?.publicKey.export({ format: 'der', type: 'spki' }).subarray(-64) ?? [])
}

function verifyRaw(point: Uint8Array, signature: Uint8Array, message: Uint8Array): boolean {
  const key = {
    kty: 'EC',
    crv: 'P-256',
    x: Buffer.from(point.subarray(0, 32)).toString('base64url'),
    y: Buffer.from(point.subarray(32)).toString('base64url'),
  }
  return verify('sha256', message, { key, format: 'jwk', dsaEncoding: 'ieee-p1363' }, signature)
}

async function quoted(platform: SimPlatform): Promise<ReturnType<typeof layout>> {
  return layout(await platform.quote(enclave, reportData))
}

describe('quotes of the simulated platform', async () => {
  const platform = await createSimPlatform({ at })
  const quote = await platform.quote(enclave, reportData)
  const parts = layout(quote)

  it('have the layout of version 3 with nothing after it', () => {
    expect(parts).toMatchObject({ version: 3, keyType: 2, tee: 0, qeSvn: 10, pceSvn: 16, vendor: '939a7233f79c4ca9940a0db3957f0607', certType: 5 })
    expect(parts.end).toBe(quote.length)
    expect(parts.certLength).toBe(parts.cert.length)
    expect(parts.cert.at(-1)).toBe(0)
    expect(parts.qeAuth.length).toBe(32)
    expect(quote.length).toBeLessThanOrEqual(8192)
  })

  it('P10: report fields stand at their offsets', () => {
    const view = new DataView(parts.report.buffer, parts.report.byteOffset, 384)
    expect(toHex(parts.report.subarray(0, 16))).toBe('0c0c0303ffff01000000000000000000')
    expect(toHex(parts.report.subarray(48, 64))).toBe('0500000000000000e700000000000000')
    expect(toHex(parts.report.subarray(64, 96))).toBe(enclave.mrenclave)
    expect(toHex(parts.report.subarray(128, 160))).toBe(enclave.mrsigner)
    expect(view.getUint16(256, true)).toBe(0x1234)
    expect(view.getUint16(258, true)).toBe(0x5678)
    expect(toHex(parts.report.subarray(320))).toBe(toHex(reportData))
  })

  it('are signed all the way up to the root', () => {
    const chain = pemCertificates(new TextDecoder().decode(parts.cert))
    const [pck, intermediate, root] = chain
    expect(chain.length).toBe(3)
    expect(pck?.checkIssued(intermediate as X509Certificate) && pck.verify((intermediate as X509Certificate).publicKey)).toBe(true)
    expect(intermediate?.checkIssued(root as X509Certificate) && intermediate.verify((root as X509Certificate).publicKey)).toBe(true)
    expect(root?.verify(root.publicKey)).toBe(true)
    expect(root?.raw.equals(platform.root)).toBe(true)
    expect(verifyRaw(rawKey(pck), parts.qeReportSignature, parts.qeReport)).toBe(true)
    expect(verifyRaw(parts.attestationKey, parts.signature, parts.signed)).toBe(true)
    const bound = createHash('sha256').update(parts.attestationKey).update(parts.qeAuth).digest('hex')
    expect(toHex(parts.qeReport.subarray(320))).toBe(bound + '00'.repeat(32))
  })

  it('S15: name the simulator in every certificate, and differ from every other platform in root and keys', async () => {
    const other = await createSimPlatform({ at })
    for (const certificate of pemCertificates(new TextDecoder().decode(parts.cert)))
      expect(certificate.subject).toMatch(/\(SIMULATED\\?, not hardware\)/)
    expect(toHex(other.root)).not.toBe(toHex(platform.root))
    expect(other.ppid).not.toBe(platform.ppid)
    expect(toHex((await quoted(other)).attestationKey)).not.toBe(toHex(parts.attestationKey))
  })

  it('set DEBUG when asked to', async () => {
    const { report } = layout(await platform.quote({ ...enclave, debug: true, attributes: `04${'00'.repeat(15)}` }, reportData))
    expect(report[48]).toBe(0x06)
  })

  it('refuse other lengths of report data and malformed identities', async () => {
    for (const length of [0, 32, 63, 65]) await expect(platform.quote(enclave, new Uint8Array(length))).rejects.toThrow(TypeError)
    for (const wrong of [
      { mrenclave: 'a1'.repeat(31) },
      { mrenclave: 'A1'.repeat(32) },
      { mrsigner: '' },
      { isvProdId: 65536 },
      { isvSvn: -1 },
      { attributes: '05' },
    ])
      await expect(platform.quote({ ...enclave, ...wrong }, reportData), JSON.stringify(wrong)).rejects.toThrow(TypeError)
  })

  it('keep no private key within reach', () => {
    expect(JSON.stringify(platform)).not.toMatch(/"d"|PRIVATE|privateKey|"key"/)
    expect(Object.keys(platform).sort()).toEqual(['collateral', 'fmspc', 'ppid', 'quote', 'refreshCollateral', 'root', 'tdQuote', 'tdxCollateral'])
  })
})

describe('certificates of the simulated platform', () => {
  it('@peculiar/asn1-x509 reads every one and writes the same bytes', async () => {
    for (const ca of ['processor', 'platform'] as const) {
      const platform = await createSimPlatform({ at, ca })
      const chain = pemCertificates(new TextDecoder().decode((await quoted(platform)).cert) + platform.collateral.tcbInfoIssuerChain)
      expect(chain.length).toBe(5)
      for (const { raw } of chain) expect(toHex(new Uint8Array(AsnConvert.serialize(AsnConvert.parse(raw, Certificate))))).toBe(toHex(raw))
      expect(chain[1]?.subject).toContain(ca === 'platform' ? 'Intel SGX PCK Platform CA' : 'Intel SGX PCK Processor CA')
    }
  })

  it('are altered before they are signed, not after', async () => {
    const vendor = await createSimVendor(at, { tcbSigning: (profile) => ({ ...profile, extensions: [] }) })
    const read = AsnConvert.parse(vendor.tcbSigning.certificate, Certificate)
    expect(read.tbsCertificate.extensions?.length).toBe(2)
    expect(new X509Certificate(vendor.tcbSigning.certificate).verify(new X509Certificate(vendor.root.certificate).publicKey)).toBe(true)
  })

  it('refuse malformed options', async () => {
    for (const wrong of [
      { fmspc: '00' },
      { ppid: 'AA'.repeat(16) },
      { pceId: '0' },
      { cpuSvn: [1, 2] },
      { cpuSvn: new Array(16).fill(256) },
      { pceSvn: -1 },
    ])
      await expect(createSimPlatform({ at, ...wrong }), JSON.stringify(wrong)).rejects.toThrow(TypeError)
  })
})

describe('collateral of the simulated platform', () => {
  it('is signed by the TCB signer over its exact text, and starts at a whole second', async () => {
    const { collateral } = await createSimPlatform({ at, validDays: 3 })
    const [signer] = pemCertificates(collateral.tcbInfoIssuerChain)
    expect(signer?.subject).toContain('CN=Intel SGX TCB Signing')
    expect(verifyRaw(rawKey(signer), collateral.tcbInfoSignature, utf8(collateral.tcbInfo))).toBe(true)
    expect(verifyRaw(rawKey(signer), collateral.qeIdentitySignature, utf8(collateral.qeIdentity))).toBe(true)
    expect(JSON.parse(collateral.tcbInfo)).toMatchObject({
      issueDate: '2026-05-06T07:08:09Z',
      nextUpdate: '2026-05-09T07:08:09Z',
      id: 'SGX',
      version: 3,
    })
    expect(JSON.parse(collateral.qeIdentity)).toMatchObject({
      issueDate: '2026-05-06T07:08:09Z',
      nextUpdate: '2026-05-09T07:08:09Z',
      id: 'QE',
      version: 2,
    })
  })

  it('is issued again from another moment, with changes that stay', async () => {
    const platform = await createSimPlatform({ at })
    const before = platform.collateral
    const later = new Date('2026-07-01T00:00:00Z')
    const after = await platform.refreshCollateral(later, { evaluationDataNumber: 21, revoked: ['pck', 'intermediate', 'tcbSigning'] })
    expect(platform.collateral).toBe(after)
    expect(JSON.parse(after.tcbInfo)).toMatchObject({ issueDate: '2026-07-01T00:00:00Z', tcbEvaluationDataNumber: 21 })
    expect(revocations(before.pckCrl)).toBe(0)
    expect(revocations(after.pckCrl)).toBe(1)
    expect(revocations(after.rootCaCrl)).toBe(2)
    const again = await platform.refreshCollateral(later)
    expect(revocations(again.rootCaCrl)).toBe(2)
    expect(JSON.parse(again.tcbInfo).tcbEvaluationDataNumber).toBe(21)
  })

  it('platforms of one vendor share the root and nothing else', async () => {
    const vendor = await createSimVendor(at)
    const [one, two] = [await createSimPlatform({ at, vendor }), await createSimPlatform({ at, vendor })]
    expect(toHex(one.root)).toBe(toHex(two.root))
    expect(one.ppid).not.toBe(two.ppid)
    expect(toHex((await quoted(one)).attestationKey)).not.toBe(toHex((await quoted(two)).attestationKey))
  })
})

function revocations(crl: Uint8Array): number {
  return AsnConvert.parse(crl, CertificateList).tbsCertList.revokedCertificates?.length ?? 0
}

const vectors = new URL('../../../../../shared/vectors/sgx/', import.meta.url)
const present = existsSync(vectors)

describe.skipIf(!present)(`the SGX extension, against real certificates${present ? '' : ' (skipped: ../shared/vectors is absent)'}`, () => {
  const cases = present
    ? readdirSync(vectors).map((folder) => ({ folder, meta: JSON.parse(readFileSync(new URL(`${folder}/meta.json`, vectors), 'utf8')) }))
    : []

  it.each(cases.filter(({ meta }) => meta.parsed.pck !== undefined))('has the very bytes of $folder', ({ folder, meta }) => {
    const quote = readFileSync(new URL(`${folder}/quote.bin`, vectors))
    const [pck] = pemCertificates(quote.subarray(quote.indexOf('-----BEGIN')).toString('latin1'))
    const extensions = AsnConvert.parse(pck?.raw ?? Buffer.alloc(0), Certificate).tbsCertificate.extensions
    const real = new Uint8Array(extensions?.find(({ extnID }) => extnID === sgxExtensionOid)?.extnValue.buffer ?? new ArrayBuffer(0))
    // OID of the platform instance id, then an OCTET STRING of 16 bytes; the configuration ends the extension with three booleans.
    const instanceAt = toHex(real).indexOf('060a2a864886f84d010d01060410') / 2
    const boolean = (fromEnd: number): boolean => real.at(-fromEnd) === 0xff
    const { ppid, comp, pcesvn, pceid, fmspc } = meta.parsed.pck
    const platform =
      meta.parsed.pckCa === 'platform'
        ? {
            instanceId: toHex(real.subarray(instanceAt + 14, instanceAt + 30)),
            dynamicPlatform: boolean(37),
            cachedKeys: boolean(19),
            smtEnabled: boolean(1),
          }
        : null
    expect(toHex(sgxExtension({ ppid, components: comp, pceSvn: pcesvn, pceId: pceid, fmspc, platform }).value)).toBe(toHex(real))
  })
})

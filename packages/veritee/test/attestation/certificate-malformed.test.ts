import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { intelSgxRootCa, parseCertificate, parsePem, parseSgxExtension } from '../../src/attestation/index.ts'
import { basicConstraints, type Extension, issueCertificate, issueSelfSignedTls, keyUsage } from '../../src/attestation/pki/issue.ts'
import { sgxExtension } from '../../src/attestation/sim/index.ts'
import {
  der,
  derBitString,
  derBoolean,
  derContext,
  derInteger,
  derNull,
  derOctetString,
  derOid,
  derSequence,
  derSetOf,
  derUtf8String,
} from '../../src/bytes/der-writer.ts'
import { concat, fromHex, toHex, utf8 } from '../../src/bytes/index.ts'
import { components } from './synthetic.ts'
import { codeOf, flipped } from './vectors.ts'

const code = 'certificate_malformed'
const codeFor = (bytes: Uint8Array): string => codeOf(() => parseCertificate(bytes))

/** The parts of a certificate, to write one with a part replaced. */
const ecdsa = derSequence(derOid('1.2.840.10045.4.3.2'))
const name = (...values: readonly Uint8Array[]): Uint8Array => derSequence(...values.map((value) => derSetOf(derSequence(derOid('2.5.4.3'), value))))
const good = {
  version: derContext(0, derInteger(2)),
  serial: derInteger(5),
  inner: ecdsa,
  issuer: name(derUtf8String('Issuer')),
  validity: derSequence(der(0x17, utf8('250101000000Z')), der(0x17, utf8('350101000000Z'))),
  subject: name(derUtf8String('Subject')),
  spki: derSequence(
    derSequence(derOid('1.2.840.10045.2.1'), derOid('1.2.840.10045.3.1.7')),
    derBitString(concat(Uint8Array.of(4), new Uint8Array(64).fill(1))),
  ),
  extensions: derContext(3, derSequence(derSequence(derOid('2.5.29.19'), derBoolean(true), derOctetString(derSequence())))),
  outer: ecdsa,
  signature: derBitString(derSequence(derInteger(7), derInteger(8))),
  tail: new Uint8Array(),
}
function certificate(change: Partial<typeof good> = {}): Uint8Array {
  const parts = { ...good, ...change }
  const tbs = derSequence(parts.version, parts.serial, parts.inner, parts.issuer, parts.validity, parts.subject, parts.spki, parts.extensions)
  return concat(derSequence(tbs, parts.outer, parts.signature), parts.tail)
}
const extension = (id: string, value: Uint8Array, ...critical: readonly Uint8Array[]): Uint8Array =>
  derSequence(derOid(id), ...critical, derOctetString(value))
const extensions = (...list: readonly Uint8Array[]): Partial<typeof good> => ({ extensions: derContext(3, derSequence(...list)) })
const constraints = '2.5.29.19'
const usage = '2.5.29.15'

describe('parseCertificate', () => {
  it('reads the pattern the cases below change', () => {
    const parsed = parseCertificate(certificate())
    expect(parsed.subject.commonName).toBe('Subject')
    expect(parsed.issuer.der).toEqual(good.issuer)
    expect(parsed.serial).toEqual(Uint8Array.of(5))
    expect(parsed.publicKey).toEqual(new Uint8Array(64).fill(1))
    expect(parsed.basicConstraints).toEqual({ ca: false, pathLength: null })
    expect(parsed.keyUsage).toBeNull()
    expect(parsed.signature?.[31]).toBe(7)
    expect(parsed.spki).toEqual(good.spki)
  })

  it.each([
    ['version 1', { version: derContext(0, derInteger(0)) }],
    ['version 2', { version: derContext(0, derInteger(1)) }],
    ['no version', { version: new Uint8Array() }],
    ['a second version', { version: derContext(0, derInteger(2), derInteger(2)) }],
    ['a negative serial', { serial: der(2, Uint8Array.of(0x80)) }],
    ['an empty serial', { serial: der(2) }],
    ['a serial of 22 octets', { serial: derInteger(new Uint8Array(22).fill(1)) }],
    ['a serial that is not minimal', { serial: der(2, Uint8Array.of(0, 1)) }],
    ['another algorithm inside', { inner: derSequence(derOid('1.2.840.10045.4.3.3')) }],
    [
      'parameters with ecdsa-with-SHA256',
      { inner: derSequence(derOid('1.2.840.10045.4.3.2'), derNull()), outer: derSequence(derOid('1.2.840.10045.4.3.2'), derNull()) },
    ],
    ['P26: invalid UTF-8 in a name', { issuer: name(der(0x0c, Uint8Array.of(0xc3, 0x28))) }],
    ['P26: a character PrintableString lacks', { subject: name(der(0x13, utf8('a*b'))) }],
    ['a TeletexString in a name', { subject: name(der(0x14, utf8('T'))) }],
    ['two common names', { subject: name(derUtf8String('A'), derUtf8String('B')) }],
    ['an empty attribute set', { subject: derSequence(der(0x31)) }],
    [
      'more than 32 attributes',
      { subject: derSequence(...Array.from({ length: 33 }, () => derSetOf(derSequence(derOid('2.5.4.10'), derUtf8String('O'))))) },
    ],
    ['a third date', { validity: derSequence(der(0x17, utf8('250101000000Z')), der(0x17, utf8('350101000000Z')), derNull()) }],
    ['a date that does not exist', { validity: derSequence(der(0x17, utf8('250230000000Z')), der(0x17, utf8('350101000000Z'))) }],
    [
      'a compressed point',
      { spki: derSequence(derSequence(derOid('1.2.840.10045.2.1'), derOid('1.2.840.10045.3.1.7')), derBitString(new Uint8Array(33).fill(2))) },
    ],
    [
      'a short point',
      { spki: derSequence(derSequence(derOid('1.2.840.10045.2.1'), derOid('1.2.840.10045.3.1.7')), derBitString(new Uint8Array(64).fill(4))) },
    ],
    ['no extensions', { extensions: new Uint8Array() }],
    ['an empty extension list', { extensions: derContext(3, derSequence()) }],
    ['unique identifiers', { extensions: concat(der(0x81, Uint8Array.of(0, 1)), good.extensions) }],
    ['an extension twice', extensions(extension('2.5.29.14', derNull()), extension('2.5.29.14', derNull()))],
    ['an encoded DEFAULT FALSE', extensions(extension('2.5.29.14', derNull(), derBoolean(false)))],
    ['33 extensions', extensions(...Array.from({ length: 33 }, (_, i) => extension(`1.2.3.${i}`, derNull())))],
    ['basicConstraints with an encoded FALSE', extensions(extension(constraints, derSequence(derBoolean(false))))],
    ['basicConstraints with a path length but no CA', extensions(extension(constraints, derSequence(derInteger(0))))],
    ['basicConstraints with a negative path length', extensions(extension(constraints, derSequence(derBoolean(true), der(2, Uint8Array.of(0xff)))))],
    ['bytes after basicConstraints', extensions(extension(constraints, concat(derSequence(), derNull())))],
    ['keyUsage without bits', extensions(extension(usage, der(3, Uint8Array.of(0))))],
    ['keyUsage with trailing zero bits', extensions(extension(usage, der(3, Uint8Array.of(0, 0x80))))],
    ['a signature value with trailing bytes', { signature: derBitString(concat(derSequence(derInteger(7), derInteger(8)), derNull())) }],
    ['a signature value of three integers', { signature: derBitString(derSequence(derInteger(7), derInteger(8), derInteger(9))) }],
    ['a negative r', { signature: derBitString(derSequence(der(2, Uint8Array.of(0x80)), derInteger(8))) }],
    ['an r of 33 bytes', { signature: derBitString(derSequence(derInteger(new Uint8Array(33).fill(1)), derInteger(8))) }],
    ['a signature with unused bits', { signature: der(3, Uint8Array.of(1), derSequence(derInteger(7), derInteger(8))) }],
    ['bytes after the certificate', { tail: Uint8Array.of(0) }],
  ] as readonly (readonly [string, Partial<typeof good>])[])('refuses %s', (_, change) => {
    expect(codeFor(certificate(change))).toBe(code)
  })

  it('refuses every truncation of a real certificate', () => {
    for (let length = 0; length < intelSgxRootCa.length; length++) expect(codeFor(intelSgxRootCa.subarray(0, length)), `${length}`).toBe(code)
  })

  it('refuses more than 32 KiB', () => {
    expect(codeFor(certificate(extensions(extension('1.2.3.4', new Uint8Array(32_768)))))).toBe(code)
  })

  it('reads any change of one byte of a real certificate or refuses it with a code', () => {
    const found = new Set<string>()
    for (let at = 0; at < intelSgxRootCa.length; at++) for (const mask of [1, 0x20, 0x80, 0xff]) found.add(codeFor(flipped(intelSgxRootCa, at, mask)))
    expect([...found].sort()).toEqual(['accepted', code])
  })

  it('leaves keys and signatures of other kinds null, so that their SPKI can be read', async () => {
    const spki = new Uint8Array(generateKeyPairSync('ed25519').publicKey.export({ format: 'der', type: 'spki' }))
    const algorithm = derSequence(derOid('1.3.101.112'))
    const parsed = parseCertificate(certificate({ spki, inner: algorithm, outer: algorithm, signature: derBitString(new Uint8Array(64)) }))
    expect([parsed.publicKey, parsed.signature, toHex(parsed.spki)]).toEqual([null, null, toHex(spki)])
  })

  it('reads the TLS certificates this library issues', async () => {
    const key = new Uint8Array(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'der', type: 'spki' }))
    const dates = { notBefore: new Date('2026-01-01T00:00:00Z'), notAfter: new Date('2060-01-01T00:00:00Z') }
    const fields = {
      publicKey: key.subarray(-64),
      sign: () => new Uint8Array(64).fill(1),
      dnsNames: ['localhost'],
      ipAddresses: ['127.0.0.1'],
      ...dates,
    }
    const { certificate: tls } = await issueSelfSignedTls(fields)
    expect(parseCertificate(tls)).toMatchObject({ ...dates, spki: key, publicKey: key.subarray(-64) })
  })

  it('is a copy: writing into the input changes nothing', () => {
    const input = new Uint8Array(intelSgxRootCa)
    const parsed = parseCertificate(input)
    input.fill(0)
    expect(parsed).toEqual(parseCertificate(intelSgxRootCa))
  })
})

describe('parseSgxExtension', () => {
  const oid = '1.2.840.113741.1.13.1'
  const fields = { ppid: '01'.repeat(16), components, pceSvn: 13, pceId: '0000', fmspc: '00906ed50000' }
  const platform = { instanceId: '02'.repeat(16), dynamicPlatform: true, cachedKeys: false, smtEnabled: true }
  const issue = async (...list: readonly Extension[]): Promise<ReturnType<typeof parseCertificate>> => {
    const dates = { notBefore: new Date('2026-01-01T00:00:00Z'), notAfter: new Date('2027-01-01T00:00:00Z') }
    const names = { issuer: [['CN', 'x']], subject: [['CN', 'y']] } as const
    const publicKey = new Uint8Array(64).fill(1)
    return parseCertificate(
      await issueCertificate({ serial: Uint8Array.of(1), ...names, ...dates, publicKey, extensions: [keyUsage('digitalSignature'), ...list] }, () =>
        new Uint8Array(64).fill(1),
      ),
    )
  }
  const codeOfValue = async (value: Uint8Array): Promise<string> => {
    const parsed = await issue({ oid, critical: false, value })
    return codeOf(() => parseSgxExtension(parsed))
  }
  const item = (arc: string, value: Uint8Array): Uint8Array => derSequence(derOid(`${oid}.${arc}`), value)
  const tcb = (change: Readonly<Record<number, Uint8Array>> = {}, drop = 0): Uint8Array => {
    const values = [...components.map((svn) => derInteger(svn)), derInteger(13), derOctetString(new Uint8Array(16))]
    return derSequence(...values.map((value, i) => item(`2.${i + 1}`, change[i + 1] ?? value)).filter((_, i) => i + 1 !== drop))
  }
  const members: Readonly<Record<number, Uint8Array>> = {
    1: derOctetString(new Uint8Array(16)),
    2: tcb(),
    3: derOctetString(new Uint8Array(2)),
    4: derOctetString(new Uint8Array(6)),
    5: der(0x0a, Uint8Array.of(1)),
  }
  const written = (change: Readonly<Record<number, Uint8Array | null>> = {}, ...more: readonly Uint8Array[]): Uint8Array =>
    derSequence(...Object.entries({ ...members, ...change }).flatMap(([arc, value]) => (value === null ? [] : [item(arc, value)])), ...more)

  it('reads both authorities’ forms', async () => {
    expect(parseSgxExtension(await issue(sgxExtension({ ...fields, platform })))).toEqual({
      ppid: fields.ppid,
      fmspc: fields.fmspc,
      pceId: '0000',
      pceSvn: 13,
      cpuSvn: toHex(Uint8Array.from(components)),
      tcbComponents: Uint8Array.from(components),
      platformInstanceId: '02'.repeat(16),
      dynamicPlatform: true,
      cachedKeys: false,
      smtEnabled: true,
    })
    const processor = parseSgxExtension(await issue(sgxExtension({ ...fields, platform: null })))
    expect(processor).toMatchObject({ platformInstanceId: null, dynamicPlatform: null, cachedKeys: null, smtEnabled: null })
    expect(await codeOfValue(written())).toBe('accepted')
  })

  it.each([
    ['no PPID', written({ 1: null })],
    ['no TCB', written({ 2: null })],
    ['no PCE id', written({ 3: null })],
    ['no FMSPC', written({ 4: null })],
    ['no SGX type', written({ 5: null })],
    ['a PPID of 15 bytes', written({ 1: derOctetString(new Uint8Array(15)) })],
    ['an FMSPC of 7 bytes', written({ 4: derOctetString(new Uint8Array(7)) })],
    ['an SGX type of 3', written({ 5: der(0x0a, Uint8Array.of(3)) })],
    ['an unknown field', written({}, item('8', derNull()))],
    ['a field of another arc', written({}, derSequence(derOid('1.2.3.4'), derNull()))],
    ['a field twice', written({}, item('4', derOctetString(new Uint8Array(6))))],
    ['a TCB without component 7', written({ 2: tcb({}, 7) })],
    ['a TCB without PCESVN', written({ 2: tcb({}, 17) })],
    ['P25: a component of 256', written({ 2: tcb({ 3: derInteger(256) }) })],
    ['P25: a negative component', written({ 2: tcb({ 3: der(2, Uint8Array.of(0xff)) }) })],
    ['a PCESVN of 65536', written({ 2: tcb({ 17: derInteger(65_536) }) })],
    ['a CPUSVN of 15 bytes', written({ 2: tcb({ 18: derOctetString(new Uint8Array(15)) }) })],
    ['a flag that is not boolean', written({ 7: derSequence(item('7.1', derInteger(1))) })],
    ['bytes after the extension', concat(written(), derNull())],
    ['nothing', new Uint8Array()],
  ])('refuses %s', async (_, value) => {
    expect(await codeOfValue(value)).toBe(code)
  })

  it('refuses a certificate without the extension', async () => {
    const parsed = await issue(basicConstraints(null))
    expect(codeOf(() => parseSgxExtension(parsed))).toBe(code)
  })
})

describe('parsePem', () => {
  const block = (body: string, end = '\n'): string => `-----BEGIN CERTIFICATE-----${end}${body}${end}-----END CERTIFICATE-----${end}`
  const one = block('AAEC')

  it('reads one or more certificates, with either line end, of any line length', () => {
    expect(parsePem(one)).toEqual([fromHex('000102')])
    expect(parsePem(one + one).length).toBe(2)
    expect(parsePem(`\n${one}\r\n\n${one.trimEnd()}`).length).toBe(2)
    expect(parsePem(block('AA\nEC'))).toEqual([fromHex('000102')])
    expect(parsePem(block('AAEC', '\r\n'))).toEqual([fromHex('000102')])
  })

  it.each([
    ['nothing', ''],
    ['line ends only', '\n\n'],
    ['no markers', 'AAEC'],
    ['another label', one.replaceAll('CERTIFICATE', 'X509 CRL')],
    ['text before', `x${one}`],
    ['text between', `${one}x\n${one}`],
    ['text after', `${one}x`],
    ['a space after', `${one} `],
    ['NUL after', `${one}\0`],
    ['no end', one.slice(0, -5)],
    ['a header', block('A: b\n\nAAEC')],
    ['base64url', block('AA_-')],
    ['bad padding', block('AAE')],
    ['trailing bits', block('AAB=')],
    ['a lone carriage return', block('AA\rEC')],
    ['a body on the line of the marker', one.replace('-----\nAAEC', '-----AAEC')],
    ['blocks on one line', one.trimEnd() + one],
    ['P18: percent encoding', encodeURIComponent(one)],
    ['17 certificates', one.repeat(17)],
    ['more than 64 KiB', block('A'.repeat(65_536))],
  ])('refuses %s', (_, text) => {
    expect(codeOf(() => parsePem(text))).toBe('malformed_encoding')
  })
})

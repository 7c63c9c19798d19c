import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Slab } from '../../src/attestation/cache/slab.ts'
import { parseQuote } from '../../src/attestation/index.ts'
import { decodeFirstBlock, parsePem } from '../../src/attestation/pki/pem.ts'
import { CertificatePool, PoolShelves } from '../../src/attestation/pki/pool.ts'
import { createSimPlatform, createSimVendor, type SimPlatform } from '../../src/attestation/sim/index.ts'
import { concat, fromUtf8, utf8 } from '../../src/bytes/bytes.ts'
import { toHex } from '../../src/bytes/hex.ts'
import { VeriteeError } from '../../src/errors.ts'
import { at, evidenceOf } from './synthetic.ts'

async function chainOf(platform: SimPlatform): Promise<string> {
  const { certification } = parseQuote((await evidenceOf(platform)).quote)
  if (certification.kind !== 'pck-chain') throw new TypeError('expected a PCK chain')
  return fromUtf8(certification.pem).replace(/\0+$/, '')
}

const vendor = await createSimVendor(at)
const [known, text] = (await Promise.all([0, 1].map(async () => chainOf(await createSimPlatform({ at, vendor }))))) as [string, string]
const end = '-----END CERTIFICATE-----'
const firstEnd = text.indexOf(end) + end.length

/** The certificates, or the refusal in full. */
function chained(pool: CertificatePool, pem: Uint8Array): readonly string[] | string {
  try {
    return pool.quotedChain(pem).chain.certificates.map(({ der }) => toHex(der))
  } catch (error) {
    if (error instanceof VeriteeError) return `${error.code}: ${error.message}`
    throw error
  }
}

/** Under issuers that are known from `learned`, and with nothing known. */
function bothWays(pem: Uint8Array, learned: string = known): readonly [readonly string[] | string, readonly string[] | string] {
  const shelves = new PoolShelves(8)
  const first = new CertificatePool(shelves)
  chained(first, utf8(learned))
  first.commit()
  return [chained(new CertificatePool(shelves), pem), chained(new CertificatePool(), pem)]
}

describe('the chain of a quote whose issuers are known', () => {
  it('is what it is when read as a whole, and its issuers are the very objects', () => {
    const [found, plain] = bothWays(utf8(text))
    expect(plain).toHaveLength(3)
    expect(found).toEqual(plain)
    const pool = new CertificatePool()
    const [, issuer, root] = pool.quotedChain(utf8(known)).chain.certificates
    const [leaf, sameIssuer, sameRoot] = pool.quotedChain(utf8(text)).chain.certificates
    expect(leaf).not.toBe(undefined)
    expect(sameIssuer).toBe(issuer)
    expect(sameRoot).toBe(root)
  })

  const rest = text.slice(firstEnd)
  const leaf = text.slice(0, firstEnd)
  const hostile: readonly (readonly [string, string])[] = [
    ['no first block', rest],
    ['a line end before the first block', `\n${text}`],
    ['25 line ends before it', `${'\n'.repeat(25)}${text}`],
    ['CRLF', text.replaceAll('\n', '\r\n')],
    ['CRLF in the first block only', `${leaf.replaceAll('\n', '\r\n')}${rest}`],
    ['no line end after the first block', `${leaf}${rest.trimStart()}`],
    ['a dash in the first body', `${leaf.slice(0, 100)}-${leaf.slice(101)}${rest}`],
    ['a dash and an end of 24 characters before the rest', `${leaf.slice(0, 100)}-${'A'.repeat(24)}${rest}`],
    ['an end on no line of its own', `${leaf.slice(0, firstEnd - end.length - 1)}${end}${rest}`],
    ['a first body that is empty', `-----BEGIN CERTIFICATE-----\n${end}${rest}`],
    ['another label', `${leaf.replace('BEGIN CERTIFICATE', 'BEGIN CERTIFICATX')}${rest}`],
    ['text of another alphabet', `${leaf.slice(0, 100)}\u00e9${leaf.slice(101)}${rest}`],
    ['NUL in the first block', `${leaf.slice(0, 100)}\0${leaf.slice(101)}${rest}`],
    ['NUL at the end', `${text}\0\0`],
    ['NUL between the blocks', `${leaf}\0${rest}`],
    ['the first block twice', `${leaf}\n${text}`],
    ['an issuer in the place of the leaf', `${rest.trim().slice(0, rest.trim().indexOf(end) + end.length)}${rest}`],
    ['more than 64 KiB', `${leaf.replace('\n', '\n'.repeat(65_536))}${rest}`],
    ['the first block alone', leaf],
    ['nothing', ''],
  ]
  for (const [what, pem] of hostile)
    it(`${what}: the same result as read as a whole`, () => {
      const [found, plain] = bothWays(utf8(pem))
      expect(found).toEqual(plain)
    })

  it('is the same after a text that began with line ends, whose first block is not told apart', () => {
    for (const learned of [`\n${known}`, `${'\n'.repeat(25)}${known}`, `${'\n'.repeat(60)}${known}`])
      for (const pem of [text, `\n${text}`, leaf, rest, '']) {
        const [found, plain] = bothWays(utf8(pem), learned)
        expect(found).toEqual(plain)
      }
  })

  it('is the same after edits anywhere', () => {
    const bytes = utf8(text)
    const edit = fc.record({
      from: fc.nat(bytes.length),
      removed: fc.nat(30),
      put: fc.constantFrom('', '-', '\n', '\r\n', '\0', 'A', '=', end, `${end}\n`),
    })
    fc.assert(
      fc.property(edit, ({ from, removed, put }) => {
        const [found, plain] = bothWays(concat(bytes.subarray(0, from), utf8(put), bytes.subarray(from + removed)))
        expect(found).toEqual(plain)
      }),
      { numRuns: 300 },
    )
  })

  it('invalid UTF-8 in the first block is refused as ever', () => {
    const pem = utf8(text)
    pem[100] = 0xff
    const [found, plain] = bothWays(pem)
    expect(plain).toMatch(/^malformed_encoding/)
    expect(found).toEqual(plain)
  })
})

describe('the first block decoded by itself', () => {
  const block = (body: string): Uint8Array => utf8(`-----BEGIN CERTIFICATE-----\n${body}${end}\n`)
  const decoded = (pem: Uint8Array): Uint8Array | null => decodeFirstBlock(pem, new Slab())?.der ?? null
  const read = (pem: Uint8Array): string => {
    try {
      return toHex(parsePem(fromUtf8(pem))[0] as Uint8Array)
    } catch {
      return 'refused'
    }
  }

  it.each([
    ['AAEC\n', '000102'],
    ['AAEC\nAwQ=\n', '0001020304'],
    ['AAEC\n\n\nAw==\n\n', '00010203'],
    ['\n', ''],
  ])('%j', (body, hex) => {
    expect(toHex(decoded(block(body)) as Uint8Array)).toBe(hex)
    expect(read(block(body))).toBe(hex)
  })

  it.each([
    'AwR=\n',
    'Ax==\n',
    'Aw==\nAAEC\n',
    'Aw=A\n',
    'A===\n',
    '====\n',
    'AA\nEC\n',
    'AAE\n',
    'AAEC',
    'AA?C\n',
    'AA\u00e9C\n',
    '\u00e9AAC\n',
    'AAEC\r\n',
    'AA C\n',
  ])('%j is left to the reader of all forms', (body) => expect(decoded(block(body))).toBe(null))

  it('a long one is left to it too', () => {
    const body = (length: number): Uint8Array => block(`${Buffer.alloc(length, 7).toString('base64')}\n`)
    expect(decoded(body(6000))).toHaveLength(6000)
    expect(decoded(body(9000))).toBe(null)
  })

  it('is what the reader of all forms finds, or nothing', () => {
    const bytes = fc.uint8Array({ maxLength: 60 })
    const edit = fc.record({ from: fc.nat(90), removed: fc.nat(3), put: fc.constantFrom('', '-', '\n', '\r', '=', 'A', '/', 'B', end) })
    fc.assert(
      fc.property(bytes, edit, fc.boolean(), (content, { from, removed, put }, changed) => {
        const pem = block(`${Buffer.from(content).toString('base64')}\n`)
        const edited = changed ? concat(pem.subarray(0, from), utf8(put), pem.subarray(from + removed)) : pem
        const found = decodeFirstBlock(edited, new Slab())
        if (found !== null) expect(toHex(found.der)).toBe(read(edited.subarray(0, found.end)))
        else expect(changed).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })
})

import { describe, expect, it } from 'vitest'
import { parseQuote, type Quote } from '../../src/attestation/index.ts'
import { concat } from '../../src/bytes/index.ts'
import { type Changes, judged, synthesize } from './synthetic.ts'
import { codeOf } from './vectors.ts'

const quoteOf = async (changes: Changes = {}): Promise<Uint8Array> => (await synthesize(changes)).quote
const sgx = await quoteOf()
const v4 = await quoteOf({ version: 4, td: { kind: 'td10' } })
const v5 = await quoteOf({ version: 5, td: { kind: 'td15' } })
const kinds = [
  ['SGX v3', sgx, 432],
  ['TDX v4', v4, 632],
  ['TDX v5', v5, 702],
] as const

/** A copy with a little-endian integer written over it. */
function patched(bytes: Uint8Array, at: number, size: 2 | 4, value: number): Uint8Array {
  const copy = new Uint8Array(bytes)
  const view = new DataView(copy.buffer)
  if (size === 2) view.setUint16(at, value, true)
  else view.setUint32(at, value, true)
  return copy
}

function u32At(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true)
}

const codeFor = (bytes: Uint8Array): string => codeOf(() => parseQuote(bytes))

describe('the header of a quote', () => {
  it.each([
    ['version 2', 0, 2, 2],
    ['version 6', 0, 2, 6],
    ['a P-384 attestation key', 2, 2, 3],
    ['attestation key type 0', 2, 2, 0],
    ['an unknown TEE type', 4, 4, 0x80],
    ['a TEE type with high bits', 4, 4, 0x8000_0081],
    ['another vendor', 12, 4, 0],
  ] as const)('%s is unsupported', (_, at, size, value) => {
    for (const [, bytes] of kinds) expect(codeFor(patched(bytes, at, size, value))).toBe('quote_unsupported')
  })

  it('version 3 quotes no TD', () => {
    expect(codeFor(patched(sgx, 4, 4, 0x81))).toBe('quote_unsupported')
  })

  it('anything but bytes is a TypeError', () => {
    for (const value of [null, undefined, 'AwACAA==', [3, 0], new ArrayBuffer(8)])
      expect(() => parseQuote(value as unknown as Uint8Array)).toThrow(TypeError)
  })
})

describe('P15: the body descriptor of version 5', () => {
  it.each([0, 5, 0xffff])('body type %i is unsupported', (type) => {
    expect(codeFor(patched(v5, 48, 2, type))).toBe('quote_unsupported')
  })

  it('a type of the other TEE, and a length that is not the type’s, are malformed', async () => {
    expect(codeFor(patched(v5, 48, 2, 1))).toBe('quote_malformed')
    expect(codeFor(patched(await quoteOf({ version: 5 }), 48, 2, 2))).toBe('quote_malformed')
    for (const length of [0, 647, 649, 584, 885, 0xffff_ffff]) expect(codeFor(patched(v5, 50, 4, length)), `${length}`).toBe('quote_malformed')
  })

  it('is covered by the signature', () => {
    const parsed = parseQuote(v5)
    expect(parsed.signed).toEqual(v5.subarray(0, 48 + 6 + 648))
    expect(parseQuote(v4).signed).toEqual(v4.subarray(0, 48 + 584))
    expect(parseQuote(sgx).signed).toEqual(sgx.subarray(0, 48 + 384))
  })
})

describe.each(kinds)('lengths: %s', (_, bytes, lengthAt) => {
  it('cut at every byte', () => {
    for (let length = 0; length < bytes.length; length++) expect(codeFor(bytes.subarray(0, length)), `${length}`).toBe('quote_malformed')
  })

  it('P21: trailing bytes are counted', () => {
    expect(parseQuote(bytes).trailingBytes).toBe(0)
    const padded = parseQuote(concat(bytes, new Uint8Array(3065).fill(1)))
    expect(padded.trailingBytes).toBe(3065)
    expect({ ...padded, trailingBytes: 0 }).toEqual(parseQuote(bytes))
  })

  it('signature data that is longer or shorter than its parts', () => {
    const length = u32At(bytes, lengthAt)
    const padded = concat(bytes, new Uint8Array(16))
    for (const change of [-length, -1, 1, 16]) expect(codeFor(patched(padded, lengthAt, 4, length + change)), `${change}`).toBe('quote_malformed')
    expect(codeFor(patched(bytes, lengthAt, 4, 0xffff_ffff))).toBe('quote_malformed')
  })

  it('more than 1 MiB', () => {
    expect(codeFor(concat(bytes, new Uint8Array(1_048_577 - bytes.length)))).toBe('quote_malformed')
    expect(codeFor(concat(bytes, new Uint8Array(1_048_576 - bytes.length)))).toBe('accepted')
  })
})

describe('certification data', () => {
  const typeAt = 1046
  const lengthAt = 1048

  it('P16: the length of QE authentication data is what the quote says', async () => {
    for (const length of [0, 5, 32, 500]) {
      const quote = parseQuote(await quoteOf({ qeAuthData: new Uint8Array(length).fill(3) }))
      expect(quote.qeAuthData).toEqual(new Uint8Array(length).fill(3))
      expect(quote.certification.kind).toBe('pck-chain')
    }
  })

  it('v3: a length that does not end where the signature data ends', () => {
    const length = u32At(sgx, lengthAt)
    for (const change of [-1, 1]) expect(codeFor(patched(concat(sgx, new Uint8Array(4)), lengthAt, 4, length + change))).toBe('quote_malformed')
  })

  it.each([0, 6, 7, 0xffff])('v3: type %i is unsupported', (type) => {
    expect(codeFor(patched(sgx, typeAt, 2, type))).toBe('quote_unsupported')
  })

  it('v4 and v5: nothing but type 6 outside, 1 to 5 inside, with no slack', () => {
    for (const [bytes, end] of [
      [v4, 632],
      [v5, 702],
    ] as const) {
      const outer = end + 4 + 128
      const inner = outer + 6 + 384 + 64 + 2 + 32
      for (const type of [0, 5, 7]) expect(codeFor(patched(bytes, outer, 2, type))).toBe('quote_unsupported')
      for (const type of [0, 6, 7]) expect(codeFor(patched(bytes, inner, 2, type))).toBe('quote_unsupported')
      const padded = concat(bytes, new Uint8Array(4))
      for (const at of [outer + 2, inner + 2])
        for (const change of [-1, 1]) expect(codeFor(patched(padded, at, 4, u32At(bytes, at) + change)), `${at} ${change}`).toBe('quote_malformed')
    }
  })

  it('types 1 to 4 parse, name their platform, and need a fetched certificate', async () => {
    const { collateral, trust } = await synthesize()
    for (const [type, length] of [
      [1, 36],
      [2, 276],
      [3, 404],
      [4, 10],
    ] as const) {
      const data = Uint8Array.from({ length }, (_, i) => i & 0xff)
      const head = patched(patched(sgx.subarray(0, 1052), typeAt, 2, type), lengthAt, 4, length)
      const bytes = patched(concat(head, data), 432, 4, 1052 + length - 436)
      const { certification } = parseQuote(bytes)
      expect(certification.type).toBe(type)
      if (certification.kind === 'platform') {
        expect(certification.ppid).toEqual(data.subarray(0, length - 20))
        expect(certification.pceSvn).toBe(((length - 4) & 0xff) | (((length - 3) & 0xff) << 8))
        expect(certification.pceId).toEqual(data.subarray(length - 2))
        const short = patched(concat(patched(head, lengthAt, 4, length - 1), data.subarray(1)), 432, 4, 1051 + length - 436)
        expect(codeFor(short)).toBe('quote_malformed')
      }
      expect(await judged({ quote: bytes, collateral, trust })).toBe('pck.format quote_no_pck_chain')
    }
  })
})

describe('what parseQuote returns', () => {
  it('is a copy: writing into the input changes nothing', () => {
    const input = new Uint8Array(sgx)
    const quote: Quote = parseQuote(input)
    input.fill(0)
    expect(quote).toEqual(parseQuote(sgx))
  })

  it('is plain bytes also for a Buffer', () => {
    const quote = parseQuote(Buffer.from(sgx))
    expect(Object.getPrototypeOf(quote.signed)).toBe(Uint8Array.prototype)
    expect(quote).toEqual(parseQuote(sgx))
  })
})

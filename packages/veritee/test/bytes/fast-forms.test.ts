import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DerReader } from '../../src/bytes/der.ts'
import { derTime } from '../../src/bytes/der-writer.ts'
import { type Json, jcs, parseJson, parseJsonSpans, utf8 } from '../../src/bytes/index.ts'
import { parseCanonical } from '../../src/bytes/json.ts'
import * as node from '../../src/crypto/node.ts'
import * as web from '../../src/crypto/web.ts'
import { refusal } from './refusal.ts'

const limits = { maxLength: 4096, maxDepth: 5 }

/** What a reader makes of a text: its value, or the code with which it refuses. */
async function outcome<T>(read: () => T): Promise<{ readonly value?: T; readonly code: string }> {
  let value: T | undefined
  const code = await refusal(() => {
    value = read()
  })
  return code === 'accepted' ? { value: value as T, code } : { code }
}

/** Texts near JSON: documents with members repeated, renamed, escaped, nested too deep, and with a few characters changed. */
const name = fc.constantFrom('a', 'b', '__proto__', 'constructor', '0', 'ä', 'toString')
const nearJson: fc.Arbitrary<string> = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 6 },
    fc.constantFrom('1', '-0', '1e400', '-1.5e-3', '01', 'true', 'null', 'nul', '"x"', '"\\u0061"', '"\\ud800"', '"\ud800"', '"\\""', '"\\\\"', '""'),
    fc.tuple(fc.array(tie('value'), { maxLength: 3 }), fc.constantFrom(',', ' ,')).map(([items, comma]) => `[${items.join(comma)}]`),
    fc
      .array(fc.tuple(name, fc.boolean(), tie('value')), { maxLength: 4 })
      .map((members) => `{${members.map(([key, escaped, value]) => `"${escaped ? key.replace('a', '\\u0061') : key}":${value}`).join(',')}}`),
  ),
})).value

const mutated = fc
  .tuple(nearJson, fc.array(fc.tuple(fc.nat(200), fc.constantFrom('', '"', '\\', '{', ']', ',', ' ', '\n', '\u0000', '\ufeff')), { maxLength: 2 }))
  .map(([text, changes]) => changes.reduce((now, [at, put]) => now.slice(0, at) + put + now.slice(at + 1), text))

describe('fast forms give what the plain forms give', () => {
  it('JSON: the reader that keeps spans, which reads character by character, gives the same value or the same code', async () => {
    let accepted = 0
    let refused = 0
    await fc.assert(
      fc.asyncProperty(fc.oneof(nearJson, mutated), async (text) => {
        const plain = await outcome(() => parseJsonSpans(text, limits).value)
        const fast = await outcome(() => parseJson(text, limits))
        if (plain.code === 'accepted') accepted++
        else refused++
        expect(fast).toEqual(plain)
        if (plain.code === 'accepted') expect(JSON.stringify(fast.value)).toBe(JSON.stringify(plain.value))
      }),
      { numRuns: 5000 },
    )
    // The comparison says something only where both kinds were met.
    expect(accepted).toBeGreaterThan(200)
    expect(refused).toBeGreaterThan(200)
  })

  it('canonical JSON: read where it is what jcs makes of the value that the plain reader gives, and nowhere else', async () => {
    const canonicalOf = (value: unknown): string | null => {
      try {
        return jcs(value as Json)
      } catch {
        return null
      }
    }
    let read = 0
    let left = 0
    const check = async (text: string): Promise<void> => {
      const plain = await outcome(() => parseJsonSpans(text, limits).value)
      const isCanonical = plain.code === 'accepted' && canonicalOf(plain.value) === text
      const found = parseCanonical(text, limits)
      if (isCanonical) read++
      else left++
      expect(found, text).toEqual(isCanonical ? plain.value : undefined)
    }
    await fc.assert(
      fc.asyncProperty(fc.oneof(nearJson, mutated), async (text) => {
        await check(text)
        const value = await outcome(() => parseJson(text, limits))
        const canonical = value.code === 'accepted' ? canonicalOf(value.value) : null
        if (canonical !== null) await check(canonical)
      }),
      { numRuns: 3000 },
    )
    expect(read).toBeGreaterThan(200)
    expect(left).toBeGreaterThan(200)
    // Names like indices come first, and by value, in every object of the language: such a text is left for the plain reader, canonical or not.
    expect(parseCanonical('{"10":1,"9":2}', limits)).toBeUndefined()
    for (const text of ['{"9":2,"10":1}', '{"a":1,"1":2}', '{"1":2,"a":1}', '"\\ud800"', '-0', '1.0', '9007199254740992', '{"a":1,"a":1}'])
      await check(text)
  })

  it('JSON of integers only: the same value or the same code', async () => {
    const integers = { ...limits, integersOnly: true } as const
    let floats = 0
    await fc.assert(
      fc.asyncProperty(fc.oneof(nearJson, mutated), async (text) => {
        const plain = await outcome(() => parseJsonSpans(text, integers).value)
        expect(await outcome(() => parseJson(text, integers))).toEqual(plain)
        const loose = await outcome(() => parseJson(text, limits))
        if (loose.code === 'accepted' && plain.code !== 'accepted') floats++
        else expect(plain).toEqual(loose)
      }),
      { numRuns: 2000 },
    )
    expect(floats).toBeGreaterThan(20)
    for (const text of ['5.0', '[3e0]', '{"a":1.3E1}', '1E+2', '-0.0', '{"5e1":1e5}'])
      expect(await outcome(() => parseJson(text, integers))).toEqual({ code: 'malformed_json' })
    for (const text of ['-0', '{"5.0":"1e5 3.5\\"4.5"}', '[true,false,null,"8e4"]', '{"\\\\":[1],"e":2}'])
      expect((await outcome(() => parseJson(text, integers))).code, text).toBe('accepted')
  })

  it.each([
    ['{"a":"\\"","a":1}', 'malformed_json'],
    ['{"a":1,"b":{"a":1},"b":2}', 'malformed_json'],
    ['["\\\\","\\""]', 'accepted'],
    ['{"a":"\\ud83d\\ude00"}', 'accepted'],
    ['{"\ud800":1}', 'malformed_json'],
    ['[[[[[1]]]]]', 'accepted'],
    ['[[[[[[1]]]]]]', 'malformed_json'],
    ['{"x":[{"__proto__":1}]}', 'malformed_json'],
  ])('JSON: %j is %s', async (text, code) => {
    expect(await refusal(() => parseJson(text, limits))).toBe(code)
  })

  describe.each([
    ['node', node],
    ['web', web],
  ] as const)('%s', (_, crypto) => {
    it('base64: exactly the texts that Node writes, and no other', () => {
      // The third has the low byte of a digit, and the fourth is one in another script.
      const digit = fc.constantFrom(...'ABCZabz019+/=-_ \n\u0141０')
      fc.assert(
        fc.property(fc.array(digit, { maxLength: 12 }), (digits) => {
          const text = digits.join('')
          const canonical = Buffer.from(text, 'base64').toString('base64') === text
          expect(crypto.decodeBase64(text), text).toEqual(canonical ? new Uint8Array(Buffer.from(text, 'base64')) : null)
        }),
        { numRuns: 5000 },
      )
    })

    it('hex: exactly the texts of pairs of ASCII digits', () => {
      const digit = fc.constantFrom(...'0123456789abcdefABCDEF0123456789abcdefABCDEFgG@`:/ \n\u0130０')
      let accepted = 0
      fc.assert(
        fc.property(fc.array(digit, { maxLength: 6 }), fc.nat(100), (digits, zeros) => {
          // Long texts too: they may be read in another way.
          const text = `${'00'.repeat(zeros)}${digits.join('')}`
          const valid = /^(?:[0-9a-fA-F]{2})*$/.test(text)
          if (valid) accepted++
          const bytes = crypto.decodeHex(text)
          expect(bytes, text).toEqual(valid ? Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16)) : null)
          if (bytes !== null) expect(crypto.encodeHex(bytes)).toBe(text.toLowerCase())
        }),
        { numRuns: 5000 },
      )
      expect(accepted).toBeGreaterThan(200)
    })

    it('hex and base64 of a view are of the view', () => {
      const bytes = Uint8Array.from({ length: 300 }, (_, index) => index)
      expect(crypto.encodeHex(bytes.subarray(1, 3))).toBe('0102')
      expect(crypto.encodeHex(bytes.subarray(1, 201))).toBe(Buffer.from(bytes.subarray(1, 201)).toString('hex'))
      expect(crypto.decodeHex(Buffer.from(bytes).toString('hex'))?.buffer.byteLength).toBe(300)
      expect(crypto.decodeBase64(Buffer.from(bytes).toString('base64'))?.buffer.byteLength).toBe(300)
    })
  })

  it('UTF-8: what TextEncoder gives', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'é', '€', '😀', '\ud800', '\udc00', '\u0000'), { maxLength: 8 }), (parts) => {
        expect(utf8(parts.join(''))).toEqual(new TextEncoder().encode(parts.join('')))
      }),
    )
  })

  it('DER: every day that exists is read, every other is refused', async () => {
    const read = (text: string): Date =>
      new DerReader(new Uint8Array([text.length === 13 ? 0x17 : 0x18, text.length, ...Buffer.from(text)]), 'certificate_malformed').time('x')
    const two = (value: number): string => String(value).padStart(2, '0')
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(fc.integer({ min: 1950, max: 2150 }), fc.nat(13), fc.nat(32), fc.nat(25), fc.nat(61), fc.nat(61)),
        async ([year, month, day, hour, minute, second]) => {
          const iso = `${year}-${two(month)}-${two(day)}T${two(hour)}:${two(minute)}:${two(second)}.000Z`
          const date = new Date(iso)
          const exists = !Number.isNaN(date.getTime()) && date.toISOString() === iso
          const digits = iso.slice(0, 19).replace(/[-T:]/g, '')
          const text = `${year < 2050 ? digits.slice(2) : digits}Z`
          expect(await refusal(() => read(text)), text).toBe(exists ? 'accepted' : 'certificate_malformed')
          if (!exists) return
          expect(read(text).toISOString()).toBe(iso)
          expect(new DerReader(derTime(date), 'certificate_malformed').time('x')).toEqual(date)
        },
      ),
      { numRuns: 3000 },
    )
  })
})

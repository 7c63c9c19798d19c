import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromUtf8, utf8 } from '../../src/bytes/index.ts'
import { requestLimits, spliceConstraints } from '../../src/receipt/index.ts'
import { refusal } from '../bytes/refusal.ts'

interface Vectors {
  readonly valid: readonly { name: string; body: string; forwarded: string; verified: boolean; session_ids: readonly string[] | null }[]
  readonly invalid: readonly { name: string; body: string; code: string }[]
}
const vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/constraints.json', import.meta.url), 'utf8')) as Vectors
const splice = (text: string): ReturnType<typeof spliceConstraints> => spliceConstraints(utf8(text), requestLimits)

describe('the vectors of removing constraints', () => {
  it.each(vectors.valid.map((vector) => [vector.name, vector] as const))('S10: %s', (_, { body, forwarded, verified, session_ids }) => {
    const bytes = utf8(body)
    const spliced = spliceConstraints(bytes, requestLimits)
    expect(fromUtf8(spliced.forwarded)).toBe(forwarded)
    expect(spliced.constraints).toEqual({ verified, sessionIds: session_ids })
    expect(spliced.value).toEqual(JSON.parse(body))
    if (forwarded === body) expect(spliced.forwarded).toBe(bytes)
    // What goes on carries no constraint any more.
    const again = spliceConstraints(spliced.forwarded, requestLimits)
    expect([again.forwarded, again.constraints]).toEqual([spliced.forwarded, { verified: false, sessionIds: null }])
  })
  it.each(vectors.invalid.map((vector) => [vector.name, vector] as const))('S10: refuses %s', async (_, { body, code }) => {
    expect(await refusal(() => splice(body))).toBe(code)
  })
  it('have names that differ', () => {
    const names = [...vectors.valid, ...vectors.invalid].map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
  })
})

describe('removing constraints', () => {
  it('refuses what is no UTF-8, too long or too deep', async () => {
    expect(await refusal(() => spliceConstraints(Uint8Array.of(0x22, 0xff, 0x22), requestLimits))).toBe('malformed_encoding')
    expect(await refusal(() => spliceConstraints(utf8('{"a":1}'), { ...requestLimits, maxLength: 6 }))).toBe('malformed_json')
    expect(await refusal(() => splice(`{"a":${'['.repeat(64)}${']'.repeat(64)}}`))).toBe('malformed_json')
    const ids = (count: number): string => JSON.stringify({ provider: { aci_session_ids: Array.from({ length: count }, () => 'a1'.repeat(32)) } })
    expect([await refusal(() => splice(ids(256))), await refusal(() => splice(ids(257)))]).toEqual(['accepted', 'malformed_document'])
  })
  it('takes as many members as a body may hold in linear time', () => {
    const members = Array.from({ length: 262_000 }, (_, i) => `"m${i}":0`).join(',')
    const started = performance.now()
    expect(splice(`{${members},"provider":{"aci_verified":true}}`).forwarded.length).toBe(members.length + 2)
    expect(splice(`{"provider":{"aci_verified":true,${members}}}`).constraints.verified).toBe(true)
    expect(performance.now() - started).toBeLessThan(10_000)
  })

  const name = fc.oneof(fc.constantFrom('a', 'b', 'model', 'x"y', 'é', 'inner', 'provider2', 'aci'), fc.string({ unit: 'grapheme', maxLength: 4 }))
  const plain = name.filter((text) => text !== '__proto__' && text !== 'provider' && !text.startsWith('aci_'))
  const json = fc.jsonValue({ maxDepth: 2 }).filter((value) => !JSON.stringify(value).includes('"__proto__":'))
  const members = (own: fc.Arbitrary<string>): fc.Arbitrary<[string, unknown][]> =>
    fc.uniqueArray(fc.tuple(own, json), { selector: ([key]) => key, maxLength: 4 })
  const space = fc.constantFrom('', ' ', '\n', '\t \r\n')

  /** An object as text with its members in the given order and its own white space. */
  function text(entries: readonly (readonly [string, string])[], ws: readonly string[]): string {
    const at = (i: number): string => ws[i % ws.length] ?? ''
    const parts = entries.map(([key, value], i) => `${at(i)}${JSON.stringify(key)}${at(i + 1)}:${at(i + 2)}${value}${at(i + 3)}`)
    return `{${parts.length === 0 ? at(0) : parts.join(',')}}`
  }
  function insert<T>(list: readonly T[], items: readonly (readonly [number, T])[]): T[] {
    return items.reduce<T[]>((all, [at, item]) => all.toSpliced(at % (all.length + 1), 0, item), [...list])
  }

  it('S10: the spliced text is the same document less the members, and every kept member keeps its bytes', () => {
    const constraints = fc.record({ aci_verified: fc.constant(true), aci_session_ids: fc.constant(['c3'.repeat(32)]) }, { requiredKeys: [] })
    fc.assert(
      fc.property(
        members(plain),
        members(plain),
        constraints,
        fc.array(space, { minLength: 1, maxLength: 6 }),
        fc.nat(9),
        fc.nat(9),
        fc.nat(9),
        (top, own, added, ws, p, q, r) => {
          const kept = own.map(([key, value]) => [key, JSON.stringify(value)] as const)
          const cut = Object.entries(added).map(([key, value], i) => [i === 0 ? q : r, [key, JSON.stringify(value)] as const] as const)
          const provider = text(insert(kept, cut), ws)
          const outer = top.map(([key, value]) => [key, JSON.stringify(value)] as const)
          const body = text(insert(outer, [[p, ['provider', provider] as const]]), ws)

          const { forwarded, value } = splice(body)
          const result = fromUtf8(forwarded)
          const expected = JSON.parse(body) as Record<string, unknown>
          expect(value).toEqual(expected)
          if (cut.length === 0) expect(result).toBe(body)
          else if (own.length === 0) delete expected.provider
          else expected.provider = Object.fromEntries(own)
          const parsed = JSON.parse(result) as Record<string, unknown>
          expect(parsed).toEqual(JSON.parse(JSON.stringify(expected)))
          expect(Object.keys(parsed)).toEqual(Object.keys(expected))
          for (const [key, item] of [...outer, ...kept]) expect([result.includes(JSON.stringify(key)), result.includes(item)]).toEqual([true, true])
        },
      ),
      { numRuns: 500 },
    )
  })
  it('a request without constraints is returned as the identical bytes', () => {
    fc.assert(
      fc.property(members(plain), fc.array(space, { minLength: 1, maxLength: 4 }), (top, ws) => {
        const bytes = utf8(
          text(
            top.map(([key, value]) => [key, JSON.stringify(value)] as const),
            ws,
          ),
        )
        expect(spliceConstraints(bytes, requestLimits).forwarded).toBe(bytes)
      }),
    )
  })
})

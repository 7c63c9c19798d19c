import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromUtf8, utf8 } from '../../src/bytes/index.ts'
import { applyRewrite, chatOfResponses, type RewriteOperation, requestLimits } from '../../src/receipt/index.ts'
import { refusal } from '../bytes/refusal.ts'

interface Vectors {
  readonly valid: readonly { name: string; body: string; patch: readonly RewriteOperation[]; rewritten: string }[]
  readonly translations: readonly { name: string; body: string; chat: string }[]
  readonly untranslatable: readonly { name: string; body: string; code: string }[]
  readonly invalid: readonly { name: string; body: string; patch: readonly RewriteOperation[]; code: string }[]
}
const vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/rewrite.json', import.meta.url), 'utf8')) as Vectors
const rewrite = (body: string, patch: readonly RewriteOperation[]): string => fromUtf8(applyRewrite(utf8(body), patch, requestLimits))

/** RFC 6902 over values, for comparison. */
function patched(body: string, patch: readonly RewriteOperation[]): unknown {
  const value = JSON.parse(body) as Record<string, unknown>
  for (const { path, value: operand } of patch) {
    if (path === '/stream_options/include_usage') (value.stream_options as Record<string, unknown>).include_usage = operand
    else value[path.slice(1)] = operand
  }
  return value
}

describe('rewriting a request for an external engine', () => {
  it.each(vectors.valid.map((vector) => [vector.name, vector] as const))('S10: %s', (_, { body, patch, rewritten }) => {
    expect(rewrite(body, patch)).toBe(rewritten)
    expect(JSON.parse(rewritten)).toEqual(patched(body, patch))
  })
  it.each(vectors.invalid.map((vector) => [vector.name, vector] as const))('S10: refuses %s', async (_, { body, patch, code }) => {
    expect(await refusal(() => rewrite(body, patch))).toBe(code)
  })
  it('refuses a body that is no strict JSON', async () => {
    expect(await refusal(() => rewrite('{"seed":1,"seed":2}', [{ op: 'replace', path: '/seed', value: 1 }]))).toBe('malformed_json')
    expect(await refusal(() => applyRewrite(Uint8Array.of(0xff), [], requestLimits))).toBe('malformed_encoding')
  })
  it('S10: does what RFC 6902 says, whatever else the request holds', () => {
    const others = fc.dictionary(
      fc.string({ unit: 'binary' }).filter((name) => name.isWellFormed() && name !== '__proto__'),
      fc.jsonValue(),
      { maxKeys: 4 },
    )
    fc.assert(
      fc.property(others, fc.boolean(), fc.integer(), fc.integer({ min: 0, max: 3 }), (rest, streamed, seed, indent) => {
        const value = { ...rest, model: 'm', ...(streamed && { stream_options: { a: [] } }) }
        const body = JSON.stringify(value, null, indent)
        fc.pre(body.isWellFormed() && !/\\ud[89a-f]/i.test(body) && !body.includes('"__proto__"'))
        const patch: RewriteOperation[] = [
          { op: 'replace', path: '/model', value: 'n' },
          { op: 'seed' in value ? 'replace' : 'add', path: '/seed', value: seed },
          ...(streamed ? ([{ op: 'add', path: '/stream_options/include_usage', value: true }] as const) : []),
        ]
        expect(JSON.parse(rewrite(body, patch))).toEqual(patched(body, patch))
      }),
    )
  })
})

describe('a request for a response, told as a chat', () => {
  const chatOf = (body: string): string => JSON.stringify(chatOfResponses(JSON.parse(body) as Record<string, unknown>))
  it.each(vectors.translations.map((vector) => [vector.name, vector] as const))('S10: %s', (_, { body, chat }) => {
    expect(chatOf(body)).toBe(chat)
  })
  it.each(vectors.untranslatable.map((vector) => [vector.name, vector] as const))('S10: there is none of %s', async (_, { body, code }) => {
    expect(await refusal(() => chatOf(body))).toBe(code)
  })
})

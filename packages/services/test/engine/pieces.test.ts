import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Engine, openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { inPieces, typeByte } from '../../src/enclave/worker/engine/vocabulary/pieces.ts'
import type { VocabularyTable } from '../../src/enclave/worker/engine/vocabulary/vocabulary.ts'
import { demoPath } from './demo.ts'

const words = [
  'a',
  'the ',
  ' dragon',
  ' ',
  '  ',
  '\n',
  '文',
  '🐉',
  'é',
  '\u0001',
  '\u2581',
  '<|im_end|>',
  '<unk>',
  '</s>',
  '\ud83d',
  '\udc09',
  '\ufffd',
  '0',
  '{"',
  '\u3000',
  '\t',
]

let directory: string
let engine: Engine
/** The same file, saying that a space goes in front of every text. */
let spaced: Engine
let table: VocabularyTable
let longest = 0
// The engine itself cuts only texts that are longer than any here: this is what llama.cpp makes of a text in one go.
const whole = (text: string): number[] => {
  longest = Math.max(longest, text.length)
  return engine.vocabulary.encode(text)
}
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'veritee-pieces-'))
  const file = readFileSync(demoPath)
  // After the key: four bytes that say that it is a boolean.
  file[file.indexOf('tokenizer.ggml.add_space_prefix') + 'tokenizer.ggml.add_space_prefix'.length + 4] = 1
  writeFileSync(join(directory, 'spaced.gguf'), file)
  engine = await openLlamaEngine({ path: demoPath })
  spaced = await openLlamaEngine({ path: join(directory, 'spaced.gguf') })
  const { vocabulary } = engine
  const names = Array.from({ length: vocabulary.size }, (_, token) => vocabulary.name(token))
  const types = names.map((name) => (/^<0x[0-9A-F]{2}>$/.test(name) ? typeByte : 1))
  table = { kind: 'spm', names, types, bos: null, eos: null, addsBos: false, specials: [...vocabulary.specials], ends: [] }
}, 60_000)
afterAll(async () => {
  await engine.dispose()
  await spaced.dispose()
  rmSync(directory, { recursive: true })
})

describe('a text in pieces', () => {
  it('has the tokens that it has in one go, whatever is in it, also where a space is put in front', () => {
    expect(engine.vocabulary.encode('dragon')).not.toEqual(spaced.vocabulary.encode('dragon'))
    const text = fc.array(fc.oneof(fc.constantFrom(...words), fc.string({ unit: 'binary', maxLength: 6 })), { maxLength: 60 })
    fc.assert(
      fc.property(text, fc.integer({ min: 1, max: 12 }), (parts, length) => {
        const written = parts.join('')
        for (const { vocabulary } of [engine, spaced])
          expect(inPieces(table, (one) => vocabulary.encode(one), length)(written)).toEqual(vocabulary.encode(written))
      }),
      { numRuns: 2000 },
    )
  })

  it('of bytes takes no piece longer than about the bound', () => {
    const text = '文🐉\u0001 a dragon '.repeat(270)
    longest = 0
    const tokens = inPieces(table, whole, 200)(text)
    expect(longest).toBeLessThan(230)
    expect(tokens).toEqual(whole(text))
  })

  it('without a place to cut is taken as it is, and so is every text of another kind of vocabulary', () => {
    for (const [kind, text] of [
      ['spm', 'once upon a time '.repeat(200)],
      ['bpe', '文'.repeat(1000)],
    ] as const) {
      longest = 0
      expect(inPieces({ ...table, kind }, whole, 10)(text)).toEqual(whole(text))
      expect(longest).toBe(text.length)
    }
  })
})

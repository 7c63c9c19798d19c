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
  '\n\n',
  ' \n',
  'e',
  'd',
  'ed',
  'dee',
  'edd',
]

function tableOf({ vocabulary }: Engine): VocabularyTable {
  const names = Array.from({ length: vocabulary.size }, (_, token) => vocabulary.name(token))
  const types = names.map((name) => (/^<0x[0-9A-F]{2}>$/.test(name) ? typeByte : 1))
  return { kind: 'spm', names, types, bos: null, eos: null, addsBos: false, specials: [...vocabulary.specials], ends: [] }
}

let directory: string
let engine: Engine
/** The same file, saying that a space goes in front of every text. */
let spaced: Engine
/** The same with further words that hold each other's characters: e, d, ed. */
let worded: Engine
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
  // Behind the key: that it is an array, of what, and of how many; then four bytes for each token. 4 is a user-defined one.
  const types = file.indexOf('tokenizer.ggml.token_type') + 'tokenizer.ggml.token_type'.length + 16
  for (let token = 0; token < engine.vocabulary.size; token++)
    if (['e', 'd', 'ed'].includes(engine.vocabulary.name(token))) file.writeInt32LE(4, types + 4 * token)
  writeFileSync(join(directory, 'worded.gguf'), file)
  worded = await openLlamaEngine({ path: join(directory, 'worded.gguf') })
  table = tableOf(engine)
}, 60_000)
afterAll(async () => {
  await engine.dispose()
  await spaced.dispose()
  await worded.dispose()
  rmSync(directory, { recursive: true })
})

describe('a text in pieces', () => {
  it('has the tokens that it has in one go, whatever is in it, also where a space is put in front', () => {
    const other = tableOf(worded)
    expect(
      [...other.specials]
        .filter(([, { kind }]) => kind === 'user-defined')
        .map(([name]) => name)
        .sort(),
    ).toEqual(['\n', 'd', 'e', 'ed'])
    expect(engine.vocabulary.encode('dragon')).not.toEqual(spaced.vocabulary.encode('dragon'))
    const text = fc.array(fc.oneof(fc.constantFrom(...words), fc.string({ unit: 'binary', maxLength: 6 })), { maxLength: 60 })
    fc.assert(
      fc.property(text, fc.integer({ min: 1, max: 12 }), (parts, length) => {
        const written = parts.join('')
        for (const { vocabulary } of [engine, spaced, worded])
          expect(inPieces(vocabulary === worded.vocabulary ? other : table, (one) => vocabulary.encode(one), length)(written)).toEqual(
            vocabulary.encode(written),
          )
      }),
      { numRuns: 1000 },
    )
  }, 300_000)

  it('of bytes takes no piece longer than about the bound', () => {
    const text = '文🐉\u0001 a dragon '.repeat(270)
    longest = 0
    const tokens = inPieces(table, whole, 200)(text)
    expect(longest).toBeLessThan(230)
    expect(tokens).toEqual(whole(text))
  })

  it('of lines takes no piece longer than about the bound, nor of halves of pairs', () => {
    for (const text of ['\n'.repeat(3000), 'once upon a time\n'.repeat(200), '\ud83d'.repeat(3000), '\n\udc09a'.repeat(1000)]) {
      longest = 0
      const tokens = inPieces(table, whole, 200)(text)
      expect(longest).toBeLessThan(230)
      expect(tokens).toEqual(engine.vocabulary.encode(text))
    }
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

import type { LlamaModel } from 'node-llama-cpp'
import { expect, test } from 'vitest'
import type { Vocabulary } from '../../src/enclave/worker/engine/engine.ts'
import { tabulate, vocabularyOf } from '../../src/enclave/worker/engine/vocabulary/vocabulary.ts'

// llama.cpp's token types
const [normal, unknown, control, userDefined, byte] = [1, 2, 3, 4, 6]

/** The few members of a loaded model that a vocabulary is read from. */
function model(kind: string, tokens: readonly (readonly [name: string, type: number])[], overridden: readonly number[] = []): LlamaModel {
  const stub = {
    vocabularyType: kind,
    fileInfo: { metadata: { tokenizer: { ggml: { tokens: tokens.map(([name]) => name), token_type: tokens.map(([, type]) => type) } } } },
    tokens: { bos: null, eos: null, shouldPrependBosToken: false },
    tokenize: () => [],
    isEogToken: (token: number) => overridden.includes(token),
    getTokenAttributes: (token: number) => ({ control: overridden.includes(token), lstrip: false, rstrip: token === 1 }),
  }
  return stub as unknown as LlamaModel
}

const readVocabulary = (loaded: LlamaModel): Vocabulary => vocabularyOf(tabulate(loaded), () => [])

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

test('SentencePiece: spaces, single bytes, control words, the unknown token', () => {
  const vocabulary = readVocabulary(
    model('spm', [
      ['<unk>', unknown],
      ['<s>', control],
      ['\u2581hi\u2581', normal],
      ['<0xE6>', byte],
      ['<0x41>', normal],
      ['<\u2581b>', userDefined],
    ]),
  )
  expect([0, 1].map((token) => vocabulary.bytes(token).length)).toEqual([0, 0])
  expect(text(vocabulary.bytes(2))).toBe(' hi ')
  expect([...vocabulary.bytes(3)]).toEqual([0xe6])
  expect(text(vocabulary.bytes(4))).toBe('<0x41>')
  expect(text(vocabulary.bytes(5))).toBe('<\u2581b>')
  expect(vocabulary.specials.get('<s>')).toEqual({ id: 1, kind: 'control', stripsLeft: false, stripsRight: true })
  expect(vocabulary.specials.get('<\u2581b>')?.kind).toBe('user-defined')
  expect(vocabulary.specials.size).toBe(2)
  expect(() => vocabulary.bytes(6)).toThrow(TypeError)
})

test('byte-level BPE: the published table of GPT-2', () => {
  const names = ['\u0120hi', '\u010a', '\u0100', '\u0121', '\u0142', '\u0143', '\u00c3\u00a9', '!~\u00a1\u00ac\u00ae\u00ff']
  const vocabulary = readVocabulary(
    model(
      'bpe',
      names.map((name) => [name, normal] as const),
    ),
  )
  const bytes = names.map((_, token) => [...vocabulary.bytes(token)])
  expect(bytes).toEqual([[0x20, 0x68, 0x69], [0x0a], [0x00], [0x7f], [0xa0], [0xad], [0xc3, 0xa9], [0x21, 0x7e, 0xa1, 0xac, 0xae, 0xff]])
})

test('a word that the engine itself made a control token is one, whatever the file says', () => {
  const vocabulary = readVocabulary(
    model(
      'bpe',
      [
        ['<|im_end|>', normal],
        ['<table>', normal],
      ],
      [0],
    ),
  )
  expect([...vocabulary.specials.keys()]).toEqual(['<|im_end|>'])
  expect(vocabulary.bytes(0)).toHaveLength(0)
  expect(text(vocabulary.bytes(1))).toBe('<table>')
})

test('other kinds of vocabulary are model_unsupported', () => {
  for (const broken of [model('wpm', [['a', normal]]), model('spm', [])])
    expect(() => readVocabulary(broken)).toThrow(expect.objectContaining({ code: 'model_unsupported' }))
})

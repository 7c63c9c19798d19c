import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { GeneratedToken } from '../../src/enclave/worker/engine/engine.ts'
import { type Frame, FrameReader, frame, maxPayload } from '../../src/engine-process/frames.ts'
import {
  decodeEmbedding,
  decodeError,
  decodeGenerate,
  decodeTokens,
  encodeEmbedding,
  encodeGenerate,
  encodeToken,
  readUint32s,
} from '../../src/engine-process/messages.ts'
import { decodeReady } from '../../src/engine-process/ready.ts'

const hex = (text: string): Buffer => Buffer.from(text, 'hex')
const failed = expect.objectContaining({ code: 'engine_failed' })

test('frames come out as they went in, however the bytes were cut on their way', () => {
  const frames = fc.array(fc.record({ type: fc.nat(255), payload: fc.uint8Array({ maxLength: 40 }) }), { maxLength: 8 })
  fc.assert(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), (sent, cuts) => {
      const bytes = Buffer.concat(sent.map(({ type, payload }) => frame(type, payload)))
      const reader = new FrameReader()
      const found: Frame[] = []
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const length = cuts[i % cuts.length] as number
        found.push(...reader.push(bytes.subarray(at, at + length)))
        at += length
      }
      expect(found.map(({ type, payload }) => ({ type, payload: [...payload] }))).toEqual(
        sent.map(({ type, payload }) => ({ type, payload: [...payload] })),
      )
    }),
  )
})

test.each([
  ['no type', '00000000'],
  ['a length beyond every frame', 'ffffffff12'],
  ['one byte more than the longest', (maxPayload + 2).toString(16).padStart(8, '0')],
])('a frame with %s is refused at its header', (_, header) => {
  expect(() => new FrameReader().push(hex(header.padEnd(10, '0')))).toThrow(failed)
})

test('a message longer than a frame is not sent', () => {
  expect(() => frame(1, new Uint8Array(maxPayload), new Uint8Array(1))).toThrow(failed)
})

test('tokens and generations are read as they were written', () => {
  const tokens: GeneratedToken[] = [
    { token: 7, logprob: -0.25, top: [] },
    { token: 8, logprob: null, top: [] },
    { token: 4_294_967_295, logprob: -1e-300, top: Array.from({ length: 20 }, (_, i) => ({ token: i, logprob: -i / 3 })) },
  ]
  const found: [number, GeneratedToken][] = []
  decodeTokens(Buffer.concat(tokens.map((token, i) => encodeToken(i, token))), (id, token) => found.push([id, token]))
  expect(found).toEqual(tokens.map((token, i) => [i, token]))

  const sampling = { temperature: 0.7, topK: 3, topP: 1, minP: 0 }
  const generation = { promptTokens: [1, 2], maxTokens: 3, sampling, seed: Uint8Array.of(9), stopTokens: new Set([4]), topLogprobs: 2 }
  const sent = Buffer.concat(encodeGenerate(5, { ...generation, signal: new AbortController().signal }))
  expect(decodeGenerate(sent)).toEqual({ id: 5, generation: { ...generation, constraint: null } })

  const embedding = { tokens: [1, 2, 3], vector: Float32Array.of(0.5, -1) }
  expect(decodeEmbedding(Buffer.concat(encodeEmbedding(6, embedding)), 2)).toEqual({ id: 6, embedding })
})

test.each([
  ['of another length', encodeEmbedding(1, { tokens: [1], vector: Float32Array.of(1) })],
  ['with more tokens than it says', [...encodeEmbedding(1, { tokens: [1], vector: Float32Array.of(1, 2) }), hex('00000000')]],
  ['cut short', [hex('01000000')]],
])('a vector %s is refused', (_, parts) => {
  expect(() => decodeEmbedding(Buffer.concat(parts), 2)).toThrow(failed)
})

test.each([
  ['cut inside a token', encodeToken(1, { token: 2, logprob: -1, top: [] }).subarray(0, 16)],
  ['without its alternatives', encodeToken(1, { token: 2, logprob: -1, top: [{ token: 1, logprob: -1 }] }).subarray(0, 17)],
  ['with a byte after the last', Buffer.concat([encodeToken(1, { token: 2, logprob: -1, top: [] }), hex('00')])],
])('a frame of tokens %s is refused', (_, bytes) => {
  expect(() => decodeTokens(bytes, () => undefined)).toThrow(failed)
})

test('numbers of another length than four bytes are refused', () => {
  expect(() => readUint32s(hex('0000000000'))).toThrow(failed)
})

test.each(['', 'x', '[]', 'null', '{}', '{"code":"engine_failed"}', '{"code":"toString","message":"x"}', '{"code":7,"message":"x"}'])(
  'an error of the process that is none is refused: %s',
  (text) => {
    expect(() => decodeError(Buffer.from(text))).toThrow(failed)
  },
)

const ready = {
  facts: {
    name: 'llama.cpp',
    version: 'x',
    build: `sha256:${'0'.repeat(64)}`,
    cpuVariant: 'haswell',
    profile: 'canonical',
    threads: 1,
    contextSize: 16,
  },
  architecture: 'llama',
  trainContextSize: 16,
  embeddingSize: 2,
  chatTemplate: null,
  table: {
    kind: 'spm',
    names: ['a', '<s>'],
    types: [1, 3],
    bos: 1,
    eos: null,
    addsBos: true,
    specials: [['<s>', { id: 1, kind: 'control', stripsLeft: false, stripsRight: false }]],
    ends: [1],
  },
}
const decode = (value: unknown): unknown => decodeReady(Buffer.from(JSON.stringify(value)))

test('what a process says when it is ready is read member by member', () => {
  expect(decode(ready)).toEqual(ready)
})

test.each<[string, unknown]>([
  ['no facts', { ...ready, facts: undefined }],
  ['another engine', { ...ready, facts: { ...ready.facts, name: 'other' } }],
  ['a build that is no digest', { ...ready, facts: { ...ready.facts, build: 'x' } }],
  ['another profile', { ...ready, facts: { ...ready.facts, profile: 'other' } }],
  ['a context below zero', { ...ready, facts: { ...ready.facts, contextSize: -1 } }],
  ['vectors of no size', { ...ready, embeddingSize: null }],
  ['a template that is no text', { ...ready, chatTemplate: 7 }],
  ['a vocabulary that is a text', { ...ready, table: 'x' }],
  ['another vocabulary', { ...ready, table: { ...ready.table, kind: 'wpm' } }],
  ['a name that is a number', { ...ready, table: { ...ready.table, names: [1] } }],
  ['an end outside the vocabulary', { ...ready, table: { ...ready.table, ends: [2] } }],
  ['a special word without an id', { ...ready, table: { ...ready.table, specials: [['<s>', {}]] } }],
  ['specials that are no pairs', { ...ready, table: { ...ready.table, specials: [1] } }],
])('a process that says %s is not ready', (_, value) => {
  expect(() => decode(value)).toThrow(failed)
})

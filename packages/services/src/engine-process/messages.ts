import { deserialize, serialize } from 'node:v8'
import { type ErrorCode, fail, isErrorCode, VeriteeError } from 'veritee/errors'
import type { Embedding, GeneratedToken, Generation, TokenLogprob } from '../enclave/worker/engine/engine.ts'
import { type FlatGrammar, flatten } from './grammar.ts'

/** Types of frames. */
export const types = {
  // to the engine process
  load: 1,
  generate: 2,
  abort: 3,
  credit: 4,
  encode: 5,
  embed: 6,
  // to the worker
  ready: 16,
  refused: 17,
  tokens: 18,
  ended: 19,
  encoded: 20,
  embedded: 21,
  progress: 22,
} as const

/** A generation as it travels: its signal stays behind, and travels as the frame `abort`, and progress comes as frames of that name; what it is held to goes as a grammar. */
export type SentGeneration = Omit<Generation, 'signal' | 'onProgress' | 'constraint'> & {
  readonly constraint: { readonly grammar: FlatGrammar; readonly written: ReadonlyMap<number, Uint8Array> } | null
}

export function encodeGenerate(id: number, { signal: _, onProgress: __, constraint, ...rest }: Generation): Uint8Array[] {
  const held = constraint === undefined ? null : { grammar: flatten(constraint.grammar), written: constraint.written }
  return [uint32([id]), serialize({ ...rest, constraint: held } satisfies SentGeneration)]
}

/** What only the worker sends, and the engine process believes. */
export function decodeGenerate(payload: Buffer): { readonly id: number; readonly generation: SentGeneration } {
  return { id: payload.readUInt32LE(), generation: deserialize(payload.subarray(4)) as SentGeneration }
}

export function uint32(values: readonly number[]): Uint8Array {
  const bytes = Buffer.allocUnsafe(4 * values.length)
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value, 4 * i)
  return bytes
}

/** Reads exactly as many numbers as the payload holds. Throws `engine_failed`. */
export function readUint32s(payload: Buffer): number[] {
  if (payload.length % 4 !== 0) throw malformed()
  return Array.from({ length: payload.length / 4 }, (_, i) => payload.readUInt32LE(4 * i))
}

const tokenLength = 17
const alternativeLength = 12

/** One token: id of the request, token, logprob (a double; no number where nobody asked), and its alternatives, at most 255. */
export function encodeToken(id: number, { token, logprob, top }: GeneratedToken): Buffer {
  const bytes = Buffer.allocUnsafe(tokenLength + alternativeLength * top.length)
  bytes.writeUInt32LE(id)
  bytes.writeUInt32LE(token, 4)
  bytes.writeDoubleLE(logprob ?? Number.NaN, 8)
  bytes[16] = top.length
  for (const [i, one] of top.entries()) {
    bytes.writeUInt32LE(one.token, tokenLength + alternativeLength * i)
    bytes.writeDoubleLE(one.logprob, tokenLength + alternativeLength * i + 4)
  }
  return bytes
}

/** Reads a frame of tokens to its last byte. Throws `engine_failed` where it ends inside one. */
export function decodeTokens(payload: Buffer, onToken: (id: number, token: GeneratedToken) => void): void {
  for (let at = 0; at < payload.length; ) {
    const count = payload[at + 16]
    if (count === undefined || at + tokenLength + alternativeLength * count > payload.length) throw malformed()
    const top: TokenLogprob[] = []
    for (let place = at + tokenLength; top.length < count; place += alternativeLength)
      top.push({ token: payload.readUInt32LE(place), logprob: payload.readDoubleLE(place + 4) })
    const logprob = payload.readDoubleLE(at + 8)
    onToken(payload.readUInt32LE(at), { token: payload.readUInt32LE(at + 4), logprob: Number.isNaN(logprob) ? null : logprob, top })
    at += tokenLength + alternativeLength * count
  }
}

/** A vector and the tokens it is of, after the id: how many tokens, the tokens, the numbers. */
export function encodeEmbedding(id: number, { tokens, vector }: Embedding): Uint8Array[] {
  return [uint32([id, tokens.length, ...tokens]), new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength)]
}

/** Throws `engine_failed` unless the vector is as long as the model's. */
export function decodeEmbedding(payload: Buffer, embeddingSize: number): { readonly id: number; readonly embedding: Embedding } {
  if (payload.length < 8) throw malformed()
  const count = payload.readUInt32LE(4)
  const start = 8 + 4 * count
  if (payload.length !== start + 4 * embeddingSize) throw malformed()
  const vector = Float32Array.from({ length: embeddingSize }, (_, i) => payload.readFloatLE(start + 4 * i))
  return { id: payload.readUInt32LE(), embedding: { tokens: readUint32s(payload.subarray(8, start)), vector } }
}

/** A failure as code and message. What is no coded error is told without its words: they could hold a prompt. */
export function encodeError(error: unknown): Uint8Array {
  const { code, message } = error instanceof VeriteeError ? error : { code: 'engine_failed', message: 'an evaluation failed' }
  return Buffer.from(JSON.stringify({ code, message }))
}

export function decodeError(payload: Buffer): Error {
  const { code, message } = readJson(payload) as { readonly code?: unknown; readonly message?: unknown }
  if (typeof code !== 'string' || typeof message !== 'string' || !isErrorCode(code)) throw malformed()
  return fail(code as ErrorCode, message.slice(0, 1000))
}

/** JSON that is an object. Throws `engine_failed`. */
export function readJson(payload: Buffer): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(payload.toString('utf8'))
  } catch {
    throw malformed()
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw malformed()
  return value as Readonly<Record<string, unknown>>
}

export function malformed(): Error {
  return fail('engine_failed', 'the engine process sent a message that is not well-formed')
}

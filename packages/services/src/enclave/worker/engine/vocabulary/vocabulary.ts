import type { LlamaModel, Token } from 'node-llama-cpp'
import { utf8 } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import type { SpecialToken, Vocabulary } from '../engine.ts'
import { inPieces, typeByte } from './pieces.ts'

// llama.cpp's token types in a GGUF file
const typeUnknown = 2
const typeControl = 3
const typeUserDefined = 4

/** What a vocabulary is made of, as plain data: it can be handed to another process. */
export interface VocabularyTable {
  readonly kind: 'spm' | 'bpe'
  /** The text of each token, by its id. */
  readonly names: readonly string[]
  /** llama.cpp's type of each token; null where the file has none. */
  readonly types: readonly number[] | null
  readonly bos: number | null
  readonly eos: number | null
  readonly addsBos: boolean
  readonly specials: readonly (readonly [name: string, token: SpecialToken])[]
  /** Tokens that end a generation. */
  readonly ends: readonly number[]
}

/** Tokens of plain text. */
export function tokenizer(model: LlamaModel): (text: string) => number[] {
  return (text) => model.tokenize(text, false)
}

/**
 * What the file and the engine say about the tokens.
 * Throws `model_unsupported` for vocabularies other than SentencePiece (`llama`) and byte-level BPE (`gpt2`).
 */
export function tabulate(model: LlamaModel): VocabularyTable {
  const { tokens: names, token_type: types } = model.fileInfo.metadata.tokenizer.ggml
  const kind = model.vocabularyType
  if ((kind !== 'spm' && kind !== 'bpe') || !Array.isArray(names) || names.length === 0)
    throw fail('model_unsupported', `expected an SPM or BPE vocabulary, found ${kind}`)
  const id = (token: number): Token => token as Token

  const isControl = (token: number): boolean => {
    const type = types?.[token]
    if (type === typeControl) return true
    // llama.cpp turns well-known end-of-turn words into control tokens even where the file forgot to
    return /^[<[].*[>\]]$/.test(names[token] ?? '') && (model.getTokenAttributes(id(token)).control || model.isEogToken(id(token)))
  }
  const specials: [string, SpecialToken][] = []
  const ends: number[] = []
  for (const [token, name] of names.entries()) {
    if (model.isEogToken(id(token))) ends.push(token)
    const control = isControl(token)
    if (!control && types?.[token] !== typeUserDefined) continue
    const { lstrip, rstrip } = model.getTokenAttributes(id(token))
    specials.push([name, { id: token, kind: control ? 'control' : 'user-defined', stripsLeft: lstrip, stripsRight: rstrip }])
  }
  const { bos, eos, shouldPrependBosToken: addsBos } = model.tokens
  return { kind, names, types: types ?? null, bos, eos, addsBos, specials, ends }
}

/**
 * A vocabulary of its table. The bytes of a token come from the file's own token list and not from the engine's detokenizer, which
 * returns text and so loses the bytes of characters that span several tokens.
 */
export function vocabularyOf(table: VocabularyTable, encode: (text: string) => number[]): Vocabulary {
  const { kind, names, types, bos, eos, addsBos } = table
  const encodePieces = inPieces(table, encode)
  const plainBytes = kind === 'spm' ? spmBytes : bpeBytes
  const specials = new Map(table.specials)
  const ends = new Set(table.ends)
  const bytesOf = (token: number): Uint8Array => {
    const name = names[token]
    if (name === undefined) throw new TypeError(`vocabulary: no token ${token}`)
    const special = specials.get(name)
    if (types?.[token] === typeUnknown) return new Uint8Array(0)
    if (special?.id === token) return special.kind === 'control' ? new Uint8Array(0) : utf8(name)
    return plainBytes(name, types?.[token] === typeByte)
  }
  // Asked for at every token of an answer, and for each candidate of a constrained one.
  const known: (Uint8Array | undefined)[] = Array.from({ length: names.length })
  const texts: (string | null | undefined)[] = Array.from({ length: names.length })
  const bytes = (token: number): Uint8Array => {
    const found = known[token] ?? bytesOf(token)
    known[token] = found
    return found
  }
  return {
    size: names.length,
    bos,
    eos,
    addsBos,
    specials,
    encode: (text) => (text === '' ? [] : encodePieces(text)),
    bytes,
    text: (token) => {
      const found = texts[token]
      if (found !== undefined) return found
      const text = wholeText(bytes(token))
      texts[token] = text
      return text
    },
    name: (token) => names[token] ?? '',
    isEndOfGeneration: (token) => ends.has(token),
  }
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function wholeText(bytes: Uint8Array): string | null {
  try {
    return strict.decode(bytes)
  } catch {
    return null
  }
}

/** SentencePiece writes a space as U+2581 and a lone byte as `<0x0A>`. */
function spmBytes(name: string, isByte: boolean): Uint8Array {
  if (isByte) return Uint8Array.of(Number.parseInt(name.slice(3, 5), 16))
  return utf8(name.replaceAll('\u2581', ' '))
}

/** Byte-level BPE writes each byte as one printable character; anything else stands for itself, as in llama.cpp. */
function bpeBytes(name: string): Uint8Array {
  const bytes: number[] = []
  for (const character of name) {
    const byte = byteOfCharacter.get(character)
    if (byte === undefined) bytes.push(...utf8(character))
    else bytes.push(byte)
  }
  return Uint8Array.from(bytes)
}

/** GPT-2's table: printable Latin-1 stands for itself, the 68 other bytes, in order, for U+0100 onwards. */
const byteOfCharacter: ReadonlyMap<string, number> = new Map(
  Array.from({ length: 256 }, (_, byte) => byte).map((byte) => [
    String.fromCharCode(isPrintable(byte) ? byte : 0x100 + unprintableBefore(byte)),
    byte,
  ]),
)

function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte !== 0xad)
}

function unprintableBefore(byte: number): number {
  let count = 0
  for (let other = 0; other < byte; other++) if (!isPrintable(other)) count++
  return count
}

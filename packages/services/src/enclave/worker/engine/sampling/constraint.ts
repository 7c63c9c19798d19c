import type { Vocabulary } from '../engine.ts'
import { Acceptor } from '../grammar/acceptor.ts'
import type { Grammar } from '../grammar/grammar.ts'

/** What an answer is held to: at each position only some tokens may come, which depends on the tokens so far and on nothing else. */
export interface Constraint {
  /** What it is made of, for an engine in another process: see {@link constrain}. */
  readonly grammar: Grammar
  readonly written: ReadonlyMap<number, Uint8Array>
  /** For one answer, from its beginning. */
  start(): TokenMask
}

export interface TokenMask {
  allows(token: number): boolean
  /** Goes on with a token that is allowed. */
  accept(token: number): void
}

/**
 * Holds answers to a grammar: a token may come where its bytes may, an end-of-generation token where the text is complete. Other tokens without
 * bytes (control tokens) never may, except those in `written`, which count as these bytes.
 */
export function constrain(grammar: Grammar, vocabulary: Vocabulary, written: ReadonlyMap<number, Uint8Array> = new Map()): Constraint {
  return {
    grammar,
    written,
    start: () => {
      const acceptor = new Acceptor(grammar)
      return {
        allows: (token) => {
          if (vocabulary.isEndOfGeneration(token)) return acceptor.complete
          const bytes = written.get(token) ?? vocabulary.bytes(token)
          return bytes.length > 0 && acceptor.allows(bytes)
        },
        accept: (token) => {
          if (!vocabulary.isEndOfGeneration(token)) acceptor.accept(written.get(token) ?? vocabulary.bytes(token))
        },
      }
    },
  }
}

const spelling = new WeakMap<Vocabulary, boolean>()

/** Whether every byte of UTF-8 is a token by itself, so that whatever a grammar demands can be written. Counted once for each vocabulary. */
export function spellsEveryByte(vocabulary: Vocabulary): boolean {
  const known = spelling.get(vocabulary)
  if (known !== undefined) return known
  const single = new Set<number>()
  for (let token = 0; token < vocabulary.size; token++) {
    const bytes = vocabulary.bytes(token)
    if (bytes.length === 1 && !vocabulary.isEndOfGeneration(token)) single.add(bytes[0] ?? 0)
  }
  const neverInUtf8 = (byte: number): boolean => byte === 0xc0 || byte === 0xc1 || byte > 0xf4
  const all = Array.from({ length: 256 }, (_, byte) => byte).every((byte) => single.has(byte) || neverInUtf8(byte))
  spelling.set(vocabulary, all)
  return all
}

import { Acceptor } from '../../../src/enclave/worker/engine/grammar/acceptor.ts'
import { finishGrammar, type Grammar } from '../../../src/enclave/worker/engine/grammar/grammar.ts'
import { GraphBuilder, type Part } from '../../../src/enclave/worker/engine/grammar/graph.ts'

export function grammarFor(make: (graph: GraphBuilder) => Part): Grammar {
  const graph = new GraphBuilder()
  return finishGrammar(graph, graph.rule(make(graph)))
}

/** `whole`, `beginning` (more must follow), or `no`. */
export function verdict(grammar: Grammar, text: string | Uint8Array): 'whole' | 'beginning' | 'no' {
  const acceptor = new Acceptor(grammar)
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text
  // In pieces, as an answer comes: what is followed for one token is bounded.
  for (let at = 0; at < bytes.length; at += 1000) {
    const piece = bytes.subarray(at, at + 1000)
    if (!acceptor.allows(piece)) return 'no'
    acceptor.accept(piece)
  }
  return acceptor.complete ? 'whole' : 'beginning'
}

/** A text that the grammar accepts, byte by byte at random; ends where it may with the given chance, null where it does not end within `most`. */
export function randomText(grammar: Grammar, random: () => number, most: number): string | null {
  const acceptor = new Acceptor(grammar)
  const bytes: number[] = []
  while (bytes.length < most) {
    const allowed = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => acceptor.allows(Uint8Array.of(byte)))
    if (acceptor.complete && (allowed.length === 0 || random() < 0.3)) return new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(bytes))
    if (allowed.length === 0) throw new Error('a dead end')
    // Closing is likelier than in a fair draw, or texts would hardly end.
    const closing = allowed.filter((byte) => byte === 0x22 || byte === 0x5d || byte === 0x7d)
    const from = closing.length > 0 && random() < 0.5 ? closing : allowed
    const byte = from[Math.floor(random() * from.length)] ?? 0
    acceptor.accept(Uint8Array.of(byte))
    bytes.push(byte)
  }
  return null
}

import { gbnfPart } from '../../src/enclave/worker/engine/grammar/gbnf.ts'
import { finishGrammar, type Grammar } from '../../src/enclave/worker/engine/grammar/grammar.ts'
import { GraphBuilder } from '../../src/enclave/worker/engine/grammar/graph.ts'

export function gbnf(text: string): Grammar {
  const graph = new GraphBuilder()
  return finishGrammar(graph, graph.rule(gbnfPart(graph, text)))
}

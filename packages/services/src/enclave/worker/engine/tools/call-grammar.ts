import { byteSet, GrammarError, type GraphBuilder, type Node, type Part, sequence } from '../grammar/graph.ts'
import { JsonParts } from '../grammar/json.ts'
import { schemaPart } from '../grammar/json-schema.ts'
import type { Tool, ToolUse } from '../request/tools.ts'
import type { ToolFormat } from './tool-format.ts'

/** A grammar for answers of calls alone, as many as the request allows (`required`, or one tool by name). */
export function callsPart(graph: GraphBuilder, use: ToolUse, format: ToolFormat): Part {
  const tools = use.choice.kind === 'named' ? use.tools.filter(({ name }) => use.choice.kind === 'named' && name === use.choice.name) : use.tools
  return calls(graph, tools, format, use.parallel && use.choice.kind !== 'named' ? format.most : 1)
}

/** A grammar for answers of any text, then calls or none: for tools whose calls must be of their schema (`strict`) while the model decides whether it calls. */
export function textOrCallsPart(graph: GraphBuilder, use: ToolUse, format: ToolFormat): Part {
  const called = calls(graph, use.tools, format, use.parallel ? format.most : 1)
  return (next) => {
    const start = called(next)
    if (format.begin !== null) return textUntil(graph, format.begin, start, next)
    const anything = graph.repeat(graph.byte(byteSet([0, 0xff])), 0, null)
    const space = byteSet([0x09, 0x0a], [0x0d, 0x0d], [0x20, 0x20])
    const text = sequence(graph.byte(byteSet([0, 0xff]).map((_, byte) => (byte === 0x7b || space[byte] === 1 ? 0 : 1))), anything)
    return graph.split([start, text(next), next])
  }
}

function calls(graph: GraphBuilder, tools: readonly Tool[], format: ToolFormat, most: number): Part {
  const json = new JsonParts(graph)
  const one = graph.call(graph.rule(graph.any(...tools.map((tool) => call(graph, json, tool, format)))))
  if (format.list) return sequence(graph.text(format.begin ?? ''), graph.optional(graph.text(' ')), json.list('[', one, ']', 1, most))
  if (format.begin === null || format.end === null) return one
  const framed = graph.call(graph.rule(sequence(graph.text(`${format.begin}\n`), one, graph.text(`\n${format.end}`))))
  return sequence(framed, graph.repeat(sequence(graph.text('\n'), framed), 0, most - 1))
}

function call(graph: GraphBuilder, json: JsonParts, tool: Tool, format: ToolFormat): Part {
  const head = graph.text(`{"name": ${JSON.stringify(tool.name)}, "${format.argumentsName}": `)
  return sequence(head, argumentsPart(graph, json, tool), graph.text('}'))
}

/** Without `strict`, a schema outside the subset leaves any object. */
function argumentsPart(graph: GraphBuilder, json: JsonParts, tool: Tool): Part {
  if (tool.parameters === null) return json.object
  try {
    return schemaPart(graph, tool.parameters)
  } catch (error) {
    if (tool.strict || !(error instanceof GrammarError)) throw error
    return json.object
  }
}

/** Text in which a word does not occur, and at any point what follows: `after`, which begins with the word, or the end. One node for each matched beginning. */
function textUntil(graph: GraphBuilder, word: string, after: Node, end: Node): Node {
  const bytes = new TextEncoder().encode(word)
  const states = Array.from(bytes, () => graph.split([after, end]))
  for (const [matched, state] of states.entries()) {
    const byTarget = new Map<number, number[]>()
    for (let byte = 0; byte < 256; byte++) {
      const target = progress(bytes, matched, byte)
      byTarget.set(target, [...(byTarget.get(target) ?? []), byte])
    }
    for (const [target, group] of byTarget) {
      const next = states[target]
      if (next !== undefined) state.to.push(graph.byte(byteSet(...group.map((byte) => [byte, byte] as const)))(next))
    }
  }
  return states[0] ?? end
}

/** How many bytes of the word have been matched after one more byte. */
function progress(word: Uint8Array, matched: number, byte: number): number {
  const text = [...word.subarray(0, matched), byte]
  for (let length = Math.min(text.length, word.length); length > 0; length--)
    if (text.slice(-length).every((one, i) => one === word[i])) return length
  return 0
}

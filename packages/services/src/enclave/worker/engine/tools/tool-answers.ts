import type { Vocabulary } from '../engine.ts'
import { type AnswerFormat, grammarOf } from '../request/answer-format.ts'
import type { ToolUse } from '../request/tools.ts'
import { callsPart, textOrCallsPart } from './call-grammar.ts'
import { CallReader } from './call-reader.ts'
import { type ToolFormat, writtenMarkers } from './tool-format.ts'

/** What tools mean for the answers to one request. */
export interface ToolAnswers {
  readonly format: ToolFormat
  readonly use: ToolUse
  /** What answers are held to; null where the model may write what it likes. */
  readonly demanded: AnswerFormat | null
  /** Control tokens that count as text. */
  readonly written: ReadonlyMap<number, Uint8Array>
  /** For one answer. */
  newReader(): CallReader
}

/** Throws {@link RequestError} where calls must be of a schema that is outside the subset. */
export function toolAnswers(use: ToolUse, format: ToolFormat, vocabulary: Vocabulary): ToolAnswers {
  return {
    format,
    use,
    demanded: demandedOf(use, format),
    written: writtenMarkers(format, vocabulary),
    newReader: () =>
      new CallReader(
        format,
        use.tools.map(({ name }) => name),
      ),
  }
}

function demandedOf(use: ToolUse, format: ToolFormat): AnswerFormat | null {
  const must = use.choice.kind !== 'auto'
  if (!must && !use.tools.some(({ strict }) => strict)) return null
  const part = must ? callsPart : textOrCallsPart
  return {
    kind: 'tool_calls',
    source: JSON.stringify([use.choice, use.parallel, use.tools.map(({ name, parameters, strict }) => [name, parameters, strict])]),
    grammar: grammarOf('tools', (graph) => part(graph, use, format)),
  }
}

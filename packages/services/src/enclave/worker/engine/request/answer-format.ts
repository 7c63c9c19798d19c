import { gbnfPart } from '../grammar/gbnf.ts'
import { finishGrammar, type Grammar } from '../grammar/grammar.ts'
import { GrammarError, GraphBuilder, type Part } from '../grammar/graph.ts'
import { schemaPart } from '../grammar/json-schema.ts'
import { RequestError } from '../request-error.ts'
import { isObject, type Members } from './members.ts'

/** What form a request demands of its answers. */
export interface AnswerFormat {
  readonly kind: 'json_object' | 'json_schema' | 'choice' | 'gbnf' | 'tool_calls'
  /** What the grammar was made of, as text: for its digest in the receipt. */
  readonly source: string
  readonly grammar: Grammar
}

const maxChoices = 1_024
const maxChoiceLength = 2_048

/**
 * Reads `response_format`, and `guided_json`, `guided_choice`, `guided_grammar` (GBNF; also as `grammar`) as other servers have them. At most one of
 * them may be there. Throws {@link RequestError} with the place in a schema that is outside the subset.
 */
export function readAnswerFormat(members: Members): AnswerFormat | null {
  const asked = [
    responseFormat(members.take('response_format')),
    schemaFormat('guided_json', members.take('guided_json')),
    choiceFormat(members.take('guided_choice')),
    grammarFormat('guided_grammar', members.take('guided_grammar')),
    grammarFormat('grammar', members.take('grammar')),
  ].filter((format) => format !== null)
  const [format, another] = asked
  if (another !== undefined) throw new RequestError('the form of an answer is given twice', { param: 'response_format' })
  return format ?? null
}

/** Builds a grammar of a client's making; its errors are those of a parameter. */
export function grammarOf(param: string, make: (graph: GraphBuilder) => Part): Grammar {
  try {
    const graph = new GraphBuilder()
    return finishGrammar(graph, graph.rule(make(graph)))
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error
    throw new RequestError(`${param} is not supported or malformed: ${error.message}`, { param, code: 'unsupported_value' })
  }
}

function responseFormat(value: unknown): AnswerFormat | null {
  const param = 'response_format'
  if (value === undefined) return null
  if (!isObject(value)) throw new RequestError('response_format must be an object', { param })
  const { type, json_schema: described, ...rest } = value
  if (Object.keys(rest).length > 0) throw new RequestError('response_format holds a member that is not supported', { param })
  if (type === 'json_schema') {
    const of = `${param}.json_schema`
    if (!isObject(described)) throw new RequestError(`${of} must be an object`, { param: of })
    const { name, schema, strict, description, ...others } = described
    if (typeof name !== 'string' || !/^[A-Za-z0-9_-]{1,64}$/.test(name))
      throw new RequestError(`${of}.name must be 1 to 64 letters, digits, _ or -`, { param: `${of}.name` })
    // Answers are held to the schema with and without `strict`; the description has no effect.
    const known =
      (strict === undefined || strict === null || typeof strict === 'boolean') && (description === undefined || typeof description === 'string')
    if (!known || Object.keys(others).length > 0) throw new RequestError(`${of} holds a member that is not supported`, { param: of })
    if (schema === undefined) throw new RequestError(`${of}.schema must be there`, { param: `${of}.schema` })
    return schemaFormat(`${of}.schema`, schema)
  }
  if (described !== undefined) throw new RequestError('json_schema needs the type json_schema', { param })
  if (type === 'text') return null
  if (type !== 'json_object') throw new RequestError('response_format.type must be text, json_object or json_schema', { param: `${param}.type` })
  return jsonObjectFormat(param)
}

/** Any JSON object. */
export function jsonObjectFormat(param: string): AnswerFormat {
  return { kind: 'json_object', source: '', grammar: grammarOf(param, (graph) => schemaPart(graph, { type: 'object' })) }
}

/** What is of a JSON Schema; null without one. Throws {@link RequestError}. */
export function schemaFormat(param: string, value: unknown): AnswerFormat | null {
  if (value === undefined) return null
  // As an object it was read by the same parser as the rest of the request; a text would need another.
  if (!isObject(value) && value !== true) throw new RequestError(`${param} must be an object`, { param })
  return { kind: 'json_schema', source: JSON.stringify(value), grammar: grammarOf(param, (graph) => schemaPart(graph, value)) }
}

function choiceFormat(value: unknown): AnswerFormat | null {
  const param = 'guided_choice'
  if (value === undefined) return null
  const fits = (choice: unknown): choice is string =>
    typeof choice === 'string' && choice !== '' && choice.length <= maxChoiceLength && choice.isWellFormed()
  if (!Array.isArray(value) || value.length === 0 || value.length > maxChoices || !value.every(fits))
    throw new RequestError(`guided_choice must hold 1 to ${maxChoices} strings of 1 to ${maxChoiceLength} characters`, { param })
  return { kind: 'choice', source: JSON.stringify(value), grammar: grammarOf(param, (graph) => graph.oneOf(value)) }
}

function grammarFormat(param: string, value: unknown): AnswerFormat | null {
  if (value === undefined) return null
  if (typeof value !== 'string' || !value.isWellFormed()) throw new RequestError(`${param} must be a string`, { param })
  return { kind: 'gbnf', source: value, grammar: grammarOf(param, (graph) => gbnfPart(graph, value)) }
}

import type { Vocabulary } from '../engine.ts'

/** How a model writes calls of tools. `hermes`: Hermes and Qwen, `llama3`: Llama 3, `mistral`: Mistral up to version 7 of its tokenizer. */
export type ToolFormatName = 'hermes' | 'llama3' | 'mistral'

export interface ToolFormat {
  readonly name: ToolFormatName
  /** What comes before a call; null where a call is the whole answer and begins with a brace. */
  readonly begin: string | null
  /** What comes after it; null where the calls go on to the end of the answer. */
  readonly end: string | null
  /** The member that holds the arguments. */
  readonly argumentsName: 'arguments' | 'parameters'
  /** Calls are in one list. */
  readonly list: boolean
  /** The most calls that one answer can hold. */
  readonly most: number
  /** Length of the ids of calls; Mistral's template takes no other. */
  readonly idLength: number | null
}

const formats: Readonly<Record<ToolFormatName, ToolFormat>> = {
  hermes: { name: 'hermes', begin: '<tool_call>', end: '</tool_call>', argumentsName: 'arguments', list: false, most: 16, idLength: null },
  llama3: { name: 'llama3', begin: null, end: null, argumentsName: 'parameters', list: false, most: 1, idLength: null },
  mistral: { name: 'mistral', begin: '[TOOL_CALLS]', end: null, argumentsName: 'arguments', list: true, most: 16, idLength: 9 },
}

/** The format that a chat template asks its model for, by words that stand in it; null where it takes no tools, or asks for a format that is not known here. */
export function toolFormatOf(template: string): ToolFormat | null {
  if (!/\btools\b/.test(template)) return null
  if (template.includes('[TOOL_CALLS]')) return template.includes('[ARGS]') || template.includes('[CALL_ID]') ? null : formats.mistral
  if (template.includes('<tool_call>')) return template.includes('<function=') || template.includes('<arg_key>') ? null : formats.hermes
  if (template.includes('"parameters": dictionary') && template.includes('ipython')) return formats.llama3
  return null
}

/** The words of the format that are control tokens of this vocabulary, with the text they count as: else a model would write them unseen. */
export function writtenMarkers({ begin, end }: ToolFormat, { specials }: Vocabulary): ReadonlyMap<number, Uint8Array> {
  const written = new Map<number, Uint8Array>()
  for (const word of [begin, end]) {
    const token = word === null ? undefined : specials.get(word)
    if (word !== null && token?.kind === 'control') written.set(token.id, new TextEncoder().encode(word))
  }
  return written
}

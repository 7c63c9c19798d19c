import { createHash } from 'node:crypto'
import { utf8 } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import type { Vocabulary } from '../engine.ts'
import type { ChatMessage } from '../request/messages.ts'
import type { Tool } from '../request/tools.ts'
import { RequestError } from '../request-error.ts'
import { type ToolFormat, toolFormatOf } from '../tools/tool-format.ts'
import { compileTemplate } from './jinja.ts'
import { cutAtWords, type WordBreaker, type WordFinder, wordBreaker, wordFinder } from './special-words.ts'
import { breakDeep, templateMessage, templateTool } from './template-variables.ts'

/** The chat template of one model, compiled once. */
export interface ChatTemplate {
  /** `sha256:` and hex over the UTF-8 bytes of the template text. */
  readonly digest: string
  /** How the model writes calls of tools; absent where its template takes none. */
  readonly toolFormat?: ToolFormat
  /**
   * Prompt tokens of a conversation, ending where the assistant's answer begins. Control tokens come from the template only.
   * Throws {@link RequestError} when the template refuses the conversation or a text cannot be kept apart from control tokens.
   */
  render(messages: readonly ChatMessage[], tools?: readonly Tool[]): number[]
  /** Tokens of a text without any template, after the BOS token where the file asks for one. Throws {@link RequestError} at `param`. */
  encodeText(text: string, param: string): number[]
}

/**
 * Prepares a model's own template. How text of a client is kept from becoming a control token:
 *
 * 1. In every content, and every text of tools and calls, each occurrence of a reserved word (`<|im_end|>`) is broken by a mark, a private-use character that occurs nowhere
 *    in the conversation, the template or the vocabulary. The template still sees the real text around it, so its trimming and splitting work.
 * 2. The rendered text is cut at special words. Broken ones no longer match, so every match was written by the template.
 * 3. Marks are removed from the plain text between, which is tokenized with control tokens off. What comes out is checked: a reserved
 *    token there is an error, never a prompt.
 *
 * Reserved are control tokens, and those user-defined tokens that the template itself writes, also with tools. Other user-defined tokens are ordinary words.
 * The template has no clock (jinja.ts), so equal conversations give equal prompts. The role `developer` is rendered as `system`.
 * Throws `model_unsupported` when there is no template or it does not render.
 */
export function loadChatTemplate(text: string | null, vocabulary: Vocabulary): ChatTemplate {
  if (text === null) throw fail('model_unsupported', 'the model file has no chat template')
  const template = compile(text)
  const fixed = {
    bos_token: vocabulary.bos === null ? '' : vocabulary.name(vocabulary.bos),
    eos_token: vocabulary.eos === null ? '' : vocabulary.name(vocabulary.eos),
    add_generation_prompt: true,
  }
  const apply = (messages: readonly object[], tools?: readonly object[]): string => template({ ...fixed, messages, ...(tools && { tools }) })
  const toolFormat = toolFormatOf(text)
  const words = [...vocabulary.specials.keys()].filter((word) => word.length > 1)
  const find = wordFinder(words)
  const reserved = reservedTokens(trial(apply) + (toolFormat === null ? '' : toolTrial(apply)), find, vocabulary)
  const breakWords: WordBreaker = wordBreaker(words.filter((word) => reserved.has(vocabulary.specials.get(word)?.id ?? -1)))

  const render = (messages: readonly ChatMessage[], tools?: readonly Tool[]): number[] => {
    if (toolFormat === null && (tools !== undefined || messages.some(({ role, toolCalls }) => role === 'tool' || toolCalls !== undefined)))
      throw new RequestError('the chat template of this model takes no tools, or in a way that is not supported', {
        param: 'tools',
        code: 'unsupported_value',
      })
    const shown = messages.map(templateMessage)
    const offered = tools?.map(templateTool)
    const mark = unusedCharacter([text, ...words, JSON.stringify([shown, offered])])
    const breakAll = (value: unknown): unknown => breakDeep(value, (one) => breakWords(one, mark))
    let rendered: string
    try {
      rendered = apply(breakAll(shown) as object[], breakAll(offered) as object[] | undefined)
    } catch {
      throw new RequestError(
        'the chat template of this model refuses these messages: their roles, the order of the roles, or what it expects of tools',
        { param: 'messages' },
      )
    }
    const tokens: number[] = vocabulary.addsBos && vocabulary.bos !== null ? [vocabulary.bos] : []
    for (const piece of cutAtWords(rendered, find, vocabulary.specials)) {
      if (typeof piece === 'string') tokens.push(...encodePlain(piece, mark, reserved, vocabulary, 'messages'))
      // A template that writes the BOS itself, for a file that asks for one too, means one.
      else if (tokens.length !== 1 || piece.id !== vocabulary.bos || tokens[0] !== piece.id) tokens.push(piece.id)
    }
    return tokens
  }
  const encodeText = (plain: string, param: string): number[] => {
    const mark = unusedCharacter([plain, ...words])
    const tokens = encodePlain(breakWords(plain, mark), mark, reserved, vocabulary, param)
    return vocabulary.addsBos && vocabulary.bos !== null ? [vocabulary.bos, ...tokens] : tokens
  }
  return { digest: `sha256:${createHash('sha256').update(utf8(text)).digest('hex')}`, ...(toolFormat && { toolFormat }), render, encodeText }
}

function compile(text: string): (variables: Readonly<Record<string, unknown>>) => string {
  try {
    return compileTemplate(text)
  } catch (cause) {
    throw fail('model_unsupported', 'the chat template of the model is not Jinja that this version reads', cause)
  }
}

function trial(apply: (messages: readonly object[]) => string): string {
  try {
    return apply([{ role: 'user', content: 'x' }])
  } catch (cause) {
    throw fail('model_unsupported', 'the chat template of the model does not render a single user message', cause)
  }
}

/** What the template writes around tools, their calls and results; nothing where it does not render this conversation. */
function toolTrial(apply: (messages: readonly object[], tools: readonly object[]) => string): string {
  const call = { id: 'call00000', name: 'f', arguments: {} }
  const conversation: readonly ChatMessage[] = [
    { role: 'user', content: 'x' },
    { role: 'assistant', content: '', toolCalls: [call] },
    { role: 'tool', content: 'x', toolCallId: call.id, name: call.name },
    { role: 'assistant', content: 'x' },
    { role: 'user', content: 'x' },
  ]
  try {
    return apply(conversation.map(templateMessage), [templateTool({ name: 'f', description: null, parameters: null, strict: false })])
  } catch {
    return ''
  }
}

/** Ids that a client's text must never produce. */
function reservedTokens(rendered: string, find: WordFinder, { specials }: Vocabulary): ReadonlySet<number> {
  const reserved = new Set<number>()
  for (const { id, kind } of specials.values()) if (kind === 'control') reserved.add(id)
  for (const piece of cutAtWords(rendered, find, specials)) if (typeof piece !== 'string') reserved.add(piece.id)
  return reserved
}

function encodePlain(piece: string, mark: string, reserved: ReadonlySet<number>, vocabulary: Vocabulary, param: string): number[] {
  const isClean = (tokens: readonly number[]): boolean => !tokens.some((token) => reserved.has(token) || vocabulary.isEndOfGeneration(token))
  const whole = vocabulary.encode(piece.replaceAll(mark, ''))
  if (isClean(whole)) return whole
  // A reserved user-defined token: the tokenizer knows no way to leave it off, but it cannot match across two calls.
  const parts = piece.split(mark).flatMap((part) => vocabulary.encode(part))
  if (isClean(parts)) return parts
  throw new RequestError(`${param} hold text that this model cannot tell from its control tokens`, { param })
}

function unusedCharacter(texts: readonly string[]): string {
  const used = new Set(texts.flatMap((text) => text.match(/[\uE000-\uF8FF]/g) ?? []))
  for (let code = 0xe000; code <= 0xf8ff; code++) {
    const character = String.fromCharCode(code)
    if (!used.has(character)) return character
  }
  throw new RequestError('the messages use every private-use character; at least one must be free', { param: 'messages' })
}

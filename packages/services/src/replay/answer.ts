import { fromUtf8, parseJson } from 'veritee/bytes'
import { EventSplitter, maxStreamEvents } from 'veritee/receipt'
import { chatEndpoint } from '../http/chat-request.ts'

/** What one choice of a chat or text completion says, plain or streamed: of everything in it, what a replay can compare. */
export interface Answer {
  readonly text: string
  /** Of tools, without their ids. */
  readonly calls: readonly AnswerCall[]
  /** null where the answer broke off, or is an error. */
  readonly finishReason: string | null
  /** The bytes of each token, and its name where it has none; null where the request did not ask for them. */
  readonly tokens: readonly AnswerToken[] | null
}

export interface AnswerToken {
  /** null where only the name is told, as in text completions: a text where the token has one. */
  readonly bytes: readonly number[] | null
  readonly name: string
}

export interface AnswerCall {
  readonly name: string
  readonly arguments: string
}

const json = { maxLength: 1 << 26, maxDepth: 16 }

/** Reads a response body of `n` choices, of a chat or a text completion. Throws `malformed_json`, `malformed_encoding`, `response_too_large`; `TypeError` for JSON of another shape. */
export function parseAnswers(body: Uint8Array, endpoint: string, streamed: boolean, n: number): Answer[] {
  const isChat = endpoint === chatEndpoint
  const pieces = streamed ? streamedPieces(body) : [parseJson(fromUtf8(body), json)]
  const answers = Array.from({ length: n }, (): Growing => ({ text: '', calls: [], finishReason: null, tokens: null }))
  for (const piece of pieces) {
    const { choices = [] } = record(piece)
    if (!Array.isArray(choices) || choices.length > n) throw new TypeError(`answer: expected ${n} choices`)
    for (const choice of choices.map(record)) {
      const answer = typeof choice.index === 'number' ? answers[choice.index] : undefined
      if (answer === undefined) throw new TypeError(`answer: expected choices below ${n}`)
      const message = isChat ? record(streamed ? choice.delta : choice.message) : {}
      const content = isChat ? message.content : choice.text
      addCalls(answer.calls, message.tool_calls, streamed)
      if (typeof content === 'string') answer.text += content
      if (typeof choice.finish_reason === 'string') answer.finishReason = choice.finish_reason
      if (choice.logprobs !== null && choice.logprobs !== undefined) {
        answer.tokens ??= []
        for (const token of isChat ? tokensOf(record(choice.logprobs).content) : namedTokens(choice.logprobs)) answer.tokens.push(token)
      }
    }
  }
  return answers
}

interface Growing extends Answer {
  text: string
  readonly calls: { name: string; arguments: string }[]
  finishReason: string | null
  tokens: AnswerToken[] | null
}

function streamedPieces(body: Uint8Array): unknown[] {
  return eventsOf(body)
    .filter((event) => event.startsWith('data: ') && event !== 'data: [DONE]\n\n')
    .map((event) => parseJson(event.slice(6), json))
}

/** Throws `TypeError` for too many. */
export function eventsOf(body: Uint8Array): string[] {
  const splitter = new EventSplitter()
  const events = splitter.push(body)
  if (events.length > maxStreamEvents) throw new TypeError(`answer: expected at most ${maxStreamEvents} events`)
  return events.map((event) => fromUtf8(event))
}

/** Throws `TypeError`. */
export function tokensOf(content: unknown): AnswerToken[] {
  if (!Array.isArray(content)) return []
  return content.map(record).map(({ bytes, token }) => {
    if (!Array.isArray(bytes) || !bytes.every((byte) => Number.isInteger(byte) && byte >= 0 && byte < 256) || typeof token !== 'string')
      throw new TypeError('answer: expected the bytes of each token')
    return { bytes: bytes as number[], name: token }
  })
}

/** Whole calls, or pieces of them: the first of each has its name. */
function addCalls(calls: Growing['calls'], value: unknown, streamed: boolean): void {
  if (value === undefined) return
  if (!Array.isArray(value)) throw new TypeError('answer: expected a list of calls')
  for (const piece of value.map(record)) {
    const { name, arguments: given } = record(piece.function)
    const at = streamed ? piece.index : calls.length
    if (typeof given !== 'string') throw new TypeError('answer: expected arguments of a call')
    const last = calls.at(-1)
    if (at === calls.length && typeof name === 'string') calls.push({ name, arguments: given })
    else if (streamed && last !== undefined && at === calls.length - 1 && name === undefined) last.arguments += given
    else throw new TypeError('answer: expected calls one after the other')
  }
}

function namedTokens(logprobs: unknown): AnswerToken[] {
  const { tokens } = record(logprobs)
  if (!Array.isArray(tokens) || !tokens.every((token) => typeof token === 'string')) throw new TypeError('answer: expected the names of tokens')
  return tokens.map((name: string) => ({ bytes: null, name }))
}

/** Throws `TypeError`. */
export function record(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new TypeError('answer: expected an object')
  return value as Record<string, unknown>
}

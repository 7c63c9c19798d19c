import { readWhole, toldFinishReason } from '../enclave/worker/chat-format.ts'
import type { CallReader, ChoiceResult } from '../enclave/worker/engine/index.ts'
import type { ToolFormat } from '../enclave/worker/engine/tools/tool-format.ts'
import { Output } from '../enclave/worker/responses/output.ts'
import { responsesEndpoint } from '../http/chat-request.ts'
import type { Answer, AnswerCall } from './answer.ts'

/** The text that a model writes in the usual way for an answer with these calls. A guess: the answer does not hold what is between them. */
export function usualText({ text, calls }: Answer, format: ToolFormat | undefined): string {
  if (format === undefined || calls.length === 0) return text
  const { begin, end, argumentsName, list } = format
  const written = calls.map(({ name, arguments: given }) => `{"name": ${JSON.stringify(name)}, "${argumentsName}": ${given}}`)
  if (list) return `${text}${begin ?? ''}[${written.join(', ')}]`
  if (begin === null || end === null) return text + written.join('')
  // The line ends between calls are text of the answer, and come last in it.
  const between = '\n'.repeat(calls.length - 1)
  const before = text.endsWith(between) ? text.slice(0, text.length - between.length) : text
  return before + written.map((call) => `${begin}\n${call}\n${end}`).join('\n')
}

/**
 * True where the answer says what a worker makes of this text: content and calls, whose ids are random and mean nothing. Of an answer that was aborted,
 * what was sent must be a beginning.
 */
export function tellsSame(
  answer: Answer,
  text: string,
  reader: CallReader | null,
  { endpoint, stream, aborted }: { endpoint: string; stream: boolean; aborted: boolean },
): boolean {
  const { content, calls } = endpoint === responsesEndpoint ? readResponse(text, reader) : readWhole(text, reader)
  if (aborted) return content.startsWith(answer.text) && isBeginning(answer.calls, calls)
  const told = !stream && calls.length > 0 && content.trim() === '' ? '' : content
  return answer.text === told && answer.calls.length === calls.length && isBeginning(answer.calls, calls, true)
}

/** As the worker tells it. */
export function finishReasonOf({ text, finishReason }: ChoiceResult, reader: CallReader | null): string | null {
  return toldFinishReason(finishReason, readWhole(text, reader).calls.length)
}

/** A response leaves out white space that stands alone beside calls. */
function readResponse(text: string, reader: CallReader | null): { readonly content: string; readonly calls: readonly AnswerCall[] } {
  const output = new Output(reader, undefined)
  output.add(text)
  output.end(true)
  return {
    content: output.items.flatMap((item) => (item.type === 'message' ? item.content.map((part) => part.text) : [])).join(''),
    calls: output.items.flatMap((item) => (item.type === 'function_call' ? [{ name: item.name, arguments: item.arguments }] : [])),
  }
}

function isBeginning(sent: readonly AnswerCall[], whole: readonly AnswerCall[], isWhole = false): boolean {
  return sent.every(({ name, arguments: given }, i) => {
    const call = whole[i]
    if (call === undefined || call.name !== name) return false
    return !isWhole && i === sent.length - 1 ? call.arguments.startsWith(given) : call.arguments === given
  })
}

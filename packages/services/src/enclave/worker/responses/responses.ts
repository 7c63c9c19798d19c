import { fail } from 'veritee/errors'
import { maxEventBytes } from 'veritee/receipt'
import { responsesEndpoint } from '../../../http/chat-request.ts'
import { type HttpError, toHttpError } from '../../../http/errors.ts'
import { drawBytes } from '../../runtime/random.ts'
import type { AnswerShape, GeneratingEndpoint } from '../answer.ts'
import { type AnswerFrame, toldLogprobs } from '../chat-format.ts'
import { type Completion, type CompletionResult, RequestError, startCompletion } from '../engine/index.ts'
import { Output, type OutputEvent } from './output.ts'
import { parseResponsesRequest, type ResponsesRequest } from './request.ts'

/** `POST /v1/responses` of a worker: a chat in OpenAI's newer form, of which nothing is kept. */
export const responses: GeneratingEndpoint<ResponsesRequest> = {
  path: responsesEndpoint,
  parse: (body) => parseResponsesRequest(body, { handled: ['provider'] }),
  start: (request, { engine, template }, signal) => inOwnWords(() => startCompletion({ engine, template, request, signal })),
  shape: (request, model, completion, created) =>
    responsesShape({ id: `resp_${drawBytes(16).toString('hex')}`, created, model: model.name }, request, completion),
}

const words = { messages: 'input', max_tokens: 'max_output_tokens', response_format: 'text.format' } as const

/** What a chat calls by other names. The messages of these errors hold nothing of a request. */
function inOwnWords<T>(start: () => T): T {
  try {
    return start()
  } catch (error) {
    if (!(error instanceof RequestError)) throw error
    const told = (text: string): string =>
      text
        .replace('the messages are', 'the input is')
        .replace(/\b(messages|max_tokens|response_format)\b/g, (word) => words[word as keyof typeof words])
    throw new RequestError(told(error.message), {
      status: error.status,
      ...(error.param !== null && { param: told(error.param) }),
      ...(error.code !== null && { code: error.code }),
    })
  }
}

/** Response objects and their events. The last one of a stream holds the whole response; without it, nothing says that the answer is whole. */
function responsesShape({ id, created, model }: AnswerFrame, request: ResponsesRequest, { tools }: Completion): AnswerShape {
  const output = new Output(tools?.newReader() ?? null, tools?.format)
  let sequence = 0
  // Numbered as they go out, so that an event that could not be told leaves no gap.
  const frame = ({ type, ...rest }: OutputEvent): string => frameOf({ type, sequence_number: sequence++, ...rest })
  const response = (status: string, rest: object = {}): object => ({
    id,
    object: 'response',
    created_at: created,
    status,
    background: false,
    error: null,
    incomplete_details: null,
    ...request.echo,
    model,
    output: output.items,
    previous_response_id: null,
    reasoning: { effort: null, summary: null },
    service_tier: 'default',
    store: false,
    truncation: 'disabled',
    usage: null,
    user: null,
    ...rest,
  })
  const finished = (result: CompletionResult): object =>
    result.finishReason === 'length'
      ? response('incomplete', { incomplete_details: { reason: 'max_output_tokens' }, usage: usageOf(result) })
      : response('completed', { usage: usageOf(result) })
  const failed = (error: HttpError): object => response('failed', { output: [], error: { code: 'server_error', message: error.message } })

  return {
    id,
    whole: (result, deltas) => {
      output.add(result.text)
      output.end(result.finishReason !== 'length')
      const logprobs = request.logprobs ? toldLogprobs(deltas) : []
      const told = output.items.map((item) =>
        item.type === 'message' ? { ...item, content: item.content.map((part) => ({ ...part, logprobs })) } : item,
      )
      return { ...finished(result), output: told }
    },
    first: () => {
      const started = response('in_progress', { output: [] })
      return [{ type: 'response.created', response: started }, { type: 'response.in_progress', response: started }, ...output.begin()]
    },
    delta: (delta) => output.add(delta.text, request.logprobs ? toldLogprobs([delta]) : []),
    last: (result) => bounded(output.end(result.finishReason !== 'length')),
    frame: (event) => frame(event as OutputEvent),
    failed: () => [],
    done: (result) => {
      const [type, told] =
        result.outcome === 'error'
          ? ['response.failed', failed(toHttpError(result.error))]
          : [`response.${result.finishReason === 'length' ? 'incomplete' : 'completed'}`, finished(result)]
      const event = { type, response: told }
      bounded([event])
      return () => frame(event)
    },
  }
}

/** Named events, as OpenAI's API sends them. */
function frameOf(event: OutputEvent): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}

/** Of the number. */
const maxNumberBytes = 64

/** Those that tell an answer whole may be longer than an event is allowed to be. Throws `response_too_large`. */
function bounded(events: readonly OutputEvent[]): readonly OutputEvent[] {
  if (events.some((event) => Buffer.byteLength(frameOf(event)) > maxEventBytes - maxNumberBytes))
    throw fail('response_too_large', `expected an answer that fits an event of ${maxEventBytes} bytes; ask for it without a stream`)
  return events
}

function usageOf({ usage }: CompletionResult): object {
  return {
    input_tokens: usage.promptTokens,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens: usage.completionTokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: usage.totalTokens,
  }
}

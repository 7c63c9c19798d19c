import { responsesEndpoint } from '../../../http/chat-request.ts'
import { toHttpError } from '../../../http/errors.ts'
import { drawHex } from '../../runtime/random.ts'
import type { AnswerShape, GeneratingEndpoint } from '../answer.ts'
import { type AnswerFrame, toldLogprobs } from '../chat-format.ts'
import { type Completion, type CompletionResult, startCompletion } from '../engine/index.ts'
import { Output, type OutputEvent, withLogprobs } from './output.ts'
import { parseResponsesRequest, type ResponsesRequest } from './request.ts'
import { bounded, type ResponseEnd, ToldResponse } from './told-response.ts'
import { inOwnWords } from './words.ts'

/** `POST /v1/responses` of a worker: a chat in OpenAI's newer form, of which nothing is kept. */
export const responses: GeneratingEndpoint<ResponsesRequest> = {
  path: responsesEndpoint,
  parse: (body) => parseResponsesRequest(body, { handled: ['provider'] }),
  start: (request, { engine, template }, signal) => inOwnWords(() => startCompletion({ engine, template, request, signal })),
  shape: (request, model, completion, created) => responsesShape({ id: `resp_${drawHex(16)}`, created, model: model.name }, request, completion),
}

/** Response objects and their events. The last one of a stream holds the whole response; without it, nothing says that the answer is whole. */
function responsesShape(frame: AnswerFrame, request: ResponsesRequest, { tools }: Completion): AnswerShape {
  const output = new Output(tools?.newReader() ?? null, tools?.format)
  const told = new ToldResponse(frame, request.echo, output.items)
  const endOf = (result: CompletionResult): ResponseEnd =>
    result.finishReason === 'length'
      ? { status: 'incomplete', reason: 'max_output_tokens', usage: usageOf(result) }
      : { status: 'completed', usage: usageOf(result) }

  return {
    id: frame.id,
    whole: (result, deltas) => {
      output.add(result.text)
      output.end(result.finishReason !== 'length')
      return told.ended(endOf(result), withLogprobs(output.items, request.logprobs ? toldLogprobs(deltas) : []))
    },
    first: () => [...told.started(), ...output.begin()],
    delta: (delta) => output.add(delta.text, request.logprobs ? toldLogprobs([delta]) : []),
    last: (result) => bounded(output.end(result.finishReason !== 'length')),
    frame: (event) => told.frame(event as OutputEvent),
    failed: () => [],
    done: (result) => {
      const event = told.last(result.outcome === 'error' ? { status: 'failed', error: toHttpError(result.error) } : endOf(result))
      return () => told.frame(event)
    },
  }
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

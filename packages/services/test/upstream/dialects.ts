import type { ServerResponse } from 'node:http'
import type { EngineKind } from '../../src/enclave/worker/upstream/index.ts'
import { data, type Json, json, sse } from './fake-engine.ts'

/**
 * How the four engines answer "Hello there", each with its habits on the wire: what their servers send was read from their sources (vLLM 0.11, SGLang 0.5,
 * llama.cpp b6881, Ollama 0.12).
 */
export interface Dialect {
  readonly kind: EngineKind
  answer(body: Json, response: ServerResponse): void
  /** The engine fails after the first words. */
  breakOff(body: Json, response: ServerResponse): void
  /** The body of a refusal because the prompt is too long, and its status. */
  readonly tooLong: readonly [status: number, body: unknown]
  readonly promptTokens: readonly number[] | null
  readonly completionTokens: readonly number[] | null
}

const wantsUsage = (body: Json): boolean => (body.stream_options as { include_usage?: boolean } | undefined)?.include_usage === true
const prompt = [1, 15043, 727]
const completion = [10994, 727, 2]

/** Pydantic writes a member for every field that was set, null included; the role comes first, alone; usage has a chunk without choices. */
const vllm: Dialect = {
  kind: 'vllm',
  promptTokens: prompt,
  completionTokens: completion,
  answer(body, response) {
    const ids = body.return_token_ids === true
    if (body.stream !== true)
      return json(response, {
        id: 'chatcmpl-5f8e',
        object: 'chat.completion',
        created: 1,
        model: body.model,
        choices: [
          {
            index: 0,
            message: {
              role: 'assistant',
              content: 'Hello there',
              refusal: null,
              annotations: null,
              audio: null,
              function_call: null,
              tool_calls: [],
              reasoning_content: null,
            },
            logprobs: null,
            finish_reason: 'stop',
            stop_reason: null,
            token_ids: ids ? completion : null,
          },
        ],
        service_tier: null,
        system_fingerprint: null,
        usage: { prompt_tokens: 3, total_tokens: 6, completion_tokens: 3, prompt_tokens_details: null },
        prompt_logprobs: null,
        prompt_token_ids: ids ? prompt : null,
        kv_transfer_params: null,
      })
    const head = { id: 'chatcmpl-5f8e', object: 'chat.completion.chunk', created: 1, model: body.model }
    const piece = (content: string, tokens: readonly number[], finish: string | null): string =>
      data({
        ...head,
        choices: [
          {
            index: 0,
            delta: { content },
            logprobs: null,
            finish_reason: finish,
            ...(finish !== null && { stop_reason: null }),
            token_ids: ids ? tokens : null,
          },
        ],
      })
    sse(response, [
      data({
        ...head,
        choices: [{ index: 0, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }],
        prompt_token_ids: ids ? prompt : null,
      }),
      piece('Hello', completion.slice(0, 1), null),
      piece(' there', completion.slice(1, 2), null),
      piece('', completion.slice(2), 'stop'),
      ...(wantsUsage(body) ? [data({ ...head, choices: [], usage: { prompt_tokens: 3, total_tokens: 6, completion_tokens: 3 } })] : []),
      data('[DONE]'),
    ])
  },
  breakOff(body, response) {
    const head = { id: 'chatcmpl-5f8e', object: 'chat.completion.chunk', created: 1, model: body.model }
    sse(response, [
      data({ ...head, choices: [{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }] }),
      data({ ...head, choices: [{ index: 0, delta: { content: 'Hello' }, finish_reason: null }] }),
      data({ error: { message: 'EngineCore at /opt/vllm died on prompt "Hello there"', type: 'InternalServerError', param: null, code: 500 } }),
      data('[DONE]'),
    ])
  },
  tooLong: [
    400,
    {
      error: {
        message: "This model's maximum context length is 4096 tokens. However, you requested 9999 tokens. The prompt was 'Hello there'.",
        type: 'BadRequestError',
        param: null,
        code: 400,
      },
    },
  ],
}

/** `usage: null` in every chunk, `matched_stop`, empty reasoning and tool calls; errors are flat. */
const sglang: Dialect = {
  kind: 'sglang',
  promptTokens: null,
  completionTokens: null,
  answer(body, response) {
    const usage = { prompt_tokens: 3, total_tokens: 6, completion_tokens: 3, prompt_tokens_details: null, reasoning_tokens: 0 }
    if (body.stream !== true)
      return json(response, {
        id: 'b0d1',
        object: 'chat.completion',
        created: 1,
        model: body.model,
        choices: [
          {
            index: 0,
            message: { role: 'assistant', content: 'Hello there', reasoning_content: null, tool_calls: null },
            logprobs: null,
            finish_reason: 'stop',
            matched_stop: 2,
          },
        ],
        usage,
        metadata: { weight_version: 'default' },
      })
    const chunk = (delta: Json, finish: string | null, more: Json = {}): string =>
      data({
        id: 'b0d1',
        object: 'chat.completion.chunk',
        created: 1,
        model: body.model,
        choices: [
          {
            index: 0,
            delta: { role: null, reasoning_content: null, tool_calls: null, ...delta },
            logprobs: null,
            finish_reason: finish,
            matched_stop: null,
            ...more,
          },
        ],
        usage: null,
      })
    sse(response, [
      chunk({ role: 'assistant', content: '' }, null),
      chunk({ content: 'Hello' }, null),
      chunk({ content: ' there' }, null),
      chunk({ content: null }, 'stop', { matched_stop: 2 }),
      ...(wantsUsage(body) ? [data({ id: 'b0d1', object: 'chat.completion.chunk', created: 1, choices: [], model: body.model, usage })] : []),
      data('[DONE]'),
    ])
  },
  breakOff(body, response) {
    const chunk = (delta: Json, finish: string | null): string =>
      data({
        id: 'b0d1',
        object: 'chat.completion.chunk',
        created: 1,
        model: body.model,
        choices: [{ index: 0, delta, finish_reason: finish }],
        usage: null,
      })
    // The scheduler gave the request up: told as a reason to finish.
    sse(response, [
      chunk({ role: 'assistant', content: '' }, null),
      chunk({ content: 'Hello' }, null),
      chunk({ content: null }, 'abort'),
      data('[DONE]'),
    ])
  },
  tooLong: [
    400,
    {
      object: 'error',
      message: "The input (9999 tokens) is longer than the model's context length (4096 tokens).",
      type: 'BadRequestError',
      param: null,
      code: 400,
    },
  ],
}

/** `content: null` with the role, the model's path as its name, `timings` in the last chunk, comments while it evaluates the prompt. */
const llamaServer: Dialect = {
  kind: 'llama-server',
  promptTokens: null,
  completionTokens: null,
  answer(body, response) {
    const usage = { completion_tokens: 3, prompt_tokens: 3, total_tokens: 6 }
    const timings = { cache_n: 0, prompt_n: 3, prompt_ms: 20.1, predicted_n: 3, predicted_ms: 30.2, predicted_per_second: 99.3 }
    const tail = { created: 1, model: '/secret/models/x.gguf', system_fingerprint: 'b6881-8b11deea4', id: 'chatcmpl-DHvc' }
    if (body.stream !== true)
      return json(response, {
        choices: [{ finish_reason: 'stop', index: 0, message: { role: 'assistant', content: 'Hello there' } }],
        object: 'chat.completion',
        ...tail,
        usage,
        timings,
        __verbose: { prompt: '<|user|>Hello' },
      })
    const chunk = (delta: Json, finish: string | null, more: Json = {}): string =>
      data({ choices: [{ finish_reason: finish, index: 0, delta }], ...tail, object: 'chat.completion.chunk', ...more })
    sse(response, [
      ':\n\n',
      chunk({ role: 'assistant', content: null }, null),
      chunk({ content: 'Hello' }, null),
      chunk({ content: ' there' }, null),
      chunk({}, 'stop', wantsUsage(body) ? {} : { timings }),
      ...(wantsUsage(body) ? [data({ choices: [], ...tail, object: 'chat.completion.chunk', usage, timings })] : []),
      data('[DONE]'),
    ])
  },
  breakOff(body, response) {
    const chunk = (delta: Json): string =>
      data({ choices: [{ finish_reason: null, index: 0, delta }], created: 1, id: 'x', model: body.model, object: 'chat.completion.chunk' })
    sse(response, [
      chunk({ role: 'assistant', content: null }),
      chunk({ content: 'Hello' }),
      'error: {"code":500,"message":"context shift failed for Hello there","type":"server_error"}\n\n',
    ])
  },
  tooLong: [
    400,
    {
      error: {
        code: 400,
        message: 'the request exceeds the available context size, try increasing it',
        type: 'exceed_context_size_error',
        n_prompt_tokens: 9999,
        n_ctx: 4096,
      },
    },
  ],
}

/** The role in every chunk, ids out of 999, usage as a copy of the last chunk; a failure in a stream is a chunk without anything, and no end. */
const ollama: Dialect = {
  kind: 'ollama',
  promptTokens: null,
  completionTokens: null,
  answer(body, response) {
    const head = { id: 'chatcmpl-353', object: 'chat.completion.chunk', created: 1, model: body.model, system_fingerprint: 'fp_ollama' }
    const usage = { prompt_tokens: 3, completion_tokens: 3, total_tokens: 6 }
    if (body.stream !== true)
      return json(response, {
        ...head,
        object: 'chat.completion',
        choices: [{ index: 0, message: { role: 'assistant', content: 'Hello there' }, finish_reason: 'stop' }],
        usage,
      })
    const chunk = (content: string, finish: string | null): string =>
      data({ ...head, choices: [{ index: 0, delta: { role: 'assistant', content }, finish_reason: finish }] })
    sse(response, [
      chunk('Hello', null),
      chunk(' there', null),
      chunk('', 'stop'),
      ...(wantsUsage(body) ? [data({ ...head, choices: [], usage })] : []),
      data('[DONE]'),
    ])
  },
  breakOff(body, response) {
    const chunk = (content: string): string =>
      data({
        id: 'chatcmpl-353',
        object: 'chat.completion.chunk',
        created: 1,
        model: body.model,
        choices: [{ index: 0, delta: { role: 'assistant', content }, finish_reason: null }],
      })
    sse(response, [chunk('Hello'), chunk('')])
  },
  tooLong: [400, { error: { message: 'the input length exceeds the context length', type: 'invalid_request_error', param: null, code: null } }],
}

export const dialects: readonly Dialect[] = [vllm, sglang, llamaServer, ollama]

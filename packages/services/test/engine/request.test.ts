import { describe, expect, test } from 'vitest'
import { parseChatRequest, RequestError } from '../../src/enclave/worker/engine/index.ts'

const minimal = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }

function refusal(members: unknown): RequestError {
  try {
    parseChatRequest(members)
  } catch (error) {
    if (error instanceof RequestError) return error
    throw error
  }
  throw new Error('accepted')
}

test('defaults are filled in', () => {
  expect(parseChatRequest(minimal)).toEqual({
    model: 'm',
    messages: [{ role: 'user', content: 'hi' }],
    toolUse: null,
    sampling: { temperature: 1, topP: 1, minP: 0, topK: 1024 },
    adjustments: { frequencyPenalty: 0, presencePenalty: 0, repetitionPenalty: 1, logitBias: new Map() },
    format: null,
    n: 1,
    maxTokens: null,
    stop: [],
    stream: false,
    includeUsage: false,
    seed: null,
    logprobs: false,
    topLogprobs: 0,
    ignored: [],
  })
})

test('every parameter is read', () => {
  const request = parseChatRequest({
    model: 'm',
    messages: [
      { role: 'developer', content: 'be brief' },
      {
        role: 'user',
        name: 'ann',
        content: [
          { type: 'text', text: 'a' },
          { type: 'text', text: 'b' },
        ],
      },
      { role: 'assistant', content: 'c', refusal: null, tool_calls: [] },
    ],
    temperature: 0.7,
    top_p: 0.9,
    top_k: 40,
    min_p: 0.05,
    max_completion_tokens: 12,
    stop: 'END',
    stream: true,
    stream_options: { include_usage: true },
    seed: -5,
    logprobs: true,
    top_logprobs: 3,
    n: 3,
    presence_penalty: -1,
    frequency_penalty: 0.5,
    repetition_penalty: 1.1,
    response_format: { type: 'text' },
    tools: [],
    logit_bias: { 7: -100, 0: 1.5 },
  })
  expect(request.sampling).toEqual({ temperature: 0.7, topP: 0.9, topK: 40, minP: 0.05 })
  expect(request.messages).toEqual([
    { role: 'developer', content: 'be brief' },
    { role: 'user', name: 'ann', content: 'ab' },
    { role: 'assistant', content: 'c' },
  ])
  expect(request.adjustments).toEqual({
    frequencyPenalty: 0.5,
    presencePenalty: -1,
    repetitionPenalty: 1.1,
    logitBias: new Map([
      [7, -100],
      [0, 1.5],
    ]),
  })
  expect(request).toMatchObject({
    n: 3,
    maxTokens: 12,
    stop: ['END'],
    stream: true,
    includeUsage: true,
    seed: -5,
    logprobs: true,
    topLogprobs: 3,
    ignored: [],
  })
})

test('unknown members are named, never dropped silently; null is absent; what the caller handled is neither', () => {
  const request = parseChatRequest({ ...minimal, user: 'u', zeta: 1, metadata: {}, temperature: null, provider: { x: 1 } }, { handled: ['provider'] })
  expect(request.ignored).toEqual(['metadata', 'user', 'zeta'])
  expect(request.sampling.temperature).toBe(1)
})

test('what other servers have and asks for nothing here has no effect and is no error', () => {
  const request = parseChatRequest({
    ...minimal,
    ignore_eos: false,
    skip_special_tokens: true,
    repeat_penalty: 1,
    bad_words: [],
    chat_template_kwargs: {},
    add_generation_prompt: true,
  })
  expect(request.ignored).toEqual([])
})

test('top_k 0 and -1 are the widest candidate set', () => {
  for (const topK of [0, -1]) expect(parseChatRequest({ ...minimal, top_k: topK }).sampling.topK).toBe(1024)
})

describe('refused', () => {
  test.each([
    ['no object', [], null],
    ['no model', { ...minimal, model: undefined }, 'model'],
    ['an empty model', { ...minimal, model: '' }, 'model'],
    ['no messages', { model: 'm' }, 'messages'],
    ['empty messages', { ...minimal, messages: [] }, 'messages'],
    ['too many messages', { ...minimal, messages: Array(1025).fill(minimal.messages[0]) }, 'messages'],
    ['an unknown role', { ...minimal, messages: [{ role: 'root', content: 'x' }] }, 'messages[0].role'],
    ['the function role', { ...minimal, messages: [{ role: 'function', content: 'x', name: 'f' }] }, 'messages[0].role'],
    ['no content', { ...minimal, messages: [{ role: 'user' }] }, 'messages[0].content'],
    ['null content', { ...minimal, messages: [{ role: 'user', content: null }] }, 'messages[0].content'],
    ['an image', { ...minimal, messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }] }, 'messages[0].content[0]'],
    ['a lone surrogate', { ...minimal, messages: [{ role: 'user', content: '\ud800' }] }, 'messages[0].content'],
    ['a name with a space', { ...minimal, messages: [{ role: 'user', content: 'x', name: 'a b' }] }, 'messages[0].name'],
    ['temperature above 2', { ...minimal, temperature: 2.1 }, 'temperature'],
    ['temperature below 0', { ...minimal, temperature: -0.1 }, 'temperature'],
    ['temperature as text', { ...minimal, temperature: '1' }, 'temperature'],
    ['top_p 0', { ...minimal, top_p: 0 }, 'top_p'],
    ['top_p above 1', { ...minimal, top_p: 1.5 }, 'top_p'],
    ['min_p above 1', { ...minimal, min_p: 2 }, 'min_p'],
    ['a fractional top_k', { ...minimal, top_k: 1.5 }, 'top_k'],
    ['top_k above the bound', { ...minimal, top_k: 1025 }, 'top_k'],
    ['max_tokens 0', { ...minimal, max_tokens: 0 }, 'max_tokens'],
    ['two different limits', { ...minimal, max_tokens: 1, max_completion_tokens: 2 }, 'max_tokens'],
    ['five stop strings', { ...minimal, stop: ['a', 'b', 'c', 'd', 'e'] }, 'stop'],
    ['an empty stop string', { ...minimal, stop: [''] }, 'stop'],
    ['stream as text', { ...minimal, stream: 'yes' }, 'stream'],
    ['stream_options without stream', { ...minimal, stream_options: { include_usage: true } }, 'stream_options'],
    ['an unknown stream option', { ...minimal, stream: true, stream_options: { x: 1 } }, 'stream_options'],
    ['a seed that is not exact', { ...minimal, seed: 2 ** 53 }, 'seed'],
    ['a fractional seed', { ...minimal, seed: 0.5 }, 'seed'],
    ['top_logprobs without logprobs', { ...minimal, top_logprobs: 2 }, 'top_logprobs'],
    ['top_logprobs above 20', { ...minimal, logprobs: true, top_logprobs: 21 }, 'top_logprobs'],
    ['n 5', { ...minimal, n: 5 }, 'n'],
    ['n 0', { ...minimal, n: 0 }, 'n'],
    ['best_of', { ...minimal, best_of: 2 }, 'best_of'],
    ['a frequency penalty above 2', { ...minimal, frequency_penalty: 2.1 }, 'frequency_penalty'],
    ['a presence penalty as text', { ...minimal, presence_penalty: '1' }, 'presence_penalty'],
    ['a repetition penalty of 0', { ...minimal, repetition_penalty: 0 }, 'repetition_penalty'],
    ['a logit bias above 100', { ...minimal, logit_bias: { 1: 101 } }, 'logit_bias'],
    ['a logit bias for a word', { ...minimal, logit_bias: { the: 1 } }, 'logit_bias'],
    ['a logit bias for -1', { ...minimal, logit_bias: { '-1': 1 } }, 'logit_bias'],
    ['a list as logit bias', { ...minimal, logit_bias: [1] }, 'logit_bias'],
    ['many logit biases', { ...minimal, logit_bias: Object.fromEntries(Array.from({ length: 257 }, (_, i) => [i, 1])) }, 'logit_bias'],
    ['tokens to allow', { ...minimal, allowed_token_ids: [1] }, 'allowed_token_ids'],
    ['a template of the client', { ...minimal, chat_template: 'x' }, 'chat_template'],
    ['variables of the template', { ...minimal, chat_template_kwargs: { x: 1 } }, 'chat_template_kwargs'],
    ['a prompt cut short', { ...minimal, truncate_prompt_tokens: 5 }, 'truncate_prompt_tokens'],
    ['a penalty under the name of another server', { ...minimal, repeat_penalty: 1.1 }, 'repeat_penalty'],
    ['structured_outputs', { ...minimal, structured_outputs: { json: {} } }, 'structured_outputs'],
    ['functions', { ...minimal, functions: [{}] }, 'functions'],
    ['audio', { ...minimal, modalities: ['text', 'audio'] }, 'modalities'],
    ['a member with a malformed name', { ...minimal, 'a b': 1 }, null],
    ['many unknown members', { ...minimal, ...Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`x${i}`, 1])) }, null],
  ])('%s', (_, body, param) => {
    expect(refusal(body)).toMatchObject({ status: 400, type: 'invalid_request_error', param })
  })

  test('what is known but not offered has its own code', () => {
    for (const members of [{ best_of: 2 }, { audio: {} }]) expect(refusal({ ...minimal, ...members }).code).toBe('unsupported_value')
  })

  test('messages of errors hold nothing of the content', () => {
    expect(refusal({ ...minimal, messages: [{ role: 'secret words', content: 'secret words' }] }).message).not.toContain('secret')
  })
})

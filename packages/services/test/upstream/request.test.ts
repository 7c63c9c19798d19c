import { describe, expect, test } from 'vitest'
import { RequestError } from '../../src/enclave/worker/engine/index.ts'
import { rewriteRequest } from '../../src/enclave/worker/upstream/kinds/rewrite.ts'
import { readUpstreamRequest } from '../../src/enclave/worker/upstream/request.ts'

const messages = [{ role: 'user', content: 'x' }]
const all = ['deterministic', 'embeddings', 'logprobs', 'promptLogprobs', 'tokenIds', 'tools'] as const
const base = { model: 'm', messages }

describe('a request for an external engine', () => {
  test('what a worker reads of it', () => {
    const read = readUpstreamRequest(
      {
        ...base,
        stream: true,
        stream_options: { include_usage: true },
        temperature: 0.3,
        top_k: 5,
        n: 2,
        stop: 'end',
        seed: 3,
        user: 'u',
        guided_json: {},
        max_tokens: null,
      },
      all,
    )
    expect(read).toEqual({
      stream: true,
      includeUsage: true,
      wantsTokenIds: false,
      wantsPromptLogprobs: false,
      seed: 3,
      sampling: { temperature: 0.3, top_k: 5, n: 2 },
      stop: ['end'],
      passed: ['guided_json', 'user'],
    })
  })

  test.for<[string, object, string | null]>([
    ['no messages', { messages: undefined }, 'messages'],
    ['no list of messages', { messages: 'x' }, 'messages'],
    ['no message', { messages: [] }, 'messages'],
    ['a message that is no object', { messages: ['x'] }, 'messages[0]'],
    [
      'an image that would be fetched',
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'http://10.0.0.7/x.png' } }] }] },
      'messages[0].content',
    ],
    [
      'an image from a file',
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'file:///etc/passwd' } }] }] },
      'messages[0].content',
    ],
    ['the short form of it', { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: 'http://10.0.0.7' }] }] }, 'messages[0].content'],
    ['a video', { messages: [{ role: 'user', content: [{ type: 'video_url', video_url: { url: 'HTTP://10.0.0.7' } }] }] }, 'messages[0].content'],
    ['stream as text', { stream: 'yes' }, 'stream'],
    ['options without a stream', { stream_options: {} }, 'stream_options'],
    ['options that are no object', { stream: true, stream_options: [] }, 'stream_options'],
    ['include_usage as text', { stream: true, stream_options: { include_usage: 'yes' } }, 'stream_options.include_usage'],
    ['a seed with a fraction', { seed: 0.5 }, 'seed'],
    ['a seed beyond exact integers', { seed: 2 ** 60 }, 'seed'],
    ['a temperature as text', { temperature: '1' }, 'temperature'],
    ['too many stop strings', { stop: Array(17).fill('x') }, 'stop'],
    ['stop that is no text', { stop: [1] }, 'stop'],
    ['a malformed name', { 'a b': 1 }, null],
    ['too many further members', Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`m${i}`, 1])), null],
  ])('is refused for %s', ([, changes, param]) => {
    const read = (): unknown => readUpstreamRequest({ ...base, ...changes }, all)
    expect(read).toThrow(RequestError)
    expect(read).toThrow(expect.objectContaining({ param }))
  })

  test.for([
    'chat_template',
    'custom_logit_processor',
    'logits_processors',
    'lora_path',
    'bootstrap_host',
    'kv_transfer_params',
    'rid',
    'request_id',
    'id_slot',
    'priority',
    'input_ids',
  ])('%s reaches beyond the request, and is refused', (name) => {
    expect(() => readUpstreamRequest({ ...base, [name]: 'x' }, all)).toThrow(expect.objectContaining({ param: name, code: 'unsupported_value' }))
    expect(() => readUpstreamRequest({ ...base, [name]: null }, all)).not.toThrow()
  })

  test.for<[string, unknown, unknown]>([
    ['tools', [{ type: 'function' }], []],
    ['tool_choice', 'required', 'auto'],
    ['logprobs', true, false],
    ['prompt_logprobs', 1, null],
    ['return_token_ids', true, false],
  ])('%s needs an engine that can do it', ([name, asked, nothing]) => {
    expect(() => readUpstreamRequest({ ...base, [name]: asked }, [])).toThrow(expect.objectContaining({ param: name, code: 'unsupported_value' }))
    expect(() => readUpstreamRequest({ ...base, [name]: nothing }, [])).not.toThrow()
    expect(() => readUpstreamRequest({ ...base, [name]: asked }, all)).not.toThrow()
  })

  test('an image that brings its data is the engine`s to judge', () => {
    const content = [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } }]
    expect(() => readUpstreamRequest({ ...base, messages: [{ role: 'user', content }] }, all)).not.toThrow()
  })
})

describe('what is changed of a request', () => {
  const facts = { kind: 'vllm', engineModel: 'm', capabilities: [] } as const
  const zero = (length: number): Uint8Array => new Uint8Array(length)
  const paths = (request: object, changes: object = {}): string[] =>
    rewriteRequest({ ...base, ...request }, { ...facts, ...changes }, zero).patch.map(
      ({ op, path, value }) => `${op} ${path} ${JSON.stringify(value)}`,
    )

  test('the defaults of each engine are those that do nothing', () => {
    const usual = ['add /temperature 1', 'add /top_p 1']
    expect(paths({}, { kind: 'vllm' })).toEqual([...usual, 'add /top_k -1', 'add /min_p 0', 'add /repetition_penalty 1', 'add /seed 0'])
    expect(paths({}, { kind: 'sglang' })).toEqual([...usual, 'add /top_k -1', 'add /min_p 0', 'add /repetition_penalty 1', 'add /seed 0'])
    expect(paths({}, { kind: 'llama-server' })).toEqual([...usual, 'add /top_k 0', 'add /min_p 0', 'add /seed 0', 'add /cache_prompt false'])
    expect(paths({}, { kind: 'ollama' })).toEqual([...usual, 'add /seed 0'])
  })

  test('what the client says stays', () => {
    const said = { temperature: 0, top_p: 0.5, top_k: 7, min_p: 0.1, repetition_penalty: 1.1, seed: 0, cache_prompt: false }
    expect(paths(said, { kind: 'llama-server' })).toEqual([])
    expect(paths(said)).toEqual([])
  })

  test('null is nothing said', () => {
    expect(paths({ temperature: null, seed: null }, { kind: 'ollama' })).toEqual(['replace /temperature 1', 'add /top_p 1', 'replace /seed 0'])
  })

  test('the counts of a stream are always asked for', () => {
    const of = (stream_options: unknown): string[] =>
      paths({ stream: true, ...(stream_options !== undefined && { stream_options }) }).filter((line) => line.includes('stream'))
    expect(of(undefined)).toEqual(['add /stream_options {"include_usage":true}'])
    expect(of(null)).toEqual(['replace /stream_options {"include_usage":true}'])
    expect(of({})).toEqual(['replace /stream_options {"include_usage":true}'])
    expect(of({ include_usage: false })).toEqual(['replace /stream_options/include_usage true'])
    expect(of({ continuous_usage_stats: true })).toEqual(['add /stream_options/include_usage true'])
    expect(of({ include_usage: true })).toEqual([])
  })

  test('S23: a seed drawn here is in the range that the engine keeps whole', () => {
    const ones = (length: number): Uint8Array => new Uint8Array(length).fill(0xff)
    const seed = (kind: 'vllm' | 'sglang' | 'llama-server' | 'ollama'): number | bigint => rewriteRequest(base, { ...facts, kind }, ones).seed
    expect([seed('vllm'), seed('sglang'), seed('llama-server'), seed('ollama')]).toEqual([2 ** 48 - 1, 2 ** 48 - 1, 2 ** 31 - 1, 2 ** 31 - 1])
  })
})

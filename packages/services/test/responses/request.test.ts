import { describe, expect, test } from 'vitest'
import { RequestError } from '../../src/enclave/worker/engine/index.ts'
import { parseResponsesRequest } from '../../src/enclave/worker/responses/request.ts'

const asked = { model: 'm', input: 'Hello!' }
const weather = { type: 'function', name: 'weather', parameters: { type: 'object', properties: {} } }
const schema = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'], additionalProperties: false }
const jsonSchema = { type: 'json_schema', name: 'n', schema }

function refusalOf(members: object): RequestError {
  try {
    parseResponsesRequest({ ...asked, ...members })
  } catch (error) {
    if (error instanceof RequestError) return error
    throw error
  }
  throw new Error('expected a refusal')
}

test('a text becomes the message of a user, instructions one of the system', () => {
  const request = parseResponsesRequest({ ...asked, instructions: 'Be short.', max_output_tokens: 7, temperature: 0.5, seed: 3, top_k: 5 })
  expect(request).toMatchObject({
    messages: [
      { role: 'system', content: 'Be short.' },
      { role: 'user', content: 'Hello!' },
    ],
    maxTokens: 7,
    n: 1,
    seed: 3,
    sampling: { temperature: 0.5, topK: 5 },
    toolUse: null,
    format: null,
    ignored: [],
  })
  expect(request.echo).toMatchObject({ instructions: 'Be short.', max_output_tokens: 7, temperature: 0.5, top_p: 1, tools: [], metadata: {} })
})

test('what was answered is taken back: message, calls of it, results', () => {
  const { messages } = parseResponsesRequest({
    model: 'm',
    input: [
      {
        role: 'user',
        content: [
          { type: 'input_text', text: 'How is ' },
          { type: 'input_text', text: 'it?' },
        ],
      },
      {
        type: 'message',
        id: 'msg_1',
        status: 'completed',
        role: 'assistant',
        content: [{ type: 'output_text', text: 'I look.', annotations: [], logprobs: [] }],
      },
      { type: 'function_call', id: 'fc_1', status: 'completed', call_id: 'call_a', name: 'weather', arguments: '{"place":"Rome"}' },
      { type: 'function_call', call_id: 'call_b', name: 'weather', arguments: '' },
      { type: 'function_call_output', call_id: 'call_b', output: 'rain' },
      { type: 'function_call_output', call_id: 'call_a', output: [{ type: 'input_text', text: 'sun' }] },
      { type: 'function_call', call_id: 'call_c', name: 'clock', arguments: '{}' },
      { type: 'function_call_output', call_id: 'call_c', output: 'noon' },
    ],
  })
  expect(messages).toEqual([
    { role: 'user', content: 'How is it?' },
    {
      role: 'assistant',
      content: 'I look.',
      toolCalls: [
        { id: 'call_a', name: 'weather', arguments: { place: 'Rome' } },
        { id: 'call_b', name: 'weather', arguments: {} },
      ],
    },
    { role: 'tool', name: 'weather', content: 'rain', toolCallId: 'call_b' },
    { role: 'tool', name: 'weather', content: 'sun', toolCallId: 'call_a' },
    { role: 'assistant', content: '', toolCalls: [{ id: 'call_c', name: 'clock', arguments: {} }] },
    { role: 'tool', name: 'clock', content: 'noon', toolCallId: 'call_c' },
  ])
})

test('what asks for nothing is taken', () => {
  const nothing = {
    store: false,
    background: false,
    truncation: 'disabled',
    previous_response_id: null,
    conversation: null,
    reasoning: { effort: null, summary: null },
    include: ['reasoning.encrypted_content'],
    text: { format: { type: 'text' }, verbosity: 'medium' },
    top_logprobs: 0,
    tool_choice: 'auto',
    tools: [],
    stream_options: null,
    n: 1,
  }
  expect(parseResponsesRequest({ ...asked, ...nothing })).toMatchObject({ ignored: [], format: null, logprobs: false })
})

test('what has no effect is named for the receipt', () => {
  const { ignored } = parseResponsesRequest({ ...asked, user: 'u', service_tier: 'auto', prompt_cache_key: 'k', max_tool_calls: 3, surprise: 1 })
  expect(ignored).toEqual(['max_tool_calls', 'prompt_cache_key', 'service_tier', 'surprise', 'user'])
})

test('tools and forms are those of a chat', () => {
  expect(
    parseResponsesRequest({ ...asked, tools: [{ ...weather, strict: true }], tool_choice: 'required', parallel_tool_calls: false }),
  ).toMatchObject({
    toolUse: { tools: [{ name: 'weather', strict: true }], choice: { kind: 'required' }, parallel: false },
  })
  expect(parseResponsesRequest({ ...asked, tools: [weather], tool_choice: { type: 'function', name: 'weather' } })).toMatchObject({
    toolUse: { choice: { kind: 'named', name: 'weather' } },
    echo: { tools: [{ type: 'function', name: 'weather', strict: false }], tool_choice: { type: 'function', name: 'weather' } },
  })
  expect(parseResponsesRequest({ ...asked, tools: [weather], tool_choice: 'none' }).toolUse).toBeNull()
  expect(parseResponsesRequest({ ...asked, text: { format: jsonSchema } })).toMatchObject({
    format: { kind: 'json_schema', source: JSON.stringify(schema) },
    echo: { text: { format: jsonSchema } },
  })
  expect(parseResponsesRequest({ ...asked, text: { format: { type: 'json_object' } } })).toMatchObject({ format: { kind: 'json_object' } })
  expect(parseResponsesRequest({ ...asked, guided_choice: ['a'] })).toMatchObject({ format: { kind: 'choice' } })
})

describe('what is not done here is refused, never ignored', () => {
  test.for<readonly [title: string, members: object, param: string, code: string | null]>([
    ['a response that is kept', { store: true }, 'store', 'unsupported_value'],
    ['an earlier response', { previous_response_id: 'resp_1' }, 'previous_response_id', 'unsupported_value'],
    ['a conversation', { conversation: 'conv_1' }, 'conversation', 'unsupported_value'],
    ['an answer later', { background: true }, 'background', 'unsupported_value'],
    ['a stored prompt', { prompt: { id: 'p' } }, 'prompt', 'unsupported_value'],
    ['cutting the input', { truncation: 'auto' }, 'truncation', 'unsupported_value'],
    ['reasoning', { reasoning: { effort: 'high' } }, 'reasoning', 'unsupported_value'],
    ['several answers', { n: 2 }, 'n', 'unsupported_value'],
    ['messages of a chat', { messages: [] }, 'messages', 'unsupported_value'],
    ['the limit of a chat', { max_tokens: 5 }, 'max_tokens', 'unsupported_value'],
    ['the form of a chat', { response_format: { type: 'text' } }, 'response_format', 'unsupported_value'],
    ['a search', { tools: [{ type: 'web_search' }] }, 'tools[0].type', 'unsupported_value'],
    ['an MCP server', { tools: [weather, { type: 'mcp', server_url: 'https://x' }] }, 'tools[1].type', 'unsupported_value'],
    ['a custom tool', { tools: [{ type: 'custom', name: 'x' }] }, 'tools[0].type', 'unsupported_value'],
    ['allowed tools', { tools: [weather], tool_choice: { type: 'allowed_tools', mode: 'auto', tools: [] } }, 'tool_choice', 'unsupported_value'],
    ['results of a search', { include: ['file_search_call.results'] }, 'include', 'unsupported_value'],
    ['a short answer by word', { text: { verbosity: 'low' } }, 'text.verbosity', 'unsupported_value'],
    ['an image', { input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'x' }] }] }, 'input[0].content[0]', 'unsupported_value'],
    ['a reference', { input: [{ type: 'item_reference', id: 'msg_1' }] }, 'input[0].type', 'unsupported_value'],
    ['reasoning of another service', { input: [{ type: 'reasoning', id: 'rs_1', summary: [] }] }, 'input[0].type', 'unsupported_value'],
    ['logprobs beside calls', { tools: [weather], include: ['message.output_text.logprobs'] }, 'include', 'unsupported_value'],
    ['calls beside a form', { tools: [weather], text: { format: jsonSchema } }, 'text.format', 'unsupported_value'],
    ['two forms', { guided_choice: ['a'], text: { format: jsonSchema } }, 'text.format', null],
    ['a pattern', { text: { format: { ...jsonSchema, schema: { type: 'string', pattern: 'x' } } } }, 'text.format.schema', 'unsupported_value'],
  ])('%s', ([, members, param, code]) => {
    expect(refusalOf(members)).toMatchObject({ status: 400, type: 'invalid_request_error', param, code })
  })
})

describe('hostile input', () => {
  const call = { type: 'function_call', call_id: 'c', name: 'f', arguments: '{}' }
  test.for<readonly [title: string, members: object, param: string | null]>([
    ['no input', { input: null }, 'input'],
    ['an empty list', { input: [] }, 'input'],
    ['a number', { input: 7 }, 'input'],
    ['more items than there may be', { input: Array.from({ length: 2_049 }, () => ({ role: 'user', content: 'x' })) }, 'input'],
    ['an item that is null', { input: [null] }, 'input[0]'],
    ['an item that is a list', { input: [[]] }, 'input[0]'],
    ['a role of its own', { input: [{ role: 'root', content: 'x' }] }, 'input[0].role'],
    ['the role of results', { input: [{ role: 'tool', content: 'x' }] }, 'input[0].role'],
    ['an unknown member', { input: [{ role: 'user', content: 'x', name: 'y' }] }, 'input[0]'],
    ['an id that is an object', { input: [{ role: 'user', content: 'x', id: {} }] }, 'input[0]'],
    ['content that is an object', { input: [{ role: 'user', content: {} }] }, 'input[0].content'],
    ['a lone surrogate', { input: '\ud800' }, 'input'],
    ['a lone surrogate in a part', { input: [{ role: 'user', content: [{ type: 'input_text', text: '\udfff' }] }] }, 'input[0].content[0]'],
    ["an answer's part of a user", { input: [{ role: 'user', content: [{ type: 'output_text', text: 'x' }] }] }, 'input[0].content[0]'],
    ['annotations', { input: [{ role: 'assistant', content: [{ type: 'output_text', text: 'x', annotations: [{}] }] }] }, 'input[0].content[0]'],
    ['a call without an id', { input: [{ ...call, call_id: '' }] }, 'input[0].call_id'],
    ['a call of a name with spaces', { input: [{ ...call, name: 'a b' }] }, 'input[0].name'],
    ['arguments that are no JSON', { input: [{ ...call, arguments: '{' }] }, 'input[0].arguments'],
    ['arguments that are a list', { input: [{ ...call, arguments: '[]' }] }, 'input[0].arguments'],
    ['a result of nothing', { input: [{ type: 'function_call_output', call_id: 'c', output: 'x' }] }, 'input[0].call_id'],
    [
      'a result of a call that is past',
      { input: [call, { role: 'user', content: 'x' }, { type: 'function_call_output', call_id: 'c', output: 'x' }] },
      'input[2].call_id',
    ],
    ['129 calls in a row', { input: Array.from({ length: 129 }, (_, i) => ({ ...call, call_id: `c${i}` })) }, 'input[128]'],
    ['instructions that are a list', { instructions: ['x'] }, 'instructions'],
    ['instructions that are no text', { instructions: '\ud800' }, 'instructions'],
    ['a model that is no text', { model: 7 }, 'model'],
    ['no tokens', { max_output_tokens: 0 }, 'max_output_tokens'],
    ['half a token', { max_output_tokens: 1.5 }, 'max_output_tokens'],
    ['more logprobs than there are', { include: ['message.output_text.logprobs'], top_logprobs: 21 }, 'top_logprobs'],
    ['logprobs without asking', { top_logprobs: 2 }, 'top_logprobs'],
    ['text that is a text', { text: 'json' }, 'text'],
    ['a member of text', { text: { form: {} } }, 'text'],
    ['a form without a name', { text: { format: { type: 'json_schema', schema } } }, 'text.format.name'],
    ['a form without a schema', { text: { format: { type: 'json_schema', name: 'n' } } }, 'text.format.schema'],
    ['a form nested as in a chat', { text: { format: { type: 'json_schema', json_schema: { name: 'n', schema } } } }, 'text.format'],
    ['another form', { text: { format: { type: 'xml' } } }, 'text.format.type'],
    ['a tool that is null', { tools: [null] }, 'tools[0]'],
    ['a tool nested as in a chat', { tools: [{ type: 'function', function: { name: 'f' } }] }, 'tools[0].name'],
    ['two tools of a name', { tools: [weather, weather] }, 'tools'],
    ['a choice of nobody', { tools: [weather], tool_choice: { type: 'function', name: 'clock' } }, 'tool_choice'],
    ['a choice without tools', { tool_choice: 'required' }, 'tool_choice'],
    ['metadata of numbers', { metadata: { a: 1 } }, 'metadata'],
    ['17 metadata', { metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, 'v'])) }, 'metadata'],
    ['long metadata', { metadata: { a: 'x'.repeat(513) } }, 'metadata'],
    ['more to repeat than an event holds', { instructions: 'x'.repeat(1 << 18) }, null],
    ['a member of a malformed name', { 'a b': 1 }, null],
  ])('%s', ([, members, param]) => {
    const error = refusalOf(members)
    expect([error.status, error.param]).toEqual([400, param])
    // Nothing of a request is in a message.
    expect(error.message.length).toBeLessThan(200)
  })
})

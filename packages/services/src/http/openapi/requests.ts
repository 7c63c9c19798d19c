import { flag, list, open, optional, orNull, type Properties, ref, type Schema, text } from './schema.ts'

/** What requests may hold. Members that are not listed here are passed on; the worker refuses them or names them in its receipt. */

const number = (minimum: number, maximum: number, description?: string): Schema => ({
  type: 'number',
  minimum,
  maximum,
  ...(description !== undefined && { description }),
})
const integer = (minimum: number, maximum?: number): Schema => ({ type: 'integer', minimum, ...(maximum !== undefined && { maximum }) })

const model: Schema = { type: 'string', minLength: 1, maxLength: 256 }
const tokenIds = list(integer(0), { minItems: 1 })

const provider: Schema = open(
  {
    aci_verified: flag,
    aci_session_ids: list({ type: 'string', pattern: '^[0-9a-f]{64}$' }, { minItems: 1 }),
  },
  [],
  'Constraints of aci/1 section 5.3. They are cut out of the body before it is passed on.',
)

const sampling: Properties = {
  temperature: { ...number(0, 2), default: 1 },
  top_p: { type: 'number', exclusiveMinimum: 0, maximum: 1, default: 1 },
  min_p: number(0, 1),
  top_k: integer(-1, 1024),
  seed: { type: 'integer' },
  frequency_penalty: number(-2, 2),
  presence_penalty: number(-2, 2),
  repetition_penalty: number(0.1, 10),
  logit_bias: { type: 'object', additionalProperties: number(-100, 100), maxProperties: 256 },
  stop: { anyOf: [text, list(text, { maxItems: 4 })] },
  stream: flag,
  guided_json: { type: ['object', 'boolean'] },
  guided_choice: list(text, { minItems: 1, maxItems: 1024 }),
  guided_grammar: { type: 'string', description: 'GBNF' },
  grammar: { type: 'string', description: 'GBNF' },
  user: text,
  provider,
}

const streamOptions = open({ include_usage: flag }, [])

const functionTool = open(
  { name: { type: 'string', pattern: '^[A-Za-z0-9_-]{1,64}$' }, ...optional({ description: text, parameters: { type: 'object' }, strict: flag }) },
  ['name'],
)

const message = open(
  {
    role: { enum: ['system', 'developer', 'user', 'assistant', 'tool'] },
    ...optional({
      content: { anyOf: [text, list(open({ type: { const: 'text' }, text }, ['type', 'text']))] },
      name: text,
      tool_calls: list({ type: 'object' }, { maxItems: 128 }),
      tool_call_id: text,
    }),
  },
  ['role'],
)

const inputItem = {
  anyOf: [
    open(
      {
        type: { const: 'message' },
        role: { enum: ['system', 'developer', 'user', 'assistant'] },
        content: { anyOf: [text, list(open({ type: { enum: ['input_text', 'output_text'] }, text }, ['type', 'text']))] },
      },
      ['role', 'content'],
    ),
    open({ type: { const: 'function_call' }, call_id: text, name: text, arguments: text }, ['type', 'call_id', 'name', 'arguments']),
    open({ type: { const: 'function_call_output' }, call_id: text, output: { anyOf: [text, list({ type: 'object' })] } }, [
      'type',
      'call_id',
      'output',
    ]),
  ],
}

const toolUse: Properties = { tool_choice: { type: ['string', 'object'] }, parallel_tool_calls: flag }

export const requests: { readonly [name: string]: Schema } = {
  CreateChatCompletionRequest: open(
    {
      model,
      messages: list(message, { minItems: 1, maxItems: 1024 }),
      ...optional({
        ...sampling,
        ...toolUse,
        n: integer(1, 4),
        max_tokens: integer(1),
        max_completion_tokens: integer(1),
        stream_options: streamOptions,
        tools: list(open({ type: { const: 'function' }, function: functionTool }, ['type', 'function']), { maxItems: 128 }),
        response_format: open({ type: { enum: ['text', 'json_object', 'json_schema'] }, json_schema: { type: 'object' } }, ['type']),
        logprobs: flag,
        top_logprobs: integer(0, 20),
      }),
    },
    ['model', 'messages'],
  ),
  CreateCompletionRequest: open(
    {
      model,
      prompt: { anyOf: [{ type: 'string', minLength: 1 }, tokenIds] },
      ...optional({
        ...sampling,
        n: integer(1, 4),
        max_tokens: { ...integer(1), default: 16 },
        logprobs: integer(0, 5),
        stream_options: streamOptions,
      }),
    },
    ['model', 'prompt'],
  ),
  CreateResponseRequest: open(
    {
      model,
      input: { anyOf: [text, list(inputItem, { minItems: 1, maxItems: 2048 })] },
      ...optional({
        ...sampling,
        ...toolUse,
        instructions: text,
        max_output_tokens: integer(1),
        text: open(
          optional({ format: open({ type: { enum: ['text', 'json_object', 'json_schema'] } }, ['type']), verbosity: { const: 'medium' } }),
          [],
        ),
        tools: list(
          { ...functionTool, properties: { ...functionTool.properties, type: { const: 'function' } }, required: ['type', 'name'] },
          { maxItems: 128 },
        ),
        include: list({ enum: ['message.output_text.logprobs', 'reasoning.encrypted_content'] }, { maxItems: 16 }),
        top_logprobs: integer(0, 20),
        metadata: { type: 'object', additionalProperties: { type: 'string', maxLength: 512 }, maxProperties: 16 },
        store: { const: false },
        background: { const: false },
        truncation: { const: 'disabled' },
        previous_response_id: { type: 'null' },
        conversation: { type: 'null' },
        prompt: { type: 'null' },
      }),
    },
    ['model', 'input'],
  ),
  CreateEmbeddingRequest: open(
    {
      model,
      input: {
        anyOf: [
          { type: 'string', minLength: 1 },
          tokenIds,
          list({ anyOf: [{ type: 'string', minLength: 1 }, tokenIds] }, { minItems: 1, maxItems: 256 }),
        ],
      },
      ...optional({ encoding_format: { enum: ['float', 'base64'] }, dimensions: integer(1), user: text, provider }),
    },
    ['model', 'input'],
  ),
  Registration: {
    ...open(
      {
        version: { const: 'veritee.registration.v1' },
        purpose: { enum: ['register', 'leave'] },
        url: { type: 'string', maxLength: 512 },
        keyset: { type: 'object' },
        controller: ref('Digest'),
        nonce: hex(32),
        ticket: orNull(hex(16)),
        operator_signature: orNull(hex(64)),
        key_id: { type: 'string', maxLength: 128 },
        signature: hex(64),
      },
      ['version', 'purpose', 'url', 'keyset', 'controller', 'nonce', 'ticket', 'operator_signature', 'key_id', 'signature'],
      'Signed by the keyset in it: spec/admission.md',
    ),
    additionalProperties: false,
  },
}

function hex(bytes: number): Schema {
  return { type: 'string', pattern: `^[0-9a-f]{${2 * bytes}}$` }
}

import { closed, count, digest, flag, list, open, orNull, ref, type Schema, text } from './schema.ts'

const usage = closed({ prompt_tokens: count, completion_tokens: count, total_tokens: count })
const logprob: Schema = { type: 'number', maximum: 0 }
const topLogprob = open({ token: text, logprob }, ['token', 'logprob'])
const tokenLogprob = open({ token: text, bytes: orNull(list(count)), logprob, top_logprobs: list(topLogprob) }, ['token', 'logprob', 'top_logprobs'])
const chatLogprobs = orNull(closed({ content: list(tokenLogprob), refusal: { type: 'null' } }))
const finishReason: Schema = { enum: ['stop', 'length', 'tool_calls', null] }
const call = closed({ id: text, type: { const: 'function' }, function: closed({ name: text, arguments: text }) })

const completion = (object: string, choice: Schema, more: { readonly [name: string]: Schema }, absent: readonly string[] = []): Schema =>
  closed({ id: text, object: { const: object }, created: count, model: text, choices: list(choice), ...more }, absent)

const outputText = closed({ type: { const: 'output_text' }, text, annotations: list({}), logprobs: list(tokenLogprob) })
const outputItem: Schema = {
  anyOf: [
    closed({
      id: text,
      type: { const: 'message' },
      role: { const: 'assistant' },
      status: { enum: ['in_progress', 'completed', 'incomplete'] },
      content: list(outputText),
    }),
    closed({
      id: text,
      type: { const: 'function_call' },
      status: { enum: ['in_progress', 'completed'] },
      call_id: text,
      name: text,
      arguments: text,
    }),
  ],
}

const specified = (where: string): string => `Specified in ${where}.`

/** What services answer. Reports, receipts, sessions and proofs are specified, with schemas of their own, in the folder spec of the repository. */
export const answers: { readonly [name: string]: Schema } = {
  Digest: digest,
  Error: closed({
    error: closed({ message: text, type: text, param: orNull(text), code: orNull(text) }),
  }),
  ModelList: closed({ object: { const: 'list' }, data: list(ref('Model')) }),
  Model: closed({ id: text, object: { const: 'model' }, created: count, owned_by: text }),
  ChatCompletion: completion(
    'chat.completion',
    closed({
      index: count,
      message: closed({ role: { const: 'assistant' }, content: orNull(text), refusal: { type: 'null' }, tool_calls: list(call, { minItems: 1 }) }, [
        'tool_calls',
      ]),
      logprobs: chatLogprobs,
      finish_reason: finishReason,
    }),
    { usage },
  ),
  ChatCompletionChunk: completion(
    'chat.completion.chunk',
    closed({
      index: count,
      delta: closed({ role: { const: 'assistant' }, content: text, tool_calls: list({ type: 'object' }) }, ['role', 'content', 'tool_calls']),
      logprobs: chatLogprobs,
      finish_reason: finishReason,
    }),
    { usage: orNull(usage) },
    ['usage'],
  ),
  Completion: completion(
    'text_completion',
    closed({ index: count, text, logprobs: orNull({ type: 'object' }), finish_reason: { enum: ['stop', 'length', null] } }),
    { usage: orNull(usage) },
    ['usage'],
  ),
  EmbeddingList: closed({
    object: { const: 'list' },
    model: text,
    data: list(closed({ object: { const: 'embedding' }, index: count, embedding: { anyOf: [list({ type: 'number' }), text] } })),
    usage: closed({ prompt_tokens: count, total_tokens: count }),
  }),
  Response: closed({
    id: { type: 'string', pattern: '^resp_' },
    object: { const: 'response' },
    created_at: count,
    status: { enum: ['in_progress', 'completed', 'incomplete', 'failed'] },
    background: { const: false },
    error: orNull(closed({ code: text, message: text })),
    incomplete_details: orNull(closed({ reason: { const: 'max_output_tokens' } })),
    instructions: orNull(text),
    max_output_tokens: orNull(count),
    metadata: { type: 'object', additionalProperties: text },
    model: text,
    output: list(outputItem),
    parallel_tool_calls: flag,
    previous_response_id: { type: 'null' },
    reasoning: { type: 'object' },
    service_tier: { const: 'default' },
    store: { const: false },
    temperature: { type: 'number' },
    text: closed({ format: { type: 'object' } }),
    tool_choice: { type: ['string', 'object'] },
    tools: list({ type: 'object' }),
    top_logprobs: count,
    top_p: { type: 'number' },
    truncation: { const: 'disabled' },
    usage: orNull(
      closed({
        input_tokens: count,
        input_tokens_details: closed({ cached_tokens: count }),
        output_tokens: count,
        output_tokens_details: closed({ reasoning_tokens: count }),
        total_tokens: count,
      }),
    ),
    user: { type: 'null' },
  }),
  ResponseStreamEvent: {
    anyOf: [
      closed({
        type: { enum: ['response.created', 'response.in_progress', 'response.completed', 'response.incomplete', 'response.failed'] },
        sequence_number: count,
        response: ref('Response'),
      }),
      closed({
        type: { enum: ['response.output_item.added', 'response.output_item.done'] },
        sequence_number: count,
        output_index: count,
        item: outputItem,
      }),
      closed({
        type: { enum: ['response.content_part.added', 'response.content_part.done'] },
        sequence_number: count,
        item_id: text,
        output_index: count,
        content_index: count,
        part: outputText,
      }),
      ...(['delta', 'text'] as const).map((told) =>
        closed({
          type: { const: `response.output_text.${told === 'delta' ? 'delta' : 'done'}` },
          sequence_number: count,
          item_id: text,
          output_index: count,
          content_index: count,
          [told]: text,
          logprobs: list(tokenLogprob),
        }),
      ),
      closed({
        type: { const: 'response.function_call_arguments.delta' },
        sequence_number: count,
        item_id: text,
        output_index: count,
        delta: text,
      }),
      closed({
        type: { const: 'response.function_call_arguments.done' },
        sequence_number: count,
        item_id: text,
        output_index: count,
        name: text,
        arguments: text,
      }),
      open({ type: { const: 'error' }, sequence_number: count, message: text, error: { type: 'object' } }, ['type', 'sequence_number', 'message']),
    ],
  },
  Report: open(
    {
      api_version: { const: 'aci/1' },
      workload_keyset_digest: ref('Digest'),
      attestation: { type: 'object' },
      service_capabilities: { type: 'object' },
    },
    ['api_version', 'workload_keyset_digest', 'attestation', 'service_capabilities'],
    specified('spec/aci-sgx.md'),
  ),
  Receipt: open(
    {
      api_version: { const: 'aci/1' },
      receipt_id: text,
      chat_id: orNull(text),
      model: orNull(text),
      workload_keyset_digest: ref('Digest'),
      endpoint: text,
      method: text,
      served_at: count,
      event_log: list(open({ type: text }, ['type']), { minItems: 2 }),
      key_id: text,
      signature: text,
    },
    ['api_version', 'receipt_id', 'workload_keyset_digest', 'endpoint', 'method', 'served_at', 'event_log', 'key_id', 'signature'],
    specified('spec/receipt-events.md'),
  ),
  SealedStatement: open(
    {
      api_version: { const: 'veritee.sealed-exchange.v1' },
      receipt_id: text,
      receipt_digest: ref('Digest'),
      workload_keyset_digest: ref('Digest'),
      prompt_tokens: orNull(count),
      completion_tokens: orNull(count),
      signature: text,
    },
    ['api_version', 'receipt_id', 'receipt_digest', 'workload_keyset_digest', 'enc', 'request_hash', 'response_hash', 'outcome', 'signature'],
    specified('spec/ehbp-binding.md'),
  ),
  PrefixProof: closed({ prefix: count, consistency: list({ type: 'string', pattern: '^[0-9a-f]{64}$' }) }),
  Session: open(
    {
      api_version: { const: 'aci/1' },
      endpoint: orNull(text),
      established_at: count,
      expires_at: count,
      claims: { type: 'object' },
      evidence: { type: 'object' },
    },
    ['api_version', 'upstream_name', 'verifier_id', 'established_at', 'expires_at', 'identity', 'channel_binding', 'claims', 'evidence'],
    specified('spec/aci-sgx.md'),
  ),
  ReleaseList: closed({
    version: { const: 'veritee.releases.v1' },
    statements: list(closed({ statement: { type: 'object' }, proof: orNull(text) })),
  }),
  TokenDirectory: closed({
    'issuer-request-uri': text,
    'token-keys': list(closed({ 'token-type': { const: 2 }, 'token-key': text })),
  }),
  ReplicaList: closed({
    version: { const: 'veritee.replicas.v1' },
    replicas: list(closed({ url: text })),
  }),
  SessionList: closed({
    api_version: { const: 'aci/1' },
    sessions: list(open({ session_id: { type: 'string', pattern: '^[0-9a-f]{64}$' } }, ['session_id'])),
  }),
  Worker: open(
    {
      url: text,
      keyset_digest: ref('Digest'),
      session_id: { type: 'string', pattern: '^[0-9a-f]{64}$' },
      models: list(text),
      simulated: flag,
      expires_at: count,
      quarantine: orNull(text),
      operator: orNull(text),
      platform: orNull(text),
    },
    ['url', 'keyset_digest', 'session_id', 'models', 'simulated', 'expires_at', 'quarantine', 'operator', 'platform'],
  ),
  RegistrationNonce: closed({ nonce: { type: 'string', pattern: '^[0-9a-f]{64}$' }, keyset_digest: ref('Digest') }),
  Left: closed({ keyset_digest: ref('Digest') }),
  WorkerList: closed({ workers: list(ref('Worker')) }),
  Health: closed({ status: { const: 'ok' } }),
  Readiness: open({ status: text }, ['status']),
  OpenApi: open({ openapi: text, info: { type: 'object' }, paths: { type: 'object' } }, ['openapi', 'info', 'paths']),
}

// Seeds that need no keys: a policy and a receipt that name everything their parsers know.

const digest = `sha256:${'ab'.repeat(32)}`
const section = {
  tee: ['sgx', 'tdx'],
  simulated: 'refuse',
  physical: 'any',
  debug: 'refuse',
  identity: [{ mrenclave: 'a1'.repeat(32) }],
  attributes: 'any',
  tdx: 'any',
  tcb: { statuses: ['UpToDate', 'SWHardeningNeeded'], advisories: ['INTEL-SA-00615'], minTcbEvaluationDataNumber: 17, gracePeriod: 0 },
  platform: { fmspc: { allow: ['00a067110000'], deny: [] }, ppid: { allow: 'any', deny: [] }, dynamicPlatform: 'any', cachedKeys: 'any', smt: 'any' },
  maxCollateralAge: 2_592_000,
  maxAttestationAge: 86_400,
  models: { demo: [digest] },
  engine: 'any',
  operator: 'any',
  release: 'any',
  log: 'any',
  channel: 'attested',
}

export const policies: readonly string[] = [
  JSON.stringify({ version: 'veritee.policy.v1', roles: { controller: { ...section, models: 'any' }, worker: section } }),
  JSON.stringify({
    version: 'veritee.policy.v1',
    roles: { worker: { ...section, tee: 'any', identity: [{ mrsigner: 'b2'.repeat(32), isvProdId: 3, minIsvSvn: 4 }] } },
  }),
]

const events = [
  { type: 'request.received', body_hash: digest },
  { type: 'veritee.request', client_nonce: 'cd'.repeat(32) },
  { type: 'request.forwarded', body_hash: digest },
  { type: 'upstream.verified', result: 'verified', required: true, model_id: 'demo', session_id: 'ef'.repeat(32) },
  {
    type: 'veritee.model',
    name: 'demo',
    files: [{ name: 'demo.gguf', sha256: digest, size: 12_345 }],
    format: 'gguf',
    sealed: false,
    provenance: 'hashed_while_loading',
    chat_template_digest: digest,
  },
  {
    type: 'veritee.inference',
    engine: { name: 'llama.cpp', version: '1', build: digest, cpu_variant: 'x64' },
    profile: 'deterministic',
    prompt_tokens: 12,
    completion_tokens: 34,
    prompt_tokens_hmac: 'ab'.repeat(32),
    completion_tokens_hmac: 'ab'.repeat(32),
    parameters: { temperature: '0.7', max_tokens: 64, stop: ['a', 'b'], stream: true, user: null },
    seed: '00ff',
    ignored_parameters: ['logit_bias'],
    outcome: 'complete',
  },
  { type: 'veritee.chain', sequence: 1, previous: digest },
  { type: 'veritee.stream', events: 3, bytes: 99, root: digest },
  { type: 'veritee.upstream_receipt', digest, result: 'match', reason: null },
  { type: 'veritee.response.received', body_hash: digest, events: 3, root: digest },
  { type: 'veritee.outcome', outcome: 'complete' },
  { type: 'response.returned', body_hash: digest },
]

export const receipts: readonly string[] = [
  JSON.stringify({
    api_version: 'aci/1',
    receipt_id: 'rcpt-1',
    chat_id: 'chatcmpl-1',
    model: 'demo',
    workload_keyset_digest: digest,
    endpoint: '/v1/chat/completions',
    method: 'POST',
    served_at: 1_780_000_000,
    event_log: events,
    key_id: 'receipt-1',
    signature: 'ab'.repeat(64),
  }),
]

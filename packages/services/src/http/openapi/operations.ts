import { tokenDirectoryPath } from 'veritee/tokens'
import { chatEndpoint, completionsEndpoint, embeddingsEndpoint, responsesEndpoint } from '../chat-request.ts'
import { ref, type Schema } from './schema.ts'

/** Which listener an operation is on. */
export type Surface = 'worker' | 'api' | 'control'

export interface Operation {
  readonly method: 'get' | 'post'
  /** With parameters in braces. */
  readonly path: string
  readonly on: readonly Surface[]
  readonly summary: string
  /** Names of schemas. */
  readonly request?: string
  readonly answer: { readonly status: number; readonly schema: Schema }
  /** Schema of the data of one event, where the answer can be a stream. */
  readonly event?: string
  readonly query?: { readonly [name: string]: string }
  readonly headers?: { readonly [name: string]: string }
  /** Statuses of errors, with when they are. */
  readonly errors: { readonly [status: string]: string }
  /** Has a receipt, whose id is in a header. */
  readonly receipt?: true
}

const both = ['worker', 'api'] as const
const nonce = { 'X-Veritee-Nonce': '64 lower-case hex digits, echoed in the receipt' }

const inferenceErrors = {
  400: 'the request is malformed, or asks for what is not offered',
  401: 'a controller with API keys: there is none, or it is not known, revoked or expired',
  403: 'a controller with API keys: this one may not use the model',
  404: 'no such model',
  412: 'none of the pinned sessions can serve',
  413: 'the body is too large',
  429: 'too many requests; Retry-After',
  500: 'the answer failed',
  502: 'the answer of the worker was withheld',
  503: 'nobody can serve this now; Retry-After',
}

const inference = (path: string, summary: string, request: string, answer: string, event?: string): Operation => ({
  method: 'post',
  path,
  on: both,
  summary,
  request,
  answer: { status: 200, schema: ref(answer) },
  ...(event !== undefined && { event }),
  headers: nonce,
  errors: inferenceErrors,
  receipt: true,
})

const read = (path: string, on: readonly Surface[], summary: string, answer: Schema, more: Partial<Operation> = {}): Operation => ({
  method: 'get',
  path,
  on,
  summary,
  answer: { status: 200, schema: answer },
  errors: {},
  ...more,
})

const registration = (path: string, summary: string, status: number, answer: string, errors: Operation['errors']): Operation => ({
  method: 'post',
  path,
  on: ['control'],
  summary,
  request: 'Registration',
  answer: { status, schema: ref(answer) },
  errors: {
    400: 'the registration is malformed',
    403: 'a check failed, which the code names',
    413: 'the body is too large',
    429: 'too many registrations; Retry-After',
    ...errors,
  },
})

const proof = { anyOf: [ref('Receipt'), ref('PrefixProof')] }
const prefix = { prefix: 'a number of events, at least 1: gives the proof that so many events are the beginning of the stream' }
const receiptErrors = { 400: 'no such prefix', 401: 'the receipt needs the credential of its request', 404: 'no such receipt, or no longer' }

/** Every route of every listener, apart from those of operators (docs/worker.md, Figures) and what only encrypted bodies are sent to (spec/ehbp-binding.md). */
export const operations: readonly Operation[] = [
  inference(chatEndpoint, 'A chat completion, plain or streamed', 'CreateChatCompletionRequest', 'ChatCompletion', 'ChatCompletionChunk'),
  inference(responsesEndpoint, 'A response, plain or streamed; nothing of it is kept', 'CreateResponseRequest', 'Response', 'ResponseStreamEvent'),
  inference(completionsEndpoint, 'The continuation of a text, plain or streamed', 'CreateCompletionRequest', 'Completion', 'Completion'),
  inference(embeddingsEndpoint, 'Vectors of texts', 'CreateEmbeddingRequest', 'EmbeddingList'),
  read('/v1/models', both, 'The models that are served now', ref('ModelList')),
  read('/v1/models/{model}', both, 'One model', ref('Model'), { errors: { 404: 'no such model' } }),
  read('/v1/aci/attestation', ['worker', 'api', 'control'], 'The report: keys and evidence', ref('Report'), {
    query: { nonce: '64 lower-case hex digits, which the evidence then binds' },
    errors: { 400: 'the nonce is malformed', 429: 'too many challenges; Retry-After' },
  }),
  read(
    '/v1/veritee/releases',
    ['worker', 'api', 'control'],
    'Release statements of this service; each is verified before it counts',
    ref('ReleaseList'),
  ),
  read('/v1/aci/receipts/{id}', both, 'A receipt, by its id or the id of the answer; or a prefix proof', proof, {
    query: prefix,
    errors: receiptErrors,
  }),
  read('/v1/veritee/keysets/{digest}', both, 'The report of a keyset whose receipts are kept', ref('Report'), { errors: { 404: 'no such keyset' } }),
  read('/v1/veritee/receipts/{id}/upstream', ['api'], 'The receipt of the worker that a receipt cites; or a prefix proof', proof, {
    query: prefix,
    errors: receiptErrors,
  }),
  read('/v1/veritee/workers/{session}/attestation', ['api'], "The worker's own report, relayed byte for byte", ref('Report'), {
    query: { nonce: '64 lower-case hex digits, which the evidence binds' },
    errors: { 400: 'the nonce is malformed', 404: 'no such session', 429: 'too many challenges; Retry-After', 502: 'the worker gave no report' },
  }),
  read('/v1/veritee/statements/{id}', ['worker'], 'What a controller is told of an exchange that it could not read', ref('SealedStatement'), {
    errors: { 404: 'no such exchange, or no longer' },
  }),
  read('/v1/aci/sessions', ['api'], 'The sessions of the workers that serve now, without the bulk of their evidence', ref('SessionList'), {
    query: { model: 'of workers that have this model', upstream_name: 'of the worker of this name' },
  }),
  read('/v1/aci/sessions/{id}', ['api'], 'One session, with its evidence', ref('Session'), { errors: { 404: 'no such session' } }),
  read(tokenDirectoryPath, ['api'], 'The keys of access tokens (RFC 9578 section 4); a key counts where the quote binds it', ref('TokenDirectory'), {
    errors: { 404: 'there are none' },
  }),
  read('/v1/veritee/replicas', ['api'], 'Where replicas of this controller are; each is verified before use', ref('ReplicaList')),
  {
    method: 'post',
    path: '/v1/workers/nonce',
    on: ['control'],
    summary: 'A nonce for one registration',
    answer: { status: 200, schema: ref('RegistrationNonce') },
    errors: {},
  },
  registration('/v1/workers', 'A worker asks to be admitted', 201, 'Worker', { 502: 'the worker could not be reached' }),
  registration('/v1/workers/leave', 'A worker goes, and gets no more requests', 200, 'Left', { 404: 'no such worker' }),
  read('/v1/workers', ['control'], 'Every worker', ref('WorkerList')),
  read('/v1/workers/{keyset}', ['control'], 'A worker that may get requests, by the digest of its keyset', ref('Worker'), {
    errors: { 404: 'no such worker' },
  }),
  read('/healthz', both, 'The process answers', ref('Health')),
  read('/readyz', both, 'Whether it should get requests', ref('Readiness'), { errors: {} }),
  read('/openapi.json', ['worker', 'api', 'control'], 'This document', ref('OpenApi')),
]

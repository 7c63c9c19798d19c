import { createHmac, createSecretKey } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { InferenceEvent, Outcome } from 'veritee/receipt'
import { embeddingsEndpoint } from '../../http/chat-request.ts'
import { errorBody, toHttpError } from '../../http/errors.ts'
import { endPlain, offerReceipt } from '../../http/receipt-trailer.ts'
import { type AnswerDeps, announce, bodyOf, digest, type Prepared, prepare, refuse, requestEvents } from './answer.ts'
import { type Embedding, type EmbeddingRequest, type Engine, parseEmbeddingRequest, promptTokensOf, RequestError } from './engine/index.ts'
import { openReceipt } from './sealed/open-receipt.ts'
import { type ServedModel, tokensHmac } from './served-model.ts'

/**
 * `POST /v1/embeddings` of a worker: the vectors of texts, and a receipt of how they were made. Never throws.
 * Texts are evaluated one after the other; when the requester leaves, none is begun any more.
 */
export async function handleEmbeddings(deps: AnswerDeps, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const abort = new AbortController()
  response.once('close', () => abort.abort())
  const receipt = openReceipt(deps, incoming)
  try {
    const prepared = await prepare(deps, incoming, (body) => parseEmbeddingRequest(body, { handled: ['provider'] }))
    const { request, model } = prepared
    const inputs = await inputTokens(request, model)
    offerReceipt(incoming, response)
    const receiptKey = announce(receipt, response)
    const { embeddings, outcome, error } = await embedAll(inputs, prepared, abort.signal)
    const failed = outcome === 'error'
    const body = bodyOf(prepared, failed ? errorBody(toHttpError(error)) : JSON.stringify(answerOf(embeddings, request)))
    const sent = outcome === 'aborted' ? Buffer.alloc(0) : body
    const events = [
      ...requestEvents(prepared),
      embeddingEvent(prepared, embeddings, outcome, receiptKey),
      { type: 'response.returned' as const, body_hash: digest(sent) },
    ]
    const text = await receipt.finish({ chatId: null, model: model.name, endpoint: embeddingsEndpoint, stream: null, events, receiptKey })
    if (outcome !== 'aborted') endPlain(response, failed ? toHttpError(error).status : 200, body, text)
  } catch (error) {
    refuse(error, receipt, response)
  }
}

/** The tokens of each input, bounded before it is tokenized. Throws {@link RequestError}. */
export async function inputTokens(
  request: EmbeddingRequest,
  { engine, template }: Pick<ServedModel, 'engine' | 'template'>,
): Promise<(readonly number[])[]> {
  const { contextSize } = engine.facts
  const size = engine.model.embeddingSize
  if (request.dimensions !== null && request.dimensions !== size)
    throw new RequestError(`the vectors of this model have ${size} dimensions and are not shortened`, {
      param: 'dimensions',
      code: 'unsupported_value',
    })
  const inputs: (readonly number[])[] = []
  for (const [index, input] of request.inputs.entries()) {
    // Each is bounded, but there may be hundreds: others have their turn between them.
    if (index > 0) await new Promise((resolve) => setImmediate(resolve))
    const param = request.inputs.length === 1 ? 'input' : `input[${index}]`
    const tokens = promptTokensOf(input, engine, template, param)
    // Two for what the model file may ask for at the ends, one that the binding keeps.
    if (tokens.length + 3 > contextSize)
      throw new RequestError(`the context of this model holds ${contextSize} tokens; ${param}: ${tokens.length}`, {
        param,
        code: 'context_length_exceeded',
      })
    inputs.push(tokens)
  }
  return inputs
}

interface Embedded {
  readonly embeddings: readonly Embedding[]
  readonly outcome: Outcome
  readonly error?: unknown
}

async function embedAll(inputs: readonly (readonly number[])[], { model }: Prepared<EmbeddingRequest>, signal: AbortSignal): Promise<Embedded> {
  const embeddings: Embedding[] = []
  try {
    for (const tokens of inputs) embeddings.push(await model.engine.embed(tokens, signal))
    return { embeddings, outcome: signal.aborted ? 'aborted' : 'complete' }
  } catch (error) {
    return { embeddings, outcome: signal.aborted ? 'aborted' : 'error', error }
  }
}

function answerOf(embeddings: readonly Embedding[], { model, encoding }: EmbeddingRequest): object {
  const tokens = embeddings.reduce((sum, embedding) => sum + embedding.tokens.length, 0)
  return {
    object: 'list',
    model,
    data: embeddings.map(({ vector }, index) => ({
      object: 'embedding',
      index,
      embedding: encoding === 'base64' ? floatBytes(vector).toString('base64') : [...vector],
    })),
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  }
}

function embeddingEvent(
  { request, model }: Prepared<EmbeddingRequest>,
  embeddings: readonly Embedding[],
  outcome: Outcome,
  receiptKey: Uint8Array,
): InferenceEvent {
  const tokens = embeddings.flatMap((embedding) => embedding.tokens)
  return {
    type: 'veritee.inference',
    engine: model.describedEngine,
    profile: model.engine.facts.profile,
    prompt_tokens: tokens.length,
    completion_tokens: 0,
    prompt_tokens_hmac: tokensHmac(receiptKey, tokens),
    completion_tokens_hmac: tokensHmac(receiptKey, []),
    parameters: toldEmbedding(request, model.engine, embeddings, receiptKey),
    seed: null,
    ignored_parameters: request.ignored,
    outcome,
  }
}

/** The parameters of an embedding, and the digest of its vectors, as its receipt tells them. */
export function toldEmbedding(
  request: EmbeddingRequest,
  engine: Engine,
  embeddings: readonly Embedding[],
  receiptKey: Uint8Array,
): { readonly dimensions: number; readonly encoding_format: string; readonly inputs: number; readonly vectors_hmac: string } {
  const vectors = createHmac('sha256', createSecretKey(receiptKey))
  for (const { vector } of embeddings) vectors.update(floatBytes(vector))
  return {
    dimensions: engine.model.embeddingSize,
    encoding_format: request.encoding,
    inputs: request.inputs.length,
    vectors_hmac: vectors.digest('hex'),
  }
}

/** IEEE 754 single precision, little-endian. */
export function floatBytes(vector: Float32Array): Buffer {
  const bytes = Buffer.alloc(4 * vector.length)
  for (const [i, value] of vector.entries()) bytes.writeFloatLE(value, 4 * i)
  return bytes
}

import { fromUtf8, type Json, jcs, parseJson } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import { floatBytes, inputTokens, toldEmbedding } from '../enclave/worker/embeddings.ts'
import { type Embedding, type EmbeddingRequest, parseEmbeddingRequest, RequestError } from '../enclave/worker/engine/index.ts'
import { record } from './answer.ts'
import type { Exchange } from './claim.ts'
import type { ReplayModel } from './model.ts'
import { Ended, endedByContext, type ReplayCheck } from './report.ts'
import { isTokensOf } from './tokens.ts'

const vectorsId = 'replay.vectors'
const tooLong = 'context_length_exceeded'

/**
 * Makes the vectors of an exchange again, by the worker's own code, and compares: the tokens of the inputs, every parameter, then each vector, bit by bit, with that in the response, and all of
 * them with the digest in the receipt. Gives the first input whose vector differs in the response; null where none does.
 *
 * Only for engines that give equal bits (level 1). Throws {@link Ended}, `engine_failed`.
 */
export async function checkVectors(exchange: Exchange, { engine, template }: ReplayModel, checks: ReplayCheck[]): Promise<number | null> {
  const { inference, receiptKey } = exchange
  if (inference.outcome !== 'complete') throw new Ended('no_answer', 'replay.outcome', `the outcome is ${inference.outcome}`)
  const request = readRequest(exchange.body)
  const embeddings: Embedding[] = []
  try {
    for (const tokens of await inputTokens(request, { engine, template })) embeddings.push(await engine.embed(tokens))
  } catch (error) {
    const isTooLong = error instanceof VeriteeError ? error.code === 'context_overflow' : error instanceof RequestError && error.code === tooLong
    // A worker may have had a larger one than this.
    if (isTooLong && engine.facts.contextSize < engine.model.trainContextSize) throw endedByContext(engine.facts.contextSize)
    if (error instanceof RequestError || isTooLong)
      throw new Ended('prompt_differs', 'replay.prompt', 'the model of this receipt cannot take this request')
    throw error
  }
  const tokens = embeddings.flatMap((embedding) => embedding.tokens)
  if (tokens.length !== inference.prompt_tokens || inference.completion_tokens !== 0)
    throw new Ended('prompt_differs', 'replay.prompt', `expected ${tokens.length} tokens, found ${inference.prompt_tokens}`)
  if (receiptKey !== null && !isTokensOf(receiptKey, tokens, inference.prompt_tokens_hmac))
    throw new Ended('prompt_differs', 'replay.prompt', 'the digest in the receipt is over other tokens, or under another key')
  checks.push({
    id: 'replay.prompt',
    status: receiptKey === null ? 'waived' : 'pass',
    detail: `${tokens.length} tokens${receiptKey === null ? '; which ones takes the receipt key' : ''}`,
  })

  const { vectors_hmac: digest, ...told } = toldEmbedding(request, engine, embeddings, receiptKey ?? new Uint8Array(32))
  const { vectors_hmac: claimed, ...claimedRest } = inference.parameters
  const here = jcs({ ...told, seed: null, ignored: [...request.ignored] })
  if (here !== jcs({ ...(claimedRest as { [name: string]: Json }), seed: inference.seed, ignored: [...inference.ignored_parameters] }))
    throw new Ended('parameters_differ', 'replay.parameters', 'not what the request asks for')
  checks.push({ id: 'replay.parameters', status: 'pass', detail: [...Object.keys(told), 'seed', 'ignored'].join(', ') })

  const sent = vectorsOf(exchange.response, request)
  if (sent.length !== embeddings.length) throw new Ended('vectors_differ', vectorsId, `expected ${embeddings.length} vectors, found ${sent.length}`)
  const differs = embeddings.findIndex(({ vector }, i) => !sentBytes(vector, request).equals(sent[i] ?? Buffer.alloc(0)))
  if (differs !== -1) return differs
  if (receiptKey === null) throw new Ended('key_missing', vectorsId, 'the vectors are equal; that the receipt is over them takes the receipt key')
  if (claimed !== digest) throw new Ended('vectors_differ', vectorsId, 'the digest in the receipt is over other vectors')
  checks.push({ id: vectorsId, status: 'pass', detail: `${embeddings.length} vectors, every bit equal` })
  checks.push({ id: 'replay.outcome', status: 'pass', detail: inference.outcome })
  return null
}

function readRequest(body: unknown): EmbeddingRequest {
  try {
    return parseEmbeddingRequest(body, { handled: ['provider'] })
  } catch (error) {
    // Its message may quote the request.
    if (error instanceof RequestError) throw new Ended('request_unknown', 'replay.request', 'this version does not take such a request')
    throw error
  }
}

/** A vector as bytes, as a response of this encoding can tell it: JSON has no negative zero. */
function sentBytes(vector: Float32Array, { encoding }: EmbeddingRequest): Buffer {
  return floatBytes(encoding === 'float' ? vector.map((value) => value + 0) : vector)
}

/** The vectors of a response as bytes, in the order of its inputs. Throws {@link Ended}. */
function vectorsOf(response: Uint8Array, { encoding }: EmbeddingRequest): Buffer[] {
  try {
    const { data } = record(parseJson(fromUtf8(response), { maxLength: 1 << 26, maxDepth: 8 }))
    if (!Array.isArray(data)) throw new TypeError('embeddings: expected a list')
    return data.map(record).map(({ index, embedding }, i) => {
      if (index !== i) throw new TypeError('embeddings: expected them in order')
      if (encoding === 'base64' && typeof embedding === 'string') return Buffer.from(embedding, 'base64')
      if (encoding === 'float' && Array.isArray(embedding) && embedding.every((value) => typeof value === 'number' && Math.fround(value) === value))
        return floatBytes(Float32Array.from(embedding as number[]))
      throw new TypeError('embeddings: expected vectors of this encoding')
    })
  } catch (error) {
    if (error instanceof VeriteeError || error instanceof TypeError)
      throw new Ended('vectors_differ', vectorsId, 'the response is no list of embeddings')
    throw error
  }
}

import { stat } from 'node:fs/promises'
import { readGgufFileInfo } from 'node-llama-cpp'
import { fail } from 'veritee/errors'

/** What a model needs of an enclave. */
export interface ModelSize {
  /** Bytes of its file, or of all its parts. */
  readonly weights: number
  /** Bytes of keys and values of all sequences at full length, and the engine's buffers. */
  readonly context: number
}

export interface SizeOptions {
  /** Most tokens of prompt and answer together. */
  readonly maxContext: number
  /** Requests evaluated together. */
  readonly sequences: number
}

/** Tokens of a prompt that are evaluated at once: the engine keeps logits of each. */
const batch = 512
const engineBytes = 256 << 20

/**
 * Sizes a model from its file: weights as they are; for each token of context and each layer a key and a value of 16 bits each; logits of one batch; and what
 * the engine has beside. Throws `model_unavailable`, `model_malformed`.
 */
export async function sizeModel(path: string, { maxContext, sequences }: SizeOptions): Promise<ModelSize> {
  const { size: weights } = await stat(path).catch((cause: unknown) => {
    throw fail('model_unavailable', `expected a model file at ${path}`, cause)
  })
  const info = await readGgufFileInfo(path, { sourceType: 'filesystem', logWarnings: false, readTensorInfo: false }).catch((cause: unknown) => {
    throw fail('model_malformed', `${path}: expected GGUF`, cause)
  })
  const {
    block_count: layers,
    embedding_length: width,
    attention,
    vocab_size: said,
  } = info.architectureMetadata as Readonly<{
    block_count?: number
    embedding_length?: number
    vocab_size?: number
    attention?: { head_count?: number | number[]; head_count_kv?: number | number[]; key_length?: number; value_length?: number }
  }>
  const heads = one(attention?.head_count)
  if (layers === undefined || width === undefined || heads === null)
    throw fail('model_malformed', `${path}: expected layers, width and heads in its metadata`)
  const cached = one(attention?.head_count_kv) ?? heads
  const head = width / heads
  const perToken = layers * cached * ((attention?.key_length ?? head) + (attention?.value_length ?? head)) * 2
  const vocabulary = said ?? info.metadata.tokenizer?.ggml?.tokens?.length ?? 0
  return { weights, context: Math.ceil(perToken * maxContext * sequences + vocabulary * batch * 4 + engineBytes) }
}

/** The largest, where layers differ. */
function one(value: number | readonly number[] | undefined): number | null {
  if (value === undefined) return null
  return typeof value === 'number' ? value : Math.max(...value)
}

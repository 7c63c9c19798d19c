// A model of random weights in a GGUF file: what it says is noise, what it costs is real. Tokenizer and template are the demo model's.
import { open, readFile } from 'node:fs/promises'

export interface Sizes {
  readonly layers: number
  readonly width: number
  readonly feedForward: number
  readonly heads: number
  readonly context: number
}

/** 85 million parameters in the matrices of its layers, 1.6 million in its embedding. */
export const sizes85M: Sizes = { layers: 12, width: 768, feedForward: 2048, heads: 12, context: 1024 }

const q8 = 8
const f32 = 0
const block = 32
const alignment = 32
/** Half-precision 0.0004: with bytes spread over -127 to 127, weights of a deviation near 0.03. */
const scaleBits = 0x0e8e

interface Tensor {
  readonly name: string
  /** Fastest first. */
  readonly dimensions: readonly number[]
}

/** Writes the same file for the same sizes and seed. Returns the number of parameters. */
export async function writeRandomModel(path: string, tokenizerFrom: string, sizes: Sizes, seed: number): Promise<number> {
  const { metadata, vocabulary } = readTokenizer(await readFile(tokenizerFrom))
  const { layers, width, feedForward, heads, context } = sizes
  const numbers: readonly (readonly [string, number])[] = [
    ['block_count', layers],
    ['context_length', context],
    ['embedding_length', width],
    ['feed_forward_length', feedForward],
    ['attention.head_count', heads],
    ['attention.head_count_kv', heads],
    ['rope.dimension_count', width / heads],
    ['vocab_size', vocabulary],
  ]
  const own = [
    keyValue('general.architecture', 8, text('llama')),
    ...numbers.map(([name, value]) => keyValue(`llama.${name}`, 4, u32(value))),
    keyValue('llama.attention.layer_norm_rms_epsilon', 6, float(1e-5)),
  ]
  const tensors = tensorsOf(sizes, vocabulary)
  const infos: Buffer[] = []
  let offset = 0
  for (const { name, dimensions } of tensors) {
    infos.push(text(name), u32(dimensions.length), ...dimensions.map(u64), u32(isMatrix(dimensions) ? q8 : f32), u64(offset))
    offset += Math.ceil(bytesOf(dimensions) / alignment) * alignment
  }
  const head = Buffer.concat([Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(own.length + metadata.length), ...own, ...metadata, ...infos])
  const file = await open(path, 'w')
  try {
    await file.write(Buffer.concat([head, Buffer.alloc(-head.length & (alignment - 1))]))
    let state = seed | 1
    for (const { dimensions } of tensors) {
      const data = Buffer.alloc(Math.ceil(bytesOf(dimensions) / alignment) * alignment)
      if (isMatrix(dimensions))
        for (let at = 0; at < bytesOf(dimensions); at += block + 2) {
          data.writeUInt16LE(scaleBits, at)
          for (let i = 0; i < block; i += 4) {
            // xorshift32
            state ^= state << 13
            state ^= state >>> 17
            state ^= state << 5
            data.writeInt32LE(state, at + 2 + i)
          }
        }
      else for (let at = 0; at < bytesOf(dimensions); at += 4) data.writeFloatLE(1, at)
      await file.write(data)
    }
  } finally {
    await file.close()
  }
  return tensors.reduce((sum, { dimensions }) => sum + dimensions.reduce((product, size) => product * size), 0)
}

function tensorsOf({ layers, width, feedForward }: Sizes, vocabulary: number): Tensor[] {
  const tensors: Tensor[] = [
    { name: 'token_embd.weight', dimensions: [width, vocabulary] },
    { name: 'output_norm.weight', dimensions: [width] },
  ]
  const matrices: readonly (readonly [string, number, number])[] = [
    ['attn_q', width, width],
    ['attn_k', width, width],
    ['attn_v', width, width],
    ['attn_output', width, width],
    ['ffn_gate', width, feedForward],
    ['ffn_up', width, feedForward],
    ['ffn_down', feedForward, width],
  ]
  for (let layer = 0; layer < layers; layer++) {
    for (const name of ['attn_norm', 'ffn_norm']) tensors.push({ name: `blk.${layer}.${name}.weight`, dimensions: [width] })
    for (const [name, input, output] of matrices) tensors.push({ name: `blk.${layer}.${name}.weight`, dimensions: [input, output] })
  }
  return tensors
}

function isMatrix(dimensions: readonly number[]): boolean {
  return dimensions.length > 1
}

function bytesOf(dimensions: readonly number[]): number {
  const count = dimensions.reduce((product, size) => product * size)
  return isMatrix(dimensions) ? (count / block) * (block + 2) : 4 * count
}

/** The members of a GGUF file's metadata that concern the tokenizer, as they stand there. */
function readTokenizer(file: Buffer): { metadata: Buffer[]; vocabulary: number } {
  let at = 24
  const length = (): number => {
    at += 8
    return Number(file.readBigUInt64LE(at - 8))
  }
  const skipText = (): void => {
    const bytes = length()
    at += bytes
  }
  let vocabulary = 0
  const skipValue = (type: number, name: string): void => {
    if (type === 8) skipText()
    else if (type === 9) {
      at += 4
      const inner = file.readUInt32LE(at - 4)
      const count = length()
      if (name === 'tokenizer.ggml.tokens') vocabulary = count
      for (let i = 0; i < count; i++) skipValue(inner, '')
    } else at += [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8][type] ?? 0
  }
  const metadata: Buffer[] = []
  for (let left = Number(file.readBigUInt64LE(16)); left > 0; left--) {
    const start = at
    skipText()
    const name = file.toString('utf8', start + 8, at)
    at += 4
    skipValue(file.readUInt32LE(at - 4), name)
    if (name.startsWith('tokenizer.')) metadata.push(file.subarray(start, at))
  }
  return { metadata, vocabulary }
}

function keyValue(name: string, type: number, value: Buffer): Buffer {
  return Buffer.concat([text(name), u32(type), value])
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([u64(bytes.length), bytes])
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

function float(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeFloatLE(value)
  return bytes
}

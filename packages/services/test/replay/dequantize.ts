// Other models of one tokenizer: the same weights as 32-bit floats or in fewer bits, or one tensor changed, from a GGUF file (version 3, little-endian) of Q8_0 and F32 tensors.

const f32 = 0
const q8 = 8
const alignment = 32

interface Tensor {
  readonly name: Buffer
  readonly dimensions: readonly bigint[]
  readonly type: number
  readonly offset: number
}

interface Header {
  readonly metadata: Buffer
  readonly tensors: readonly Tensor[]
  /** Where the data of tensors begin. */
  readonly data: number
}

function headerOf(file: Buffer): Header {
  const reader = new Reader(file)
  reader.at = 8
  const tensorCount = Number(reader.u64())
  const metadataCount = Number(reader.u64())
  const metadataStart = reader.at
  for (let i = 0; i < metadataCount; i++) {
    reader.text()
    reader.skipValue(reader.u32())
  }
  const metadata = file.subarray(metadataStart, reader.at)
  const tensors: Tensor[] = []
  for (let i = 0; i < tensorCount; i++) {
    const name = reader.text()
    const dimensions = Array.from({ length: reader.u32() }, () => reader.u64())
    tensors.push({ name, dimensions, type: reader.u32(), offset: Number(reader.u64()) })
  }
  return { metadata, tensors, data: Math.ceil(reader.at / alignment) * alignment }
}

/** The same file with bits of every value of one tensor (Q8_0) flipped: by default the lowest, which is the nearest other model. */
export function withOtherTensor(file: Buffer, name: string, bits = 1): Buffer {
  const { tensors, data } = headerOf(file)
  const tensor = tensors.find((one) => one.name.toString() === name && one.type === q8)
  if (tensor === undefined) throw new Error(`expected a Q8_0 tensor ${name}, found ${tensors.map((one) => one.name).join(', ')}`)
  const count = Number(tensor.dimensions.reduce((product, size) => product * size, 1n))
  const changed = Buffer.from(file)
  // A block is a scale of two bytes, then 32 values.
  for (let i = 0; i < (count / 32) * 34; i++) if (i % 34 >= 2) changed[data + tensor.offset + i] = (changed[data + tensor.offset + i] ?? 0) ^ bits
  return changed
}

/** The same weights with 16 values in a block instead of 256, as of four bits, in a file of the same form. */
export function requantize(file: Buffer): Buffer {
  const { tensors, data } = headerOf(file)
  const changed = Buffer.from(file)
  for (const { type, dimensions, offset } of tensors) {
    const count = Number(dimensions.reduce((product, size) => product * size, 1n))
    if (type === q8)
      for (let i = 0; i < (count / 32) * 34; i++) {
        const at = data + offset + i
        if (i % 34 >= 2) changed.writeInt8(Math.max(-128, Math.min(112, 16 * Math.round(changed.readInt8(at) / 16))), at)
      }
  }
  return changed
}

/** Reads the header, keeps the metadata as they are, and writes every tensor as F32. */
export function dequantize(file: Buffer): Buffer {
  const { metadata, tensors, data } = headerOf(file)
  const infos: Buffer[] = []
  const parts: Buffer[] = []
  let offset = 0
  for (const { name, dimensions, type, offset: from } of tensors) {
    const count = Number(dimensions.reduce((product, size) => product * size, 1n))
    const values = type === q8 ? floats(file.subarray(data + from), count) : file.subarray(data + from, data + from + 4 * count)
    infos.push(u64(BigInt(name.length)), name, u32(dimensions.length), ...dimensions.map(u64), u32(f32), u64(BigInt(offset)))
    parts.push(values, Buffer.alloc(-values.length & (alignment - 1)))
    offset += Math.ceil(values.length / alignment) * alignment
  }
  const head = Buffer.concat([file.subarray(0, 24), metadata, ...infos])
  return Buffer.concat([head, Buffer.alloc(-head.length & (alignment - 1)), ...parts])
}

/** Blocks of 32 values: a half-precision scale and 32 signed bytes. */
function floats(blocks: Buffer, count: number): Buffer {
  const out = Buffer.alloc(4 * count)
  for (let i = 0; i < count; i++) {
    const block = Math.floor(i / 32) * 34
    out.writeFloatLE(half(blocks.readUInt16LE(block)) * blocks.readInt8(block + 2 + (i % 32)), 4 * i)
  }
  return out
}

function half(bits: number): number {
  const exponent = (bits >> 10) & 31
  const fraction = (bits & 1023) / 1024
  const size = exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15)
  return bits & 0x8000 ? -size : size
}

class Reader {
  at = 0
  readonly #file: Buffer
  constructor(file: Buffer) {
    this.#file = file
  }
  u32(): number {
    this.at += 4
    return this.#file.readUInt32LE(this.at - 4)
  }
  u64(): bigint {
    this.at += 8
    return this.#file.readBigUInt64LE(this.at - 8)
  }
  text(): Buffer {
    const length = Number(this.u64())
    this.at += length
    return this.#file.subarray(this.at - length, this.at)
  }
  skipValue(type: number): void {
    if (type === 8) this.text()
    else if (type === 9) {
      const inner = this.u32()
      for (let left = this.u64(); left > 0n; left--) this.skipValue(inner)
    } else this.at += [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8][type] as number
  }
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return bytes
}

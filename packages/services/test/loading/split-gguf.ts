import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

// Sizes of GGUF's value types by their number; a string (8) and an array (9) say their own.
const sizes: Readonly<Record<number, number>> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 }
const alignment = 32

interface Tensor {
  readonly name: string
  /** Name, dimensions and type, as they lie in the file; the offset follows. */
  readonly head: Buffer
  readonly data: Buffer
}

/** Splits a GGUF file of default alignment into parts as llama.cpp's own splitter does: all metadata in the first, tensors spread in order. */
export async function splitGguf(path: string, directory: string, prefix: string, count: number): Promise<string[]> {
  const { metadata, kvCount, tensors } = parse(await readFile(path))
  const perPart = Math.ceil(tensors.length / count)
  const paths: string[] = []
  for (let part = 0; part < count; part++) {
    const own = tensors.slice(part * perPart, (part + 1) * perPart)
    const split = [
      keyed('split.no', 2, uint(2, part)),
      keyed('split.count', 2, uint(2, count)),
      keyed('split.tensors.count', 5, uint(4, tensors.length)),
    ]
    const infos: Buffer[] = []
    const data: Buffer[] = []
    let offset = 0
    for (const tensor of own) {
      infos.push(tensor.head, uint(8, offset))
      const padded = pad(tensor.data)
      data.push(padded)
      offset += padded.length
    }
    const kept = part === 0 ? [metadata] : []
    const head = [
      Buffer.from('GGUF'),
      uint(4, 3),
      uint(8, own.length),
      uint(8, (part === 0 ? kvCount : 0) + split.length),
      ...kept,
      ...split,
      ...infos,
    ]
    const name = `${prefix}-${String(part + 1).padStart(5, '0')}-of-${String(count).padStart(5, '0')}.gguf`
    paths.push(join(directory, name))
    await writeFile(join(directory, name), Buffer.concat([pad(Buffer.concat(head)), ...data]))
  }
  return paths
}

function parse(bytes: Buffer): { metadata: Buffer; kvCount: number; tensors: Tensor[] } {
  let at = 8
  const number = (size: number): number => {
    const value = size === 8 ? Number(bytes.readBigUInt64LE(at)) : bytes.readUIntLE(at, size)
    at += size
    return value
  }
  const text = (): string => {
    const length = number(8)
    at += length
    return bytes.toString('utf8', at - length, at)
  }
  const skip = (type: number): void => {
    if (type === 8) text()
    else if (type === 9) {
      const item = number(4)
      for (let left = number(8); left > 0; left--) skip(item)
    } else at += sizes[type] ?? Number.NaN
  }
  const tensorCount = number(8)
  const kvCount = number(8)
  const start = at
  for (let i = 0; i < kvCount; i++) {
    text()
    skip(number(4))
  }
  const metadata = bytes.subarray(start, at)
  const infos = Array.from({ length: tensorCount }, () => {
    const from = at
    const name = text()
    const dimensions = number(4)
    at += 8 * dimensions + 4
    const head = bytes.subarray(from, at)
    return { name, head, offset: number(8) }
  })
  const dataStart = Math.ceil(at / alignment) * alignment
  const ends = [...infos.map(({ offset }) => offset), bytes.length - dataStart].sort((a, b) => a - b)
  const tensors = infos.map(({ name, head, offset }) => {
    const end = ends.find((one) => one > offset) ?? offset
    return { name, head, data: bytes.subarray(dataStart + offset, dataStart + end) }
  })
  return { metadata, kvCount, tensors }
}

function keyed(key: string, type: number, value: Buffer): Buffer {
  return Buffer.concat([uint(8, key.length), Buffer.from(key), uint(4, type), value])
}

function uint(size: number, value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes.subarray(0, size)
}

function pad(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((alignment - (bytes.length % alignment)) % alignment)])
}

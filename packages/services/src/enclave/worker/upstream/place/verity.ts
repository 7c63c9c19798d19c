import { createHash } from 'node:crypto'

/** How a dm-verity device was formatted. None of it is trusted: another value gives another root hash. */
export interface VerityFormat {
  readonly dataBlockSize: number
  readonly hashBlockSize: number
  readonly dataBlocks: number
  readonly salt: Uint8Array
}

/** Of a superblock. */
export const superblockBytes = 512
const digestBytes = 32

/**
 * Reads the superblock that `veritysetup format` writes (cryptsetup, docs/on-disk-format in its wiki: "DMVerity", version 1): hash type 1, SHA-256, blocks of 512 to 65,536 bytes. Null for anything else.
 */
export function readSuperblock(bytes: Uint8Array): VerityFormat | null {
  const block = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  if (block.length < superblockBytes || block.toString('latin1', 0, 8) !== 'verity\0\0') return null
  if (block.readUInt32LE(8) !== 1 || block.readUInt32LE(12) !== 1 || block.toString('latin1', 32, 64).replace(/\0+$/, '') !== 'sha256') return null
  const [dataBlockSize, hashBlockSize, saltBytes] = [block.readUInt32LE(64), block.readUInt32LE(68), block.readUInt16LE(80)]
  const dataBlocks = Number(block.readBigUInt64LE(72))
  if (![dataBlockSize, hashBlockSize].every(isBlockSize) || dataBlocks < 1 || !Number.isSafeInteger(dataBlocks * dataBlockSize) || saltBytes > 256)
    return null
  return { dataBlockSize, hashBlockSize, dataBlocks, salt: Uint8Array.from(block.subarray(88, 88 + saltBytes)) }
}

function isBlockSize(size: number): boolean {
  return size >= 512 && size <= 65_536 && (size & (size - 1)) === 0
}

interface Level {
  /** Digests, zeros behind them. */
  readonly block: Buffer
  used: number
  /** Digests that ever came to this level. */
  total: number
}

/**
 * The root hash over the bytes that a dm-verity device gives, 64 lower-case hex digits: what the kernel compares them with if it was told this hash, and what they hash to whatever it was told.
 * Null where there are not exactly as many bytes as the format says.
 */
export async function verityRoot(
  { dataBlockSize, hashBlockSize, dataBlocks, salt }: VerityFormat,
  bytes: AsyncIterable<Uint8Array>,
): Promise<string | null> {
  const levels: Level[] = []
  const digest = (block: Uint8Array): Buffer => createHash('sha256').update(salt).update(block).digest()
  const add = (at: number, hash: Buffer): void => {
    const level = levels[at] ?? { block: Buffer.alloc(hashBlockSize), used: 0, total: 0 }
    levels[at] = level
    hash.copy(level.block, level.used)
    level.used += digestBytes
    level.total++
    if (level.used + digestBytes > hashBlockSize) close(at, level)
  }
  const close = (at: number, level: Level): void => {
    const hash = digest(level.block)
    level.block.fill(0)
    level.used = 0
    add(at + 1, hash)
  }
  let rest: Buffer = Buffer.alloc(0)
  let blocks = 0
  for await (const part of bytes) {
    rest = rest.length === 0 ? Buffer.from(part.buffer, part.byteOffset, part.length) : Buffer.concat([rest, part])
    let at = 0
    for (; at + dataBlockSize <= rest.length; at += dataBlockSize) {
      if (++blocks > dataBlocks) return null
      add(0, digest(rest.subarray(at, at + dataBlockSize)))
    }
    rest = rest.subarray(at)
  }
  if (blocks !== dataBlocks || rest.length > 0) return null
  for (let at = 0; ; at++) {
    const level = levels[at]
    if (level === undefined) return null
    if (level.total === 1) return level.block.toString('hex', 0, digestBytes)
    if (level.used > 0) close(at, level)
  }
}

import { accessSync, readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { kernelView } from '../../src/enclave/worker/upstream/place/measured-mount.ts'
import { readSuperblock, verityRoot } from '../../src/enclave/worker/upstream/place/verity.ts'
import { bytesOf, superblock, vectors } from './verity-vectors.ts'

async function* parts(bytes: Uint8Array, length: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length)
}

describe('S2: the root hash of a dm-verity device', () => {
  test.each(Object.entries(vectors))('is that of veritysetup: %s', async (_, vector) => {
    const format = readSuperblock(superblock(vector))
    if (format === null) throw new Error('no format')
    expect(format).toMatchObject({ dataBlocks: vector.blocks, dataBlockSize: vector.dataBlockSize, hashBlockSize: vector.hashBlockSize })
    const bytes = bytesOf(vector.blocks * vector.dataBlockSize)
    for (const length of [333, 4096, 1 << 20]) expect(await verityRoot(format, parts(bytes, length))).toBe(vector.root)
    const last = bytes.length - 1
    expect(await verityRoot(format, parts(bytes.with(last, (bytes[last] ?? 0) ^ 1), 4096))).not.toBe(vector.root)
  })

  test('is none where there are fewer or more bytes than the format says', async () => {
    const format = readSuperblock(superblock(vectors.several))
    if (format === null) throw new Error('no format')
    for (const change of [-4096, -1, 1, 4096]) expect(await verityRoot(format, parts(bytesOf(300 * 4096 + change), 4096)), String(change)).toBe(null)
    expect(await verityRoot(format, parts(new Uint8Array(0), 4096))).toBe(null)
  })

  test.each<[string, (block: Buffer) => unknown]>([
    ['another magic', (block) => block.write('VERITY', 'latin1')],
    ['another version', (block) => block.writeUInt32LE(2, 8)],
    ['the hash type of old kernels', (block) => block.writeUInt32LE(0, 12)],
    ['another algorithm', (block) => block.write('sha512', 32, 'latin1')],
    ['an algorithm of a longer name', (block) => block.write('sha256x', 32, 'latin1')],
    ['no block size', (block) => block.writeUInt32LE(0, 64)],
    ['a block size that is no power of two', (block) => block.writeUInt32LE(4097, 68)],
    ['too large a block', (block) => block.writeUInt32LE(1 << 17, 64)],
    ['no blocks', (block) => block.writeBigUInt64LE(0n, 72)],
    ['more blocks than can be counted', (block) => block.writeBigUInt64LE((1n << 64n) - 1n, 72)],
    ['too long a salt', (block) => block.writeUInt16LE(257, 80)],
  ])('a superblock with %s is none', (_, change) => {
    const block = Buffer.from(superblock(vectors.two))
    change(block)
    expect(readSuperblock(block)).toBe(null)
    expect(readSuperblock(superblock(vectors.two).subarray(0, 511))).toBe(null)
  })
})

describe('devices of this kernel', () => {
  /** `major:minor` of those whose nodes can be found and read here: none in most containers. */
  const readable = ((): string[] => {
    try {
      return readdirSync('/sys/dev/block').filter((device) => {
        try {
          accessSync(`/dev/${/^DEVNAME=(.+)$/m.exec(readFileSync(`/sys/dev/block/${device}/uevent`, 'utf8'))?.[1]}`)
          readdirSync(`/sys/dev/block/${device}/slaves`)
          return true
        } catch {
          return false
        }
      })
    } catch {
      return []
    }
  })()

  test.skipIf(readable.length === 0)(
    `are found by their numbers, with their sizes${readable.length === 0 ? ' (skipped: none to be seen here)' : ''}`,
    async () => {
      for (const device of readable) {
        const { size, superblocks } = await kernelView.verity(device)
        expect(size, device).toBe(512 * Number(readFileSync(`/sys/dev/block/${device}/size`, 'utf8')))
        // What lies on no other device has no superblock.
        if (readdirSync(`/sys/dev/block/${device}/slaves`).length === 0) expect(superblocks).toEqual([])
      }
    },
  )

  test('one that is not there cannot be read', async () => {
    await expect(kernelView.verity('4095:1048575')).rejects.toThrow()
  })
})

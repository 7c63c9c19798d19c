/** A format of dm-verity, and the root hash that veritysetup 2.6.1 (`veritysetup format`) gives for {@link bytesOf}. */
export interface VerityVector {
  readonly blocks: number
  readonly dataBlockSize: number
  readonly hashBlockSize: number
  /** Hex. */
  readonly salt: string
  readonly root: string
}

const usual = { dataBlockSize: 4096, hashBlockSize: 4096, salt: 'ab'.repeat(32) }

export const vectors = {
  one: { ...usual, blocks: 1, root: 'bc61131904b4307ec5d24c62143590ca745b64444111344129c50bb130a8cb5c' },
  two: { ...usual, blocks: 2, root: 'bae9c6ba13a1c0da6c0fbd54eb6c20d6598037c4b58307c550e66e0827b4ff33' },
  // As many digests as one block of hashes holds, and one more.
  full: { ...usual, blocks: 128, root: '92898c7619959162b0d5dca9a7d852af6f2bfca3d9cdb7f218de5f9356edb143' },
  more: { ...usual, blocks: 129, root: '12b7a1c8cb86735018edd136fe47cb0567dd7dcde54b2d182cdb53af13376552' },
  several: { ...usual, blocks: 300, root: '178414ff686fab4fd5dede201af48f8e7f632135f3190caf12e07a88b8e9973a' },
  threeLevels: {
    ...usual,
    blocks: 300,
    dataBlockSize: 512,
    hashBlockSize: 1024,
    root: '15b2b4965aff8dbbe2bf66e5bef3be6aae6b8b90d5855624effce819a2a5d4a5',
  },
  unsalted: { ...usual, blocks: 40, dataBlockSize: 1024, salt: '', root: 'aefea014797d12cce49012597038b942101f152fc3a1aba3af79f97d386375fb' },
  shortSalt: { ...usual, blocks: 5, hashBlockSize: 512, salt: '0102', root: '84d19cc6ec0ff7ee24f64780395a7cbe595025a888bce498a2a9a7cd36fe38f1' },
} as const satisfies { readonly [name: string]: VerityVector }

export function bytesOf(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 131 + (i >> 8) * 7) & 255)
}

/** As veritysetup writes it. */
export function superblock({ blocks, dataBlockSize, hashBlockSize, salt }: Omit<VerityVector, 'root'>): Uint8Array {
  const block = Buffer.alloc(512)
  block.write('verity\0\0', 'latin1')
  block.writeUInt32LE(1, 8)
  block.writeUInt32LE(1, 12)
  block.write('sha256', 32, 'latin1')
  block.writeUInt32LE(dataBlockSize, 64)
  block.writeUInt32LE(hashBlockSize, 68)
  block.writeBigUInt64LE(BigInt(blocks), 72)
  block.writeUInt16LE(salt.length / 2, 80)
  block.write(salt, 88, 'hex')
  return new Uint8Array(block)
}

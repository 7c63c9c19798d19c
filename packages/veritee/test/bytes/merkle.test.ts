import { createHash } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import { consistencyProof, fromHex, leafHash, merkleRoot, toHex, verifyConsistency } from '../../src/bytes/index.ts'

// The eight leaves, the roots over the first n of them and the proofs are the test data of the Certificate Transparency reference implementation.
const inputs = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
const roots = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]
const proofs: readonly (readonly [number, number, readonly string[]])[] = [
  [1, 1, []],
  [
    1,
    8,
    [
      '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
    ],
  ],
  [
    6,
    8,
    [
      '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ],
  ],
  [2, 5, ['5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e', 'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b']],
]

const most = 40
let leaves: Uint8Array[]
let rootOf: Uint8Array[]
beforeAll(async () => {
  leaves = await Promise.all(Array.from({ length: most }, (_, i) => leafHash(Uint8Array.of(i, 255 - i))))
  rootOf = await Promise.all(Array.from({ length: most + 1 }, (_, n) => merkleRoot(leaves.slice(0, n))))
})

/** RFC 6962 section 2.1 word by word, with Node's hash, as an oracle. */
function oracle(hashes: readonly Uint8Array[]): Uint8Array {
  const sha = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(createHash('sha256').update(Buffer.concat(parts)).digest())
  if (hashes.length === 0) return sha()
  if (hashes.length === 1) return hashes[0] as Uint8Array
  let k = 1
  while (k * 2 < hashes.length) k *= 2
  return sha(Uint8Array.of(1), oracle(hashes.slice(0, k)), oracle(hashes.slice(k)))
}

describe('the tree of RFC 6962', () => {
  it('gives the roots of the reference tests', async () => {
    const hashes = await Promise.all(inputs.map((hex) => leafHash(fromHex(hex))))
    for (const [i, root] of roots.entries()) expect(toHex(await merkleRoot(hashes.slice(0, i + 1)))).toBe(root)
    expect(toHex(await merkleRoot([]))).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  })
  it('gives the consistency proofs of the reference tests', async () => {
    const hashes = await Promise.all(inputs.map((hex) => leafHash(fromHex(hex))))
    for (const [first, second, proof] of proofs) expect((await consistencyProof(hashes.slice(0, second), first)).map(toHex)).toEqual(proof)
  })
  it('agrees with the definition for 0 to 40 leaves', () => {
    for (let n = 0; n <= most; n++) expect(rootOf[n]).toEqual(oracle(leaves.slice(0, n)))
  })
  it('keeps leaves and nodes apart: a leaf over two hashes is not their node', async () => {
    const [a, b] = leaves as [Uint8Array, Uint8Array]
    expect(await leafHash(Buffer.concat([a, b]))).not.toEqual(await merkleRoot([a, b]))
  })
})

describe('consistency proofs', () => {
  it('S9: every prefix of every tree up to 40 leaves verifies, and with any other root or size it does not', async () => {
    for (let second = 1; second <= most; second++) {
      const tree = leaves.slice(0, second)
      for (let first = 1; first <= second; first++) {
        const proof = await consistencyProof(tree, first)
        const args = [first, rootOf[first], second, rootOf[second], proof] as [number, Uint8Array, number, Uint8Array, Uint8Array[]]
        expect(await verifyConsistency(...args)).toBe(true)
        expect(await verifyConsistency(first, rootOf[(first + 1) % most] as Uint8Array, second, args[3], proof)).toBe(false)
        expect(await verifyConsistency(first, args[1], second, rootOf[second - 1] as Uint8Array, proof)).toBe(false)
      }
    }
  })
  it('S9: no mutation of a proof verifies: a bit, a missing, doubled, added, swapped or shortened hash', async () => {
    const flipped = (hash: Uint8Array, bit: number): Uint8Array => hash.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte))
    for (let second = 2; second <= most; second += 3) {
      for (let first = 1; first <= second; first += 2) {
        const proof = await consistencyProof(leaves.slice(0, second), first)
        const verdicts = (changed: readonly Uint8Array[]): Promise<boolean> =>
          verifyConsistency(first, rootOf[first] as Uint8Array, second, rootOf[second] as Uint8Array, changed)
        for (const [i, hash] of proof.entries()) {
          expect(await verdicts(proof.with(i, flipped(hash, (first * 7 + i) % 256)))).toBe(false)
          expect(await verdicts(proof.toSpliced(i, 1))).toBe(false)
          expect(await verdicts(proof.toSpliced(i, 0, hash))).toBe(false)
          expect(await verdicts(proof.with(i, hash.subarray(0, 31)))).toBe(false)
          if (i > 0) expect(await verdicts(proof.with(i, proof[i - 1] as Uint8Array).with(i - 1, hash))).toBe(false)
        }
        expect(await verdicts([...proof, rootOf[1] as Uint8Array])).toBe(false)
        expect(await verdicts([...proof, ...Array.from({ length: 65 }, () => rootOf[1] as Uint8Array)])).toBe(false)
      }
    }
  })
  it('S9: a proof between two trees shows nothing about two others', async () => {
    const proof = await consistencyProof(leaves.slice(0, 13), 6)
    for (let first = 0; first <= 16; first++)
      for (let second = 0; second <= 16; second++) {
        const verified = await verifyConsistency(first, rootOf[first] as Uint8Array, second, rootOf[second] as Uint8Array, proof)
        expect(verified).toBe(first === 6 && second === 13)
      }
  })
  it('S9: a proof whose length does not fit the sizes is refused, though both roots come out', async () => {
    const proof = await consistencyProof(leaves.slice(0, 13), 6)
    for (const second of [7, 8, 17, 26, 32, 40])
      expect(await verifyConsistency(6, rootOf[6] as Uint8Array, second, rootOf[13] as Uint8Array, proof), String(second)).toBe(false)
    const short = await consistencyProof(leaves.slice(0, 2), 1)
    for (const second of [3, 4, 5, 40])
      expect(await verifyConsistency(1, rootOf[1] as Uint8Array, second, rootOf[2] as Uint8Array, short)).toBe(false)
  })
  it.each([
    [0, 0],
    [0, 5],
    [-1, 5],
    [6, 5],
    [1.5, 5],
    [Number.NaN, 5],
    [1, Number.POSITIVE_INFINITY],
    [2 ** 53, 2 ** 53],
  ])('S9: sizes %d and %d prove nothing', async (first, second) => {
    const root = rootOf[0] as Uint8Array
    expect(await verifyConsistency(first, root, second, root, [])).toBe(false)
  })
  it('answers in bounded time for sizes no list can have', async () => {
    expect(await verifyConsistency(2 ** 52, rootOf[1] as Uint8Array, 2 ** 53 - 1, rootOf[2] as Uint8Array, [rootOf[3] as Uint8Array])).toBe(false)
  })
  it.each([0, -1, 3, 1.5, Number.NaN])('making a proof for %d of two leaves is a wrong argument', async (first) => {
    await expect(consistencyProof(leaves.slice(0, 2), first)).rejects.toThrow(TypeError)
  })
})

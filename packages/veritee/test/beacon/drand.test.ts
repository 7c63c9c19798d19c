import { readFileSync } from 'node:fs'
import { bls12_381 as oracle } from '@noble/curves/bls12-381.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromHex, sha256Digest, toHex, utf8 } from '../../src/bytes/index.ts'
import { decodeG1, decodeG2, encodeG1, g1, multiply } from '../../src/scoring/beacon/curve.ts'
import { beaconMessage, beaconTag } from '../../src/scoring/beacon/drand.ts'
import { hashToG1 } from '../../src/scoring/beacon/hash-to-g1.ts'
import {
  createLocalBeacon,
  localBeaconName,
  parseBeaconChain,
  parseBeaconRound,
  quicknet,
  roundAt,
  timeOfRound,
  verifyBeaconRound,
} from '../../src/scoring/beacon/index.ts'
import { refusal } from '../bytes/refusal.ts'

const vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/beacon.json', import.meta.url), 'utf8')) as {
  readonly chain: object
  readonly rounds: readonly { readonly round: number; readonly randomness: string | null; readonly signature: string }[]
  readonly hash_to_g1: { readonly tag: string; readonly points: readonly { readonly message: string; readonly x: string; readonly y: string }[] }
}
const [first] = vectors.rounds
const recorded = { round: 1000, randomness: first?.randomness ?? '', signature: first?.signature ?? '' }
const flipped = (hex: string, at: number): string => toHex(fromHex(hex).map((byte, i) => (i === at ? byte ^ 1 : byte)))

describe('published vectors', () => {
  it.each(vectors.rounds.map((round) => [round.round, round] as const))(
    'S16: round %i of quicknet, by its BLS signature',
    async (_, { round, randomness, signature }) => {
      const hash = (await sha256Digest(fromHex(signature))).slice(7)
      const read = parseBeaconRound(JSON.stringify({ round, randomness: randomness ?? hash, signature }))
      expect(toHex(await verifyBeaconRound(quicknet, read))).toBe(randomness ?? hash)
    },
  )

  it('the information of quicknet hashes to the name it is known by', async () => {
    expect(await parseBeaconChain(JSON.stringify(vectors.chain))).toEqual(quicknet)
  })

  it.each(vectors.hash_to_g1.points)('RFC 9380, J.9.1: $message', async ({ message, x, y }) => {
    const point = await hashToG1(utf8(message), vectors.hash_to_g1.tag)
    expect([point?.x.toString(16).padStart(96, '0'), point?.y.toString(16).padStart(96, '0')]).toEqual([x, y])
  })
})

describe('against an independent implementation', () => {
  it('hashes any message to the same point', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (message) => {
        const theirs = oracle.G1.hashToCurve(message, { DST: beaconTag }).toAffine()
        expect(await hashToG1(message, beaconTag)).toEqual(theirs)
      }),
      { numRuns: 20 },
    )
  })

  it('a local round is a signature there too, and a signature made there is a round here', async () => {
    const beacon = await createLocalBeacon(new Uint8Array(32).fill(7), { period: 3, genesisTime: 1_700_000_000 })
    const round = await beacon.round(12)
    const { shortSignatures } = oracle
    const message = shortSignatures.hash(await beaconMessage(12), beaconTag)
    expect(shortSignatures.verify(fromHex(round.signature), message, fromHex(beacon.chain.public_key))).toBe(true)
    expect(toHex(await verifyBeaconRound(beacon.chain, round))).toBe(round.randomness)
    const secret = oracle.utils.randomSecretKey()
    const chain = { ...quicknet, public_key: toHex(shortSignatures.getPublicKey(secret).toBytes()) }
    const signature = shortSignatures.sign(message, secret).toBytes()
    const made = { round: 12, signature: toHex(signature), randomness: (await sha256Digest(signature)).slice(7) }
    expect(toHex(await verifyBeaconRound(chain, made))).toBe(made.randomness)
  })

  it('reads and refuses the same encodings of points', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 48, maxLength: 48 }), fc.boolean(), (bytes, mark) => {
        if (mark) bytes[0] = ((bytes[0] ?? 0) & 0x1f) | 0x80
        let theirs: { x: bigint; y: bigint } | null = null
        try {
          const point = oracle.G1.Point.fromBytes(bytes)
          point.assertValidity()
          theirs = point.toAffine()
        } catch {
          // Refused there.
        }
        expect(decodeG1(bytes)).toEqual(theirs)
      }),
      { numRuns: 60 },
    )
    expect(decodeG2(fromHex(quicknet.public_key))).not.toBeNull()
  })
})

describe('S16: hostile rounds', () => {
  // A point of the curve that is not in the group: the first one with a small x.
  const outside = ((): string => {
    for (let x = 1; ; x++) {
      const bytes = new Uint8Array(48)
      bytes[0] = 0x80
      bytes[47] = x
      try {
        const point = oracle.G1.Point.fromBytes(bytes)
        if (!point.isTorsionFree()) return toHex(bytes)
      } catch {
        // Not on the curve, or refused for not being in the group.
        if (onCurve(BigInt(x))) return toHex(bytes)
      }
    }
  })()
  function onCurve(x: bigint): boolean {
    const { Fp } = oracle.fields
    try {
      Fp.sqrt(Fp.add(Fp.pow(x, 3n), 4n))
      return true
    } catch {
      return false
    }
  }

  it.each<[string, { round?: number; randomness?: string; signature?: string }]>([
    ['another round', { round: 1001 }],
    ['another signature of the same chain', { signature: vectors.rounds[1]?.signature ?? '' }],
    ['a changed signature', { signature: flipped(recorded.signature, 40) }],
    ['the other value of y', { signature: flipped(recorded.signature, 0).replace(/^b5/, '94') }],
    ['a point outside the group', { signature: outside }],
    ['infinity', { signature: `c0${'00'.repeat(47)}` }],
    ['infinity with the sign of y', { signature: `e0${'00'.repeat(47)}` }],
    ['a coordinate of p or more', { signature: `9a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab` }],
    ['a point that is not compressed', { signature: `34${recorded.signature.slice(2)}` }],
    ['other randomness', { randomness: flipped(recorded.randomness, 0) }],
  ])('%s', async (_, changes) => {
    const round = parseBeaconRound(JSON.stringify({ ...recorded, ...changes }))
    expect(await refusal(() => verifyBeaconRound(quicknet, round))).toBe('beacon_signature_invalid')
  })

  it('another chain, and a key that is none', async () => {
    const other = await createLocalBeacon(new Uint8Array(32), { period: 3, genesisTime: quicknet.genesis_time })
    expect(await refusal(() => verifyBeaconRound(other.chain, recorded))).toBe('beacon_signature_invalid')
    expect(await refusal(() => verifyBeaconRound({ ...quicknet, public_key: `c0${'00'.repeat(95)}` }, recorded))).toBe('beacon_malformed')
  })

  it.each<[string, object]>([
    ['no round', { ...recorded, round: 0 }],
    ['a fraction', { ...recorded, round: 1.5 }],
    ['a short signature', { ...recorded, signature: recorded.signature.slice(2) }],
    ['upper-case hex', { ...recorded, signature: recorded.signature.toUpperCase() }],
    ['one member more', { ...recorded, previous_signature: '' }],
    ['one member less', { round: 1, signature: recorded.signature }],
  ])('a round with %s is malformed', async (_, round) => {
    expect(await refusal(() => parseBeaconRound(JSON.stringify(round)))).toBe('beacon_malformed')
  })

  it.each<[string, object]>([
    ['another key', { public_key: flipped(quicknet.public_key, 50) }],
    ['another period', { period: 30 }],
    ['no period', { period: 0 }],
    ['another start', { genesis_time: 1 }],
    ['another group', { groupHash: '00'.repeat(32) }],
    ['another name', { metadata: { beaconID: 'default' } }],
    ['another scheme', { schemeID: 'pedersen-bls-chained' }],
  ])('the information of a chain with %s does not hash to its name', async (_, changes) => {
    expect(await refusal(() => parseBeaconChain(JSON.stringify({ ...quicknet, ...changes })))).toBe('beacon_malformed')
  })
})

describe('times of rounds', () => {
  it('a round is due when the next one is not, and the first one at or after a time is found', () => {
    fc.assert(
      fc.property(fc.integer({ min: quicknet.genesis_time - 100, max: 2_000_000_000 }), (at) => {
        const round = roundAt(quicknet, at)
        expect(timeOfRound(quicknet, round)).toBeGreaterThanOrEqual(at)
        if (round > 1) expect(timeOfRound(quicknet, round - 1)).toBeLessThan(at)
      }),
    )
  })

  it('a local beacon says in its name that it is none', async () => {
    const { chain } = await createLocalBeacon(new Uint8Array(32), { period: 3, genesisTime: 1 })
    expect(chain.metadata.beaconID).toBe(localBeaconName)
    expect(encodeG1(multiply(g1, g1.base, 2n))).toHaveLength(48)
  })
})

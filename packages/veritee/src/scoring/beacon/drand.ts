import * as crypto from '#crypto'
import { concatAll, equal, utf8 } from '../../bytes/bytes.ts'
import { fromHex, toHex } from '../../bytes/hex.ts'
import { parseDocument } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import { fail } from '../../errors.ts'
import { decodeG1, decodeG2, g2 } from './curve.ts'
import { mod } from './field.ts'
import { hashToG1 } from './hash-to-g1.ts'
import { pairingsCancel } from './pairing.ts'

/**
 * A randomness beacon of drand's scheme `bls-unchained-g1-rfc9380`: who signs, and when. What is published under another scheme is refused.
 * https://docs.drand.love (chain information, HTTP API v1).
 */
export type BeaconChain = {
  /** Compressed point of G2, 96 bytes hex. */
  readonly public_key: string
  /** Seconds between rounds. */
  readonly period: number
  /** When round 1 was, Unix seconds. */
  readonly genesis_time: number
  /** What the chain is known by: SHA-256 over the others. 32 bytes hex. */
  readonly hash: string
  readonly groupHash: string
  readonly schemeID: 'bls-unchained-g1-rfc9380'
  readonly metadata: { readonly beaconID: string }
}

/** One round as drand publishes it. */
export type BeaconRound = {
  readonly round: number
  /** SHA-256 of the signature: 32 bytes hex. */
  readonly randomness: string
  /** Compressed point of G1: 48 bytes hex. */
  readonly signature: string
}

/** The League of Entropy's `quicknet`: a round every three seconds, signed by a threshold of independent organisations. */
export const quicknet: BeaconChain = {
  public_key:
    '83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a',
  period: 3,
  genesis_time: 1692803367,
  hash: '52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971',
  groupHash: 'f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e',
  schemeID: 'bls-unchained-g1-rfc9380',
  metadata: { beaconID: 'quicknet' },
}

/** Domain separation tag of the scheme. */
export const beaconTag = 'BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_'
const shape = new Shape('beacon_malformed')
const limits = { maxLength: 4096, maxDepth: 3 }

/**
 * Reads the information of a chain, as `/info` serves it, and checks that it hashes to its own `hash`, so that a chain is known by 32 bytes.
 * Which chain is the right one is for the caller. Throws `beacon_malformed`.
 */
export async function parseBeaconChain(text: string): Promise<BeaconChain> {
  return beaconChainFromJson(parseDocument(text, limits, 'beacon_malformed', 'the chain information'))
}

/** {@link parseBeaconChain} of a value that strict JSON parsing gave. */
export async function beaconChainFromJson(value: unknown): Promise<BeaconChain> {
  const o = shape.object(value, 'chain', ['public_key', 'period', 'genesis_time', 'hash', 'groupHash', 'schemeID', 'metadata'])
  const metadata = shape.object(o.metadata, 'chain.metadata', ['beaconID'])
  const chain: BeaconChain = {
    public_key: shape.hex(o.public_key, 'chain.public_key', 96),
    period: shape.integer(o.period, 'chain.period', 86_400),
    genesis_time: shape.integer(o.genesis_time, 'chain.genesis_time', 2 ** 40),
    hash: shape.hex(o.hash, 'chain.hash', 32),
    groupHash: shape.hex(o.groupHash, 'chain.groupHash', 32),
    schemeID: shape.oneOf(o.schemeID, 'chain.schemeID', ['bls-unchained-g1-rfc9380']),
    metadata: { beaconID: shape.string(metadata.beaconID, 'chain.metadata.beaconID', 64) },
  }
  if (chain.period === 0) throw shape.refuse('chain.period', 'at least 1')
  const hash = await beaconChainHash(chain)
  if (hash !== chain.hash) throw shape.refuse('chain.hash', hash)
  return chain
}

/** SHA-256 over period (4 bytes), time of round 1 (8 bytes), key, group hash, and the name where it is not the default one. */
export async function beaconChainHash(chain: Omit<BeaconChain, 'hash'>): Promise<string> {
  const numbers = new Uint8Array(12)
  const view = new DataView(numbers.buffer)
  view.setUint32(0, chain.period)
  view.setBigUint64(4, BigInt(chain.genesis_time))
  const { beaconID } = chain.metadata
  const name = beaconID === 'default' || beaconID === '' ? new Uint8Array(0) : utf8(beaconID)
  return toHex(await crypto.sha256(concatAll([numbers, fromHex(chain.public_key), fromHex(chain.groupHash), name])))
}

/** Reads one round, as `/public/{round}` serves it. Shape only. Throws `beacon_malformed`. */
export function parseBeaconRound(text: string): BeaconRound {
  return beaconRoundFromJson(parseDocument(text, limits, 'beacon_malformed', 'the round'))
}

/** {@link parseBeaconRound} of a value that strict JSON parsing gave. */
export function beaconRoundFromJson(value: unknown): BeaconRound {
  const o = shape.object(value, 'round', ['round', 'randomness', 'signature'])
  const round = shape.integer(o.round, 'round.round')
  if (round === 0) throw shape.refuse('round.round', 'at least 1')
  return { round, randomness: shape.hex(o.randomness, 'round.randomness', 32), signature: shape.hex(o.signature, 'round.signature', 48) }
}

/** What is signed for a round: SHA-256 of its number as 8 bytes, big-endian. */
export async function beaconMessage(round: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(round))
  return crypto.sha256(bytes)
}

/**
 * Verifies one round under the key of a chain, with nothing but arithmetic: the signature is a point of G1 that the chain's key made over the number of
 * the round (one pairing equation), and the randomness is its SHA-256. Gives the 32 bytes of randomness.
 *
 * Takes about half a second of CPU. It does not judge the chain (compare its `hash` with what the policy names), nor whether this is the round that was due: see {@link roundAt}.
 * Throws `beacon_malformed` for a key that is none, `beacon_signature_invalid`.
 */
export async function verifyBeaconRound(chain: BeaconChain, round: BeaconRound): Promise<Uint8Array> {
  const key = decodeG2(fromHex(chain.public_key))
  if (key === null) throw shape.refuse('chain.public_key', 'a point of the group')
  const signature = decodeG1(fromHex(round.signature))
  const message = await hashToG1(await beaconMessage(round.round), beaconTag)
  const { base } = g2
  if (signature === null || message === null || base === null) throw invalid(round, 'the signature is no point of the group')
  // e(signature, base) = e(message, key), as a product that is one.
  const negated = { x: message.x, y: mod(-message.y) }
  const holds = pairingsCancel([
    [signature, base],
    [negated, key],
  ])
  if (!holds) throw invalid(round, 'the signature does not hold under the key of the chain')
  const randomness = await crypto.sha256(fromHex(round.signature))
  if (!equal(randomness, fromHex(round.randomness))) throw invalid(round, 'the randomness is not the hash of the signature')
  return randomness
}

function invalid({ round }: BeaconRound, why: string): Error {
  return fail('beacon_signature_invalid', `round ${round}: ${why}`)
}

/** When a round is due, Unix seconds. */
export function timeOfRound({ genesis_time, period }: Pick<BeaconChain, 'genesis_time' | 'period'>, round: number): number {
  return genesis_time + (round - 1) * period
}

/** The first round that is due at or after a time in Unix seconds; 1 before there was any. */
export function roundAt({ genesis_time, period }: Pick<BeaconChain, 'genesis_time' | 'period'>, unixSeconds: number): number {
  return Math.max(1, Math.ceil((unixSeconds - genesis_time) / period) + 1)
}

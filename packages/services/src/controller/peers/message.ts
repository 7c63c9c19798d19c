import { createHmac, timingSafeEqual } from 'node:crypto'
import { jcs, parseDocument, Shape } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { maxLifts } from '../admission/bans.ts'

/** What replicas of a controller say to each other over TLS that both have attested. Normative: spec/replicas.md. */

const version = 'veritee.replicas.v1'
const code = 'replica_malformed'
const shape = new Shape(code)
/** A report takes some 40 KiB, a manifest 1 MiB at most. */
export const maxMessageLength: number = 3 << 20
const maxTextLength = 1 << 20
/** That are told; a store has the rest. */
export const maxBans = 4096

/** What a replica knows that others must not know less of (rules S3, S8 and S11). None of it is secret. */
export interface ReplicaState {
  /** Unix seconds: the latest time that somebody it verified has signed. */
  readonly clock_floor: number
  /** Where clients reach it; null where it has no name of its own. */
  readonly url: string | null
  /** It takes work: nothing stands against it. */
  readonly serving: boolean
  /** Version of the admission manifest in force; 0 without one. */
  readonly manifest_version: number
  /** The highest version of the list of API keys that it has seen. */
  readonly keys_version: number
  /** Names the store that it shares, by its key, and does not give the key away: 32 hex digits. */
  readonly store: string
  /** Who must not be admitted, with until when (Unix seconds); see `Bans`. */
  readonly bans: readonly { readonly subject: string; readonly until: number; readonly count: number; readonly lifts: number }[]
}

export interface Join {
  /** The other's, 32 bytes hex. */
  readonly nonce: string
  /** Over that nonce, the text as a service serves it. */
  readonly report: string
  /** See {@link proofOf}. */
  readonly proof: string
  /** It has no key of the store yet. */
  readonly wantsKey: boolean
  readonly state: ReplicaState
}

export interface Joined {
  readonly proof: string
  /** 32 bytes hex; null where it was not asked for. */
  readonly storeSecret: string | null
  readonly state: ReplicaState
  readonly manifest: string | null
}

/** `manifest`: the text of the manifest in force, where the other's is of a lower version. */
export interface Told {
  readonly state: ReplicaState
  readonly manifest: string | null
}

export function joinText({ nonce, report, proof, wantsKey, state }: Join): string {
  return jcs({ version, nonce, report, proof, wants_key: wantsKey, state: state as never })
}

export function joinedText({ proof, storeSecret, state, manifest }: Joined): string {
  return jcs({ version, proof, store_secret: storeSecret, state: state as never, manifest })
}

export function stateText(state: ReplicaState): string {
  return jcs({ version, state: state as never })
}

export function toldText({ state, manifest }: Told): string {
  return jcs({ version, state: state as never, manifest })
}

/** Shape and bounds only; so are the other readers. Throws `replica_malformed`. */
export function parseJoin(text: string): Join {
  const o = opened(text, ['nonce', 'report', 'proof', 'wants_key', 'state'])
  return {
    nonce: shape.hex(o.nonce, 'nonce', 32),
    report: shape.string(o.report, 'report', maxTextLength),
    proof: shape.hex(o.proof, 'proof', 32),
    wantsKey: truth(o.wants_key, 'wants_key'),
    state: parseState(o.state),
  }
}

export function parseJoined(text: string): Joined {
  const o = opened(text, ['proof', 'store_secret', 'state', 'manifest'])
  return {
    proof: shape.hex(o.proof, 'proof', 32),
    storeSecret: o.store_secret === null ? null : shape.hex(o.store_secret, 'store_secret', 32),
    state: parseState(o.state),
    manifest: shape.nullableString(o.manifest, 'manifest', maxTextLength),
  }
}

export function parseTold(text: string): Told {
  const o = opened(text, ['state', 'manifest'])
  return { state: parseState(o.state), manifest: shape.nullableString(o.manifest, 'manifest', maxTextLength) }
}

export function parseStateMessage(text: string): ReplicaState {
  return parseState(opened(text, ['state']).state)
}

function opened(text: string, members: readonly string[]): { readonly [name: string]: unknown } {
  const value = parseDocument(text, { maxLength: maxMessageLength, maxDepth: 6, integersOnly: true }, code, 'the message')
  const o = shape.object(value, 'message', ['version', ...members])
  shape.oneOf(o.version, 'version', [version])
  return o
}

function parseState(value: unknown): ReplicaState {
  const o = shape.object(value, 'state', ['clock_floor', 'url', 'serving', 'manifest_version', 'keys_version', 'store', 'bans'])
  const url = shape.nullableString(o.url, 'state.url', 300)
  if (url !== null && !/^https?:\/\/[0-9a-z.:[\]-]{1,260}$/.test(url)) throw shape.refuse('state.url', 'an origin')
  return {
    clock_floor: shape.integer(o.clock_floor, 'state.clock_floor'),
    url,
    serving: truth(o.serving, 'state.serving'),
    manifest_version: shape.integer(o.manifest_version, 'state.manifest_version', 1_000_000_000),
    keys_version: shape.integer(o.keys_version, 'state.keys_version', 1_000_000_000),
    store: shape.hex(o.store, 'state.store', 16),
    bans: shape.array(o.bans, 'state.bans', maxBans).map((item, i) => {
      const ban = shape.object(item, `state.bans[${i}]`, ['subject', 'until', 'count', 'lifts'])
      return {
        subject: shape.string(ban.subject, `state.bans[${i}].subject`, 200),
        until: shape.integer(ban.until, `state.bans[${i}].until`),
        count: shape.integer(ban.count, `state.bans[${i}].count`, 1_000_000),
        lifts: shape.integer(ban.lifts, `state.bans[${i}].lifts`, maxLifts),
      }
    }),
  }
}

function truth(value: unknown, at: string): boolean {
  if (typeof value !== 'boolean') throw shape.refuse(at, 'true or false')
  return value
}

/** Which way a proof goes: of the one that joins, or of the one that lets it in. */
export type ProofPurpose = 'veritee.replicas.join.v1' | 'veritee.replicas.joined.v1'

/**
 * That the keyset `from` is run by the same operator as the keyset `to`: HMAC-SHA-256 under the secret that the operator gives to all its replicas, over the JCS form of both digests, the nonce of the
 * one that lets in, and the purpose. A genuine enclave of somebody else does not have it. 32 bytes hex.
 */
export function proofOf(secret: string, { purpose, from, to, nonce }: { purpose: ProofPurpose; from: string; to: string; nonce: string }): string {
  return createHmac('sha256', secret).update(jcs({ from, nonce, purpose, to })).digest('hex')
}

/** Throws `replica_proof_invalid`. */
export function checkProof(secret: string, parts: Parameters<typeof proofOf>[1], found: string): void {
  if (!timingSafeEqual(Buffer.from(proofOf(secret, parts), 'hex'), Buffer.from(found, 'hex')))
    throw fail('replica_proof_invalid', 'expected a proof under the secret of this operator: it is a replica of somebody else, or has another secret')
}

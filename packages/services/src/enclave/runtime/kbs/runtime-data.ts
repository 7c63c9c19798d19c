import { createHash, createPublicKey, KeyObject } from 'node:crypto'
import { jcs } from 'veritee/bytes'

/** The version of the KBS attestation protocol that is spoken here, on both sides; no other is. */
export const protocolVersion = '0.4.0'
/** What our broker says in the `extra-params` of its challenge, and our evidence carries in `additional_evidence`. Clients of others pass over it. */
export const extensionName = 'veritee'
export const extensionVersion = 'veritee.kbs.v1'
/** Beside it in the challenge of a broker that takes release statements with the evidence, and how long their list may be. */
export const releasesExtension = 'veritee_releases'
export const releasesVersion = 'veritee.releases.v1'
export const maxReleasesLength = 32_768
/** The cookie that carries the session, and the paths of the protocol. */
export const sessionCookie = 'kbs-session-id'
export const kbsPrefix = '/kbs/v0'

/** The public half of a key to which a resource is released, as the protocol spells it: a JWK with `alg`, and no other members. */
export type TeePubkey =
  | { readonly kty: 'EC'; readonly crv: 'P-256' | 'P-521'; readonly alg: 'ECDH-ES+A256KW'; readonly x: string; readonly y: string }
  | { readonly kty: 'RSA'; readonly alg: 'RSA-OAEP-256'; readonly n: string; readonly e: string }

/** What the report data of an RCAR quote is computed from. */
export interface RuntimeData {
  /** Base64 with padding of the broker's 32 bytes. */
  readonly nonce: string
  readonly teePubkey: TeePubkey
  /** The text of `additional_evidence`: empty, or {@link boundDescriptor}. */
  readonly additionalEvidence: string
}

/**
 * The 64 bytes of the report-data slot: SHA-384 over the JCS form of `{"additional-evidence","nonce","tee-pubkey"}`, then 16 zero bytes
 * (Trustee's KBS protocol 0.4.0, for SGX and TDX). They differ from every slot of aci/1, whose bytes 32..63 are zero, unless 128 bits of SHA-384 are.
 */
export function rcarReportData({ nonce, teePubkey, additionalEvidence }: RuntimeData): Uint8Array {
  const slot = new Uint8Array(64)
  slot.set(
    createHash('sha384')
      .update(jcs({ 'additional-evidence': additionalEvidence, nonce, 'tee-pubkey': teePubkey }))
      .digest(),
  )
  return slot
}

/** The text that binds a service descriptor by its digest (rule S7); the empty text binds none. */
export function boundDescriptor(descriptorDigest: string | null): string {
  if (descriptorDigest === null) return ''
  if (!/^sha256:[0-9a-f]{64}$/.test(descriptorDigest)) throw new TypeError('boundDescriptor: expected sha256: and 64 lower-case hex digits')
  return jcs({ [extensionName]: { descriptor: descriptorDigest } })
}

/** True for the nonces that are signed over: 32 bytes in base64. */
export function isNonce(text: unknown): text is string {
  return typeof text === 'string' && /^[A-Za-z0-9+/]{43}=$/.test(text)
}

/** The public half of a P-256 key whose private half the caller holds. `TypeError` for any other key. */
export function teePubkeyOf(key: KeyObject): TeePubkey {
  if (!(key instanceof KeyObject) || key.type !== 'private' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    throw new TypeError('teePubkeyOf: expected a private P-256 key')
  const { x, y } = createPublicKey(key).export({ format: 'jwk' })
  if (typeof x !== 'string' || typeof y !== 'string') throw new TypeError('teePubkeyOf: the key has no coordinates')
  return { kty: 'EC', crv: 'P-256', alg: 'ECDH-ES+A256KW', x, y }
}

import * as crypto from '#crypto'
import { jcsDigest, sha256Digest } from '../bytes/digest.ts'
import { fromHex } from '../bytes/hex.ts'
import type { Json } from '../bytes/jcs.ts'
import { Shape } from '../bytes/shape.ts'
import type { Ed25519Key, MaybePromise } from '../crypto/types.ts'
import { whenDone } from '../crypto/when-done.ts'
import { fail } from '../errors.ts'

/** The public keys of one running enclave (aci/1 section 3.1). The type is exact: new key roles need a new protocol version. */
export type Keyset = {
  readonly subject?: string | null
  /** Unix seconds after which nothing under this keyset is accepted. */
  readonly not_after: number
  readonly receipt_signing_keys: readonly NamedKey[]
  readonly e2ee_public_keys: readonly NamedKey[]
  readonly tls_public_keys: readonly TlsKey[]
}

export type NamedKey = { readonly key_id: string; readonly algo: string; readonly public_key: string }
export type TlsKey = { readonly spki_sha256: string; readonly domain?: string }

/** A keyset lives at most this long (rule S25 f), so that a stolen key dies on its own. */
export const maxKeysetSeconds: number = 24 * 3600
const clockSkewSeconds = 300
const shape = new Shape('report_malformed')

/**
 * Reads a keyset: shape, bounds, distinct key ids, and no named key twice. Throws `report_malformed`.
 * Does not verify that a quote binds it, nor that no TLS key has a second role: see `verifyReport`.
 */
export function parseKeyset(value: unknown): Keyset {
  const o = shape.object(value, 'workload_keyset', ['not_after', 'receipt_signing_keys', 'e2ee_public_keys', 'tls_public_keys'], ['subject'])
  const keyset: Keyset = {
    // An absent subject and a null one hash differently: keep the document as it came.
    ...(Object.hasOwn(o, 'subject') ? { subject: shape.nullableString(o.subject, 'subject', 512) } : {}),
    not_after: shape.integer(o.not_after, 'not_after'),
    receipt_signing_keys: namedKeys(o.receipt_signing_keys, 'receipt_signing_keys'),
    e2ee_public_keys: namedKeys(o.e2ee_public_keys, 'e2ee_public_keys'),
    tls_public_keys: shape.array(o.tls_public_keys, 'tls_public_keys', 16).map((item, i) => tlsKey(item, `tls_public_keys[${i}]`)),
  }
  // Hex of either case is the same key.
  const named = [...keyset.receipt_signing_keys, ...keyset.e2ee_public_keys].map((key) => key.public_key.toLowerCase())
  if (new Set(named).size !== named.length) throw shape.refuse('workload_keyset', 'each key in one role only')
  return keyset
}

function namedKeys(value: unknown, at: string): readonly NamedKey[] {
  const keys = shape.array(value, at, 16).map((item, i) => {
    const o = shape.object(item, `${at}[${i}]`, ['key_id', 'algo', 'public_key'])
    return {
      key_id: shape.string(o.key_id, `${at}[${i}].key_id`, 128),
      algo: shape.string(o.algo, `${at}[${i}].algo`, 128),
      public_key: shape.string(o.public_key, `${at}[${i}].public_key`, 8192),
    }
  })
  if (new Set(keys.map((key) => key.key_id)).size !== keys.length) throw shape.refuse(at, 'distinct key ids')
  return keys
}

function tlsKey(value: unknown, at: string): TlsKey {
  const o = shape.object(value, at, ['spki_sha256'], ['domain'])
  const spki = shape.hex(o.spki_sha256, `${at}.spki_sha256`, 32)
  return Object.hasOwn(o, 'domain') ? { spki_sha256: spki, domain: shape.string(o.domain, `${at}.domain`, 253) } : { spki_sha256: spki }
}

// SubjectPublicKeyInfo of a raw key of 32 bytes (RFC 8410 section 4).
const rawKeyPrefixes = ['302a300506032b6570032100', '302a300506032b656e032100'] as const

/** A receipt or E2EE key must not be a TLS key too (aci/1 section 3.1). TLS keys are known by digest only. Throws `report_malformed`. */
export async function checkKeyRoles(keyset: Keyset): Promise<void> {
  const tls = new Set(keyset.tls_public_keys.map((key) => `sha256:${key.spki_sha256}`))
  for (const { public_key: key } of [...keyset.receipt_signing_keys, ...keyset.e2ee_public_keys]) {
    if (!/^[0-9a-fA-F]{64}$/.test(key)) continue
    for (const prefix of rawKeyPrefixes)
      if (tls.has(await sha256Digest(fromHex(prefix + key)))) throw shape.refuse('workload_keyset', 'each key in one role only')
  }
}

/** `workload_keyset_digest`: sha256: and hex of SHA-256 over the keyset's JCS form (aci/1 section 3.1). */
export function keysetDigest(keyset: Keyset): Promise<string> {
  return jcsDigest(keyset as unknown as Json)
}

/** Throws `keyset_expired` where `at` is not before `not_after`, or `not_after` is more than 24 hours (and 5 minutes) ahead. */
export function checkKeysetWindow(keyset: Keyset, at: Date): void {
  const now = Math.floor(at.getTime() / 1000)
  if (now >= keyset.not_after) throw fail('keyset_expired', `expected a keyset valid at ${now}, found not_after ${keyset.not_after}`)
  if (keyset.not_after > now + maxKeysetSeconds + clockSkewSeconds)
    throw fail('keyset_expired', `expected not_after within ${maxKeysetSeconds} s of ${now}, found ${keyset.not_after}`)
}

/** The receipt keys of one keyset, each taken in when it is first needed: for who verifies many receipts under one keyset. */
export class ReceiptKeys {
  readonly keyset: Keyset
  readonly #taken = new Map<string, Ed25519Key | null>()

  constructor(keyset: Keyset) {
    this.keyset = keyset
  }

  /**
   * True for a signature of 64 bytes by the key of that id; at once where verifying is, as under Node. Throws
   * `receipt_key_unknown`, see {@link receiptKey}.
   */
  verify(keyId: string, signature: Uint8Array, message: Uint8Array): MaybePromise<boolean> {
    const taken = this.#taken.get(keyId)
    const key = taken === undefined ? this.#take(keyId) : taken
    return whenDone(key, (known) => known?.verify(signature, message) ?? false)
  }

  #take(keyId: string): MaybePromise<Ed25519Key | null> {
    return whenDone(crypto.importEd25519(fromHex(receiptKey(this.keyset, keyId))), (key) => {
      this.#taken.set(keyId, key)
      return key
    })
  }
}

/** The Ed25519 receipt key a `key_id` names. Throws `receipt_key_unknown`, also for an algorithm this version does not know. */
export function receiptKey(keyset: Keyset, keyId: string): string {
  const key = keyset.receipt_signing_keys.find((entry) => entry.key_id === keyId)
  if (key === undefined)
    throw fail('receipt_key_unknown', `expected a key of the attested keyset, found key_id ${JSON.stringify(keyId.slice(0, 128))}`)
  if (key.algo !== 'ed25519' || !/^[0-9a-f]{64}$/.test(key.public_key))
    throw fail('receipt_key_unknown', `expected an ed25519 key of 32 bytes under this key_id, found algorithm ${JSON.stringify(key.algo)}`)
  return key.public_key
}

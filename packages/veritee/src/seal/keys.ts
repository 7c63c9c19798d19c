import * as crypto from '#crypto'
import { equal, utf8 } from '../bytes/bytes.ts'
import { fromHex, toHex } from '../bytes/hex.ts'
import { jcs } from '../bytes/jcs.ts'
import { fail } from '../errors.ts'
import type { SealedFile, SealedManifest } from './manifest.ts'

/** What of a manifest goes into the keys of its files. */
export type KeyContext = Pick<SealedManifest, 'version' | 'name' | 'model_version' | 'cipher' | 'chunk_size' | 'salt'>

/** What the chunks of one file are sealed under. */
export interface FileKey {
  /** 32 bytes. */
  readonly key: Uint8Array
  /** 7 bytes. */
  readonly noncePrefix: Uint8Array
}

/**
 * Key and nonce prefix of one file: HKDF-SHA-256 of the model key with the sealing's salt, and as `info` everything that says which file of which model this
 * is, and what is in it. So what belongs to another file, model, version or sealing does not open under it, and no key ever is of two contents: who seals
 * a file that has changed seals it under another key.
 */
export async function fileKey(modelKey: Uint8Array, manifest: KeyContext, index: number, file: SealedFile): Promise<FileKey> {
  checkModelKey(modelKey)
  const { version, name, model_version, cipher, chunk_size, salt } = manifest
  const { name: fileName, sha256, size } = file
  const info = jcs({ chunk_size, cipher, file: fileName, index, model: name, model_version, purpose: 'file', sha256, size, version })
  const bytes = await crypto.hkdfSha256(modelKey, fromHex(salt), utf8(info), 39)
  return { key: bytes.subarray(0, 32), noncePrefix: bytes.subarray(32) }
}

/** 16 bytes hex by which a wrong model key shows before anything is opened. It says nothing else about the key. */
export async function keyCheck(modelKey: Uint8Array, salt: string): Promise<string> {
  checkModelKey(modelKey)
  return toHex(await crypto.hkdfSha256(modelKey, fromHex(salt), utf8('veritee.sealed-model.v1 key check'), 16))
}

/** Throws `sealed_key_wrong` where the model key is not the manifest's, or no key at all. */
export async function checkKey(modelKey: Uint8Array, manifest: Pick<SealedManifest, 'salt' | 'key_check' | 'key_id'>): Promise<void> {
  // From a broker or a file, so its length is a fact about data and not the caller's mistake.
  if (modelKey.length !== 32 || !equal(utf8(await keyCheck(modelKey, manifest.salt)), utf8(manifest.key_check)))
    throw fail('sealed_key_wrong', `the key is not ${manifest.key_id} that this model was sealed with`)
}

function checkModelKey(modelKey: Uint8Array): void {
  if (!(modelKey instanceof Uint8Array) || modelKey.length !== 32) throw new TypeError('expected a model key of 32 bytes')
}

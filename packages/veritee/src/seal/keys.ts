import * as crypto from '#crypto'
import { equal, utf8 } from '../bytes/bytes.ts'
import { fromHex, toHex } from '../bytes/hex.ts'
import { jcs } from '../bytes/jcs.ts'
import { fail } from '../errors.ts'
import type { SealedFile, SealedManifest } from './manifest.ts'

/** What of a manifest goes into its keys: everything that is known before the files are read. */
export type KeyContext = Pick<SealedManifest, 'version' | 'name' | 'model_version' | 'cipher' | 'chunk_size' | 'salt'>

/**
 * The key of one file, 32 bytes: HKDF-SHA-256 of the model key with the sealing's salt, and as `info` everything that says which file of which model this
 * is. So what belongs to another file, model, version or sealing does not open under it.
 */
export async function fileKey(
  modelKey: Uint8Array,
  manifest: KeyContext,
  index: number,
  file: Pick<SealedFile, 'name' | 'size'>,
): Promise<Uint8Array> {
  checkModelKey(modelKey)
  const { version, name, model_version, cipher, chunk_size, salt } = manifest
  const info = jcs({ chunk_size, cipher, file: file.name, index, model: name, model_version, purpose: 'file', size: file.size, version })
  return crypto.hkdfSha256(modelKey, fromHex(salt), utf8(info), 32)
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

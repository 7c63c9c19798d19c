import * as crypto from '#crypto'
import type { Verified } from '../attestation/claims.ts'
import { utf8 } from '../bytes/bytes.ts'
import { fromHex, toHex } from '../bytes/hex.ts'
import { type Json, jcs } from '../bytes/jcs.ts'
import { parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import type { SigningKey } from '../crypto/types.ts'
import { fail } from '../errors.ts'
import { maxChunks } from './chunk.ts'

/** One file of a sealed model. `sha256` and `size` are of the plain file, so the digest equals what model hubs publish. */
export type SealedFile = { readonly name: string; readonly sha256: string; readonly size: number }

/** What a publisher signs about a sealed model. Normative: spec/sealed-model.md. */
export type SealedManifest = {
  readonly version: 'veritee.sealed-model.v1'
  readonly name: string
  /** Grows with each publication under one name; a relying party keeps a floor under it. */
  readonly model_version: number
  /** Unix seconds, the publisher's word. */
  readonly created: number
  readonly cipher: 'aes-256-gcm-stream'
  /** Plain bytes of a whole chunk. */
  readonly chunk_size: number
  /** 32 bytes hex, drawn for each sealing, and kept when an interrupted one goes on. */
  readonly salt: string
  /** 16 bytes hex that only the model key gives; see `keyCheck`. */
  readonly key_check: string
  /** How a key broker names the model key: `<repository>/<type>/<tag>`. */
  readonly key_id: string
  readonly files: readonly SealedFile[]
  /** Of the Jinja template inside the first file; null where it has none. */
  readonly chat_template_digest: string | null
  /** SPDX expression, or null. */
  readonly licence: string | null
  /** Ed25519, 32 bytes hex. It names who signed; whether that publisher is trusted is the relying party's to say. */
  readonly publisher: string
}

export type SignedManifest = SealedManifest & { readonly signature: string }

const code = 'sealed_manifest_malformed'
const shape = new Shape(code)
/** Larger than any model in use needs: 1,024 files at 256 bytes each. */
export const maxManifestLength = 1 << 19
const maxFiles = 1024
/** Several chunks are in memory at a time, and the memory for opening a model is to be bounded whoever sealed it. */
export const chunkSizes: { readonly least: number; readonly most: number } = { least: 4096, most: 1 << 22 }

const members: readonly (keyof SignedManifest)[] = [
  'version',
  'name',
  'model_version',
  'created',
  'cipher',
  'chunk_size',
  'salt',
  'key_check',
  'key_id',
  'files',
  'chat_template_digest',
  'licence',
  'publisher',
  'signature',
]

/** Reads a manifest: shape only, the signature is not looked at. Throws `sealed_manifest_malformed`. */
export function parseManifest(text: string): SignedManifest {
  const value = parseDocument(text, { maxLength: maxManifestLength, maxDepth: 4 }, code, 'the manifest')
  const o = shape.object(value, 'manifest', members)
  const chunkSize = shape.integer(o.chunk_size, 'chunk_size', chunkSizes.most)
  if (chunkSize < chunkSizes.least) throw shape.refuse('chunk_size', `at least ${chunkSizes.least}`)
  const files = shape.array(o.files, 'files', maxFiles).map((item, i) => readFile(item, `files[${i}]`, chunkSize))
  if (files.length === 0) throw shape.refuse('files', 'at least one file')
  // Without regard to case, since some file systems have none.
  if (new Set(files.map(({ name }) => name.toLowerCase())).size !== files.length) throw shape.refuse('files', 'names that differ')
  const name = shape.string(o.name, 'name', 256)
  if (!/^[A-Za-z0-9][A-Za-z0-9._:/-]*$/.test(name)) throw shape.refuse('name', 'letters, digits and . _ : / -')
  const version = shape.integer(o.model_version, 'model_version')
  if (version < 1) throw shape.refuse('model_version', 'at least 1')
  return {
    version: shape.oneOf(o.version, 'version', ['veritee.sealed-model.v1']),
    name,
    model_version: version,
    created: shape.integer(o.created, 'created'),
    cipher: shape.oneOf(o.cipher, 'cipher', ['aes-256-gcm-stream']),
    chunk_size: chunkSize,
    salt: shape.hex(o.salt, 'salt', 32),
    key_check: shape.hex(o.key_check, 'key_check', 16),
    key_id: readKeyId(shape.string(o.key_id, 'key_id', 256)),
    files,
    chat_template_digest: o.chat_template_digest === null ? null : shape.digest(o.chat_template_digest, 'chat_template_digest'),
    licence: shape.nullableString(o.licence, 'licence', 256),
    publisher: shape.hex(o.publisher, 'publisher', 32),
    signature: shape.hex(o.signature, 'signature', 64),
  }
}

function readFile(value: unknown, at: string, chunkSize: number): SealedFile {
  const o = shape.object(value, at, ['name', 'sha256', 'size'])
  const name = shape.string(o.name, `${at}.name`, 128)
  // A plain name: no path leads anywhere else, and nothing is hidden.
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) throw shape.refuse(`${at}.name`, 'a file name of letters, digits and . _ -')
  const size = shape.integer(o.size, `${at}.size`)
  if (size > chunkSize * maxChunks) throw shape.refuse(`${at}.size`, `at most ${maxChunks} chunks`)
  return { name, sha256: shape.digest(o.sha256, `${at}.sha256`), size }
}

/** The name of a key at a broker: three parts of letters, digits and . _ -, none beginning with a dot. Throws `sealed_manifest_malformed`. */
export function readKeyId(text: string): string {
  if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}){2}$/.test(text))
    throw shape.refuse('key_id', 'a name <repository>/<type>/<tag>')
  return text
}

/** Signs a manifest; gives its text as it is stored (JCS). Its `publisher` is the key that signs. */
export async function signManifest(manifest: Omit<SealedManifest, 'publisher'>, key: SigningKey): Promise<string> {
  const whole = { ...manifest, publisher: toHex(key.publicKey) } as unknown as { readonly [name: string]: Json }
  const text = jcs({ ...whole, signature: toHex(await key.sign(message(whole))) })
  parseManifest(text)
  return text
}

export interface ManifestTrust {
  /** Ed25519, 32 bytes lower-case hex each. At an enclave these are measured constants (rule S13). */
  readonly publishers: readonly string[]
  /** The lowest `model_version` accepted. */
  readonly minimumVersion: number
}

/**
 * Verifies a manifest: signed by the publisher it names, that publisher is trusted, and its version is not below the floor.
 *
 * It does not look at the sealed files, and whether this is the newest version nobody can tell from a manifest alone (rule S11).
 * Throws `sealed_manifest_malformed`, `sealed_publisher_unknown`, `sealed_manifest_signature_invalid`, `sealed_version_rolled_back`.
 */
export async function verifyManifest(text: string, trust: ManifestTrust): Promise<Verified<SealedManifest>> {
  const { signature, ...manifest } = parseManifest(text)
  const { publisher } = manifest
  if (!trust.publishers.includes(publisher)) throw fail('sealed_publisher_unknown', `expected a publisher you trust, found ${publisher}`)
  if (!(await crypto.verifyEd25519(fromHex(publisher), fromHex(signature), message(manifest as unknown as { readonly [name: string]: Json }))))
    throw fail('sealed_manifest_signature_invalid', `the signature of ${publisher} does not hold over this manifest`)
  if (manifest.model_version < trust.minimumVersion)
    throw fail('sealed_version_rolled_back', `expected version ${trust.minimumVersion} or later of ${manifest.name}, found ${manifest.model_version}`)
  return manifest as Verified<SealedManifest>
}

/** The signed bytes: a prefix that no other signed document begins with, then JCS without `signature`. */
function message(manifest: { readonly [name: string]: Json }): Uint8Array {
  return utf8(`veritee.sealed-model.v1\n${jcs(manifest)}`)
}

import * as crypto from '#crypto'
import { networkName } from '../../admission/manifest.ts'
import { fromUtf8, utf8 } from '../../bytes/bytes.ts'
import { sha256Digest } from '../../bytes/digest.ts'
import { fromHex, toHex } from '../../bytes/hex.ts'
import { jcs } from '../../bytes/jcs.ts'
import { parseDocument } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import type { SigningKey } from '../../crypto/types.ts'
import { fail } from '../../errors.ts'
import { maxEpoch } from '../audit/parse.ts'

/** A directory or a site: the bytes of one file of a bundle, at most `maxBytes` of them. Throws where it cannot be had. */
export type ReadFile = (path: string, maxBytes: number) => Promise<Uint8Array>

export interface ListedFile {
  readonly path: string
  readonly size: number
  readonly sha256: string
}

/** `manifest.json`: every file of a bundle by its digest. */
export interface EpochManifest {
  readonly network: string
  readonly epoch: number
  /** By rising path. */
  readonly files: readonly ListedFile[]
}

export const manifestName = 'manifest.json'
export const signaturesName = 'signatures.json'
export const recordsPath = (validator: string): string => `validators/${validator}/records.jsonl`
export const openingsPath = (validator: string): string => `validators/${validator}/openings.jsonl`
export const dutiesPath = (validator: string): string => `validators/${validator}/duties.json`
export const canariesPath = (validator: string): string => `validators/${validator}/canaries.json`
export const epochVersion = 'veritee.epoch.v1'
const maxManifestBytes = 1 << 23
const maxFiles = 50_000
/** Records of one validator: a million of some 1,200 bytes would be more than anybody verifies in a minute. */
export const maxFileBytes: number = 1 << 29
const shape = new Shape('epoch_malformed')

/** The text of a manifest (JCS) over files that are given as texts. */
export async function manifestText(network: string, epoch: number, files: ReadonlyMap<string, string>): Promise<string> {
  const listed: ListedFile[] = []
  for (const [path, text] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const bytes = utf8(text)
    listed.push({ path, size: bytes.length, sha256: toHex(await crypto.sha256(bytes)) })
  }
  return jcs({ version: epochVersion, network, epoch, files: listed.map((file) => ({ ...file })) })
}

/** A manifest with one file more. Throws `epoch_malformed`, also where that is listed already. */
export async function withFile(manifest: Uint8Array, path: string, text: string): Promise<string> {
  const { network, epoch, files } = parseManifest(manifest)
  if (files.some((file) => file.path === path)) throw shape.refuse(path, 'a file that is not listed yet')
  const bytes = utf8(text)
  const listed = [...files, { path, size: bytes.length, sha256: toHex(await crypto.sha256(bytes)) }]
  return jcs({ version: epochVersion, network, epoch, files: listed.sort((a, b) => (a.path < b.path ? -1 : 1)).map((file) => ({ ...file })) })
}

/** Reads a manifest. Throws `epoch_malformed`. */
export function parseManifest(bytes: Uint8Array): EpochManifest {
  const o = shape.object(document(bytes, manifestName, maxManifestBytes), manifestName, ['version', 'network', 'epoch', 'files'])
  shape.oneOf(o.version, 'version', [epochVersion])
  const files = shape.array(o.files, 'files', maxFiles).map((item, i): ListedFile => {
    const file = shape.object(item, `files[${i}]`, ['path', 'size', 'sha256'])
    const path = shape.string(file.path, `files[${i}].path`, 200)
    if (!/^[a-z0-9-]+(?:\/[a-z0-9-]+)*\.[a-z]+$/.test(path)) throw shape.refuse(`files[${i}].path`, 'names of a-z, 0-9 and - with one ending')
    return {
      path,
      size: shape.integer(file.size, `files[${i}].size`, maxFileBytes),
      sha256: shape.hex(file.sha256, `files[${i}].sha256`, 32),
    }
  })
  for (const [i, { path }] of files.entries())
    if (i > 0 && path <= (files[i - 1] as ListedFile).path) throw shape.refuse(`files[${i}].path`, 'rising order, each once')
  return { network: networkName(o.network, 'network', shape), epoch: shape.integer(o.epoch, 'epoch', maxEpoch), files }
}

/** The files of a bundle that its manifest lists. */
export class Bundle {
  readonly manifest: EpochManifest
  readonly manifestBytes: Uint8Array
  readonly #read: ReadFile

  private constructor(manifest: EpochManifest, manifestBytes: Uint8Array, read: ReadFile) {
    this.manifest = manifest
    this.manifestBytes = manifestBytes
    this.#read = read
  }

  static async open(read: ReadFile): Promise<Bundle> {
    const bytes = await read(manifestName, maxManifestBytes)
    return new Bundle(parseManifest(bytes), bytes, read)
  }

  has(path: string): boolean {
    return this.manifest.files.some((file) => file.path === path)
  }

  /** Bytes of a listed file, not yet compared with its digest, which is that of the manifest. Throws `epoch_malformed` for one that is not listed. */
  async bytes(path: string): Promise<{ readonly bytes: Uint8Array; readonly check: () => Promise<void>; readonly digest: string }> {
    const listed = this.manifest.files.find((file) => file.path === path)
    if (listed === undefined) throw shape.refuse(path, 'a file that the manifest lists')
    const bytes = await this.#read(path, listed.size + 1)
    const check = async (): Promise<void> => {
      const digest = toHex(await crypto.sha256(bytes))
      if (bytes.length !== listed.size || digest !== listed.sha256)
        throw fail('epoch_file_changed', `${path}: expected ${listed.size} bytes of SHA-256 ${listed.sha256}, found ${bytes.length} of ${digest}`)
    }
    return { bytes, check, digest: `sha256:${listed.sha256}` }
  }

  /** Text of a listed file, as the manifest has it. Throws `epoch_malformed`, `epoch_file_changed`, `malformed_encoding`. */
  async text(path: string): Promise<string> {
    const { bytes, check } = await this.bytes(path)
    await check()
    return fromUtf8(bytes)
  }

  /** A listed file, parsed as strict JSON of integers. */
  async json(path: string): Promise<unknown> {
    return document(utf8(await this.text(path)), path, maxFileBytes)
  }

  unlisted(read: string): Promise<Uint8Array> {
    return this.#read(read, 1 << 16)
  }
}

function document(bytes: Uint8Array, path: string, maxLength: number): unknown {
  return parseDocument(fromUtf8(bytes), { maxLength, maxDepth: 10, integersOnly: true }, 'epoch_malformed', path)
}

/** Signs a manifest as a validator: over `veritee.epoch.v1`, LF, and the digest of its bytes. */
export async function signManifest(manifest: Uint8Array, key: SigningKey): Promise<{ readonly validator: string; readonly signature: string }> {
  return { validator: toHex(key.publicKey), signature: toHex(await key.sign(await signedBytes(manifest))) }
}

export type EpochSignature = { readonly validator: string; readonly signature: string }

/** The text of `signatures.json`. */
export function signaturesText(signatures: readonly EpochSignature[]): string {
  return jcs({
    version: 'veritee.epoch-signatures.v1',
    signatures: signatures.map(({ validator, signature }) => ({ validator, signature })).sort((a, b) => (a.validator < b.validator ? -1 : 1)),
  })
}

/** Reads `signatures.json`; verifies none. Throws `epoch_malformed`. */
export function parseEpochSignatures(bytes: Uint8Array): readonly EpochSignature[] {
  const o = shape.object(document(bytes, signaturesName, 1 << 16), signaturesName, ['version', 'signatures'])
  shape.oneOf(o.version, 'version', ['veritee.epoch-signatures.v1'])
  const found = shape.array(o.signatures, 'signatures', 64).map((item, i): EpochSignature => {
    const one = shape.object(item, `signatures[${i}]`, ['validator', 'signature'])
    return {
      validator: shape.hex(one.validator, `signatures[${i}].validator`, 32),
      signature: shape.hex(one.signature, `signatures[${i}].signature`, 64),
    }
  })
  if (found.some(({ validator }, i) => i > 0 && validator <= (found[i - 1] as EpochSignature).validator))
    throw shape.refuse('signatures', 'rising order, each validator once')
  return found
}

/**
 * Verifies `signatures.json`: all hold, all are of validators of the policy, at least one. Gives the signers. Throws `epoch_malformed`, `epoch_signature_invalid`.
 */
export async function verifySignatures(bytes: Uint8Array, manifest: Uint8Array, validators: ReadonlySet<string>): Promise<readonly string[]> {
  const message = await signedBytes(manifest)
  const signatures = parseEpochSignatures(bytes)
  for (const { validator, signature } of signatures)
    if (!validators.has(validator) || !(await crypto.verifyEd25519(fromHex(validator), fromHex(signature), message)))
      throw fail('epoch_signature_invalid', `expected a signature of a validator of the policy, found one of ${validator}`)
  if (signatures.length === 0) throw fail('epoch_signature_invalid', 'expected the signature of at least one validator of the policy')
  return signatures.map(({ validator }) => validator)
}

async function signedBytes(manifest: Uint8Array): Promise<Uint8Array> {
  return utf8(`${epochVersion}\n${await sha256Digest(manifest)}`)
}

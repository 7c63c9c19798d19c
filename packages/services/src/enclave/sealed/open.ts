import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import type { Verified } from 'veritee/attestation'
import { fromUtf8 } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import {
  checkKey,
  chunkCount,
  chunkPlace,
  type FileKey,
  fileKey,
  type ManifestTrust,
  maxManifestLength,
  type SealedFile,
  type SealedManifest,
  sealedSize,
  verifyManifest,
} from 'veritee/seal'
import { errnoOf } from '../runtime/device-file.ts'
import { ahead, widthFor } from './ahead.ts'
import { type ChunkCipher, chunkCipher, release } from './cipher.ts'
import { openModelFile, readAt } from './file.ts'
import type { WeightSource } from './source.ts'

/** No character takes more bytes in UTF-8, so nothing that would be accepted is refused for it. */
const maxManifestBytes = 4 * maxManifestLength

/** The name of the manifest in the directory of a sealed model. */
export const manifestName = 'manifest.json'

/** The name of a sealed file. */
export function sealedName(file: string): string {
  return `${file}.sealed`
}

export interface OpenedModel {
  readonly manifest: Verified<SealedManifest>
  /** In the order of the manifest. */
  readonly files: readonly WeightSource[]
  /** Overwrites the keys. The files cannot be read afterwards. */
  wipe(): void
}

/** The verified manifest of a directory; no key is needed. Throws what `verifyManifest` throws, and `model_unavailable`. */
export async function readManifest(directory: string, trust: ManifestTrust): Promise<Verified<SealedManifest>> {
  return verifyManifest(await readManifestText(directory), trust)
}

/** The text of the manifest, as it lies there. Throws `model_unavailable`, `sealed_manifest_malformed`. */
export function readManifestText(directory: string): Promise<string> {
  return readText(join(directory, manifestName))
}

/** The text of a file that is to be a manifest. Throws `model_unavailable`, `sealed_manifest_malformed`. */
export async function readText(path: string): Promise<string> {
  const file = await openModelFile(path)
  try {
    const bytes = await readAtMost(file, maxManifestBytes)
    try {
      return fromUtf8(bytes)
    } catch (cause) {
      throw fail('sealed_manifest_malformed', 'expected the manifest to be UTF-8', cause)
    }
  } finally {
    await file.close()
  }
}

/** What is there is counted as it is read: a size that a host states may be less than what it then gives. */
async function readAtMost(file: FileHandle, most: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(most + 1)
  const length = await readAt(file, bytes, 0).catch((cause: unknown) => {
    throw fail('model_unavailable', `${manifestName} cannot be read (${errnoOf(cause)})`, cause)
  })
  if (length > most) throw fail('sealed_manifest_malformed', `expected a manifest of at most ${most} bytes`)
  return bytes.subarray(0, length)
}

/**
 * Opens a sealed model for reading. In order: the manifest (publisher, signature, version), the key against the manifest's check value; then, as the
 * files are read, each chunk's tag, the length, and at the end the SHA-256 of the whole plain file.
 *
 * Chunks are opened by several cores, 8 MiB (or two chunks) at a time. No chunk is given out before its tag held, and the last one not before the digest
 * of the whole file did: whoever has all bytes has exactly the publisher's file, even one who counts them and does not wait for the end. Whether the
 * manifest is the newest one it cannot tell (rule S11).
 * `modelKey` is not kept; the caller wipes it.
 * Throws what `verifyManifest` throws, `sealed_key_wrong`; the sources `sealed_chunk_invalid`, `sealed_file_size`, `model_hash_mismatch`,
 * `model_unavailable`, or the signal's reason.
 */
export async function openSealedModel(directory: string, modelKey: Uint8Array, trust: ManifestTrust): Promise<OpenedModel> {
  const manifest = await readManifest(directory, trust)
  await checkKey(modelKey, manifest)
  const keys = await Promise.all(manifest.files.map((file, index) => fileKey(modelKey, manifest, index, file)))
  let wiped = false
  const files = manifest.files.map((file, index): WeightSource => {
    const key = keys[index] as FileKey
    return {
      name: file.name,
      size: file.size,
      sha256: file.sha256.slice(7),
      sealed: true,
      read: (signal) => {
        if (wiped) throw new TypeError('openSealedModel: the keys were wiped')
        return readSealed(join(directory, sealedName(file.name)), manifest, file, key, signal)
      },
    }
  })
  const wipe = (): void => {
    wiped = true
    for (const { key } of keys) key.fill(0)
  }
  return { manifest, files, wipe }
}

async function* readSealed(
  path: string,
  manifest: SealedManifest,
  file: SealedFile,
  key: FileKey,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  signal?.throwIfAborted()
  const source = await openModelFile(path)
  try {
    const { size } = await source.stat()
    const expected = sealedSize(file.size, manifest.chunk_size)
    if (size !== expected) throw fail('sealed_file_size', `${file.name}: expected ${expected} sealed bytes, found ${size}`)
    yield* chunks(source, manifest.chunk_size, file, await chunkCipher(key), signal)
  } catch (cause) {
    signal?.throwIfAborted()
    throw cause instanceof VeriteeError ? cause : fail('model_unavailable', `${file.name} cannot be read (${errnoOf(cause)})`, cause)
  } finally {
    await source.close()
  }
}

async function* chunks(
  source: FileHandle,
  chunkSize: number,
  file: SealedFile,
  cipher: ChunkCipher,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  const hash = createHash('sha256')
  const count = chunkCount(file.size, chunkSize)
  const width = widthFor(chunkSize)
  const buffers = Array.from({ length: Math.min(width, count) }, () => new Uint8Array(chunkSize + 16))
  const openOne = async (index: number, place: number): Promise<Uint8Array> => {
    const sealed = await sealedChunk(source, buffers[place] as Uint8Array, index, chunkSize, file)
    const plain = await cipher.open(index, index === count - 1, sealed)
    if (plain === null) throw fail('sealed_chunk_invalid', `${file.name}: chunk ${index} of ${count} does not open`)
    return plain
  }
  let index = 0
  // Several chunks are read and opened at a time; the hash takes them one after the other, while the next are under way.
  for await (const plain of ahead(count, width, openOne, release)) {
    try {
      signal?.throwIfAborted()
      hash.update(plain)
      if (++index === count) checkDigest(file, hash.digest('hex'))
      yield plain
    } finally {
      release(plain)
    }
  }
}

function checkDigest(file: SealedFile, found: string): void {
  if (`sha256:${found}` !== file.sha256)
    throw fail(
      'model_hash_mismatch',
      `${file.name}: expected ${file.sha256}, found sha256:${found}: it was sealed from another file than the manifest says`,
    )
}

async function sealedChunk(source: FileHandle, buffer: Uint8Array, index: number, chunkSize: number, file: SealedFile): Promise<Uint8Array> {
  const { start, length } = chunkPlace(index, file.size, chunkSize)
  const sealed = buffer.subarray(0, length)
  const read = await readAt(source, sealed, start)
  if (read !== length) throw fail('sealed_file_size', `${file.name}: expected ${start + length} sealed bytes, found ${start + read}`)
  return sealed
}

import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import type { Verified } from 'veritee/attestation'
import { fromHex, fromUtf8 } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import {
  checkKey,
  chunkCount,
  chunkPlace,
  fileKey,
  type ManifestTrust,
  maxManifestLength,
  openChunk,
  type SealedFile,
  type SealedManifest,
  sealedSize,
  verifyManifest,
} from 'veritee/seal'
import { errnoOf } from '../runtime/device-file.ts'
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
export async function readManifestText(directory: string): Promise<string> {
  const file = await openModelFile(join(directory, manifestName))
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
 * No chunk is given out before its tag held, and the last one not before the digest of the whole file did: whoever has all bytes has exactly the
 * publisher's file, even one who counts them and does not wait for the end. Whether the manifest is the newest one it cannot tell (rule S11).
 * `modelKey` is not kept; the caller wipes it.
 * Throws what `verifyManifest` throws, `sealed_key_wrong`; the sources `sealed_chunk_invalid`, `sealed_file_size`, `model_hash_mismatch`,
 * `model_unavailable`, or the signal's reason.
 */
export async function openSealedModel(directory: string, modelKey: Uint8Array, trust: ManifestTrust): Promise<OpenedModel> {
  const manifest = await readManifest(directory, trust)
  await checkKey(modelKey, manifest)
  const keys = await Promise.all(manifest.files.map((file, index) => fileKey(modelKey, manifest, index, file)))
  const files = manifest.files.map((file, index): WeightSource => {
    const key = keys[index] as Uint8Array
    return {
      name: file.name,
      size: file.size,
      sha256: file.sha256.slice(7),
      sealed: true,
      read: (signal) => readSealed(join(directory, sealedName(file.name)), manifest, file, key, signal),
    }
  })
  const wipe = (): void => {
    for (const key of keys) key.fill(0)
  }
  return { manifest, files, wipe }
}

async function* readSealed(
  path: string,
  manifest: SealedManifest,
  file: SealedFile,
  key: Uint8Array,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  const source = await openModelFile(path)
  try {
    const { size } = await source.stat()
    const expected = sealedSize(file.size, manifest.chunk_size)
    if (size !== expected) throw fail('sealed_file_size', `${file.name}: expected ${expected} sealed bytes, found ${size}`)
    yield* chunks(source, manifest.chunk_size, file, key, signal)
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
  key: Uint8Array,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  const prefix = fromHex(file.nonce_prefix)
  const hash = createHash('sha256')
  const count = chunkCount(file.size, chunkSize)
  // Two buffers: while one chunk is being opened and used, the next is on its way from the disk.
  const buffers = [new Uint8Array(chunkSize + 16), new Uint8Array(chunkSize + 16)] as const
  const fetch = (index: number): Promise<Uint8Array> => sealedChunk(source, buffers[(index & 1) as 0 | 1], index, chunkSize, file)
  let next = fetch(0)
  try {
    for (let index = 0; index < count; index++) {
      signal?.throwIfAborted()
      const sealed = await next
      if (index + 1 < count) next = fetch(index + 1)
      // A failure to read ahead is thrown when its turn comes; until then it is nobody's unhandled rejection.
      next.catch(() => undefined)
      const plain = await openChunk(key, prefix, index, index === count - 1, sealed)
      if (plain === null) throw fail('sealed_chunk_invalid', `${file.name}: chunk ${index} of ${count} does not open`)
      hash.update(plain)
      try {
        if (index === count - 1) checkDigest(file, hash.digest('hex'))
        yield plain
      } finally {
        plain.fill(0)
      }
    }
  } finally {
    // Nothing may still write into the buffers, or read from the file, when the caller closes it.
    await next.catch(() => undefined)
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

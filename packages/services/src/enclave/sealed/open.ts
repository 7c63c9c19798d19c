import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import type { Verified } from 'veritee/attestation'
import { fail, VeriteeError } from 'veritee/errors'
import { checkKey, chunkCount, chunkPlace, type FileKey, fileKey, type ManifestTrust, type SealedFile, type SealedManifest } from 'veritee/seal'
import { errnoOf } from '../runtime/device-file.ts'
import { ahead, widthFor } from './ahead.ts'
import { type ChunkCipher, chunkCipher, release } from './cipher.ts'
import { openModelFile, readAt } from './file.ts'
import { readSealedModel, type SealedPlace } from './manifest.ts'
import type { WeightSource } from './source.ts'

export interface OpenedModel {
  readonly manifest: Verified<SealedManifest>
  /** In the order of the manifest. */
  readonly files: readonly WeightSource[]
  /** Overwrites the keys. The files cannot be read afterwards. */
  wipe(): void
}

/**
 * Opens a sealed model, a directory or a single file, for reading. In order: the manifest (publisher, signature, version; of a single file its layout),
 * the key against the manifest's check value; then, as the files are read, each chunk's tag, the length, and at the end the SHA-256 of the whole plain file.
 *
 * Chunks are opened by several cores, 8 MiB (or two chunks) at a time. No chunk is given out before its tag held, and the last one not before the digest
 * of the whole file did: whoever has all bytes has exactly the publisher's file, even one who counts them and does not wait for the end. Whether the
 * manifest is the newest one it cannot tell (rule S11).
 * `modelKey` is not kept; the caller wipes it.
 * Throws what `readSealedModel` throws, `sealed_key_wrong`; the sources `sealed_chunk_invalid`, `sealed_file_size`, `model_hash_mismatch`,
 * `model_unavailable`, or the signal's reason.
 */
export async function openSealedModel(path: string, modelKey: Uint8Array, trust: ManifestTrust): Promise<OpenedModel> {
  const { manifest, places } = await readSealedModel(path, trust)
  await checkKey(modelKey, manifest)
  const keys = await Promise.all(manifest.files.map((file, index) => fileKey(modelKey, manifest, index, file)))
  let wiped = false
  const files = manifest.files.map((file, index): WeightSource => {
    const [key, place] = [keys[index] as FileKey, places[index] as SealedPlace]
    return {
      name: file.name,
      size: file.size,
      sha256: file.sha256.slice(7),
      sealed: true,
      read: (signal) => {
        if (wiped) throw new TypeError('openSealedModel: the keys were wiped')
        return readSealed(place, manifest, file, key, signal)
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
  { path, start, total }: SealedPlace,
  manifest: SealedManifest,
  file: SealedFile,
  key: FileKey,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  signal?.throwIfAborted()
  const source = await openModelFile(path)
  try {
    const { size } = await source.stat()
    if (size !== total) throw fail('sealed_file_size', `${file.name}: expected ${total} sealed bytes, found ${size}`)
    yield* chunks({ source, offset: start, chunkSize: manifest.chunk_size, file }, await chunkCipher(key), signal)
  } catch (cause) {
    signal?.throwIfAborted()
    throw cause instanceof VeriteeError ? cause : fail('model_unavailable', `${file.name} cannot be read (${errnoOf(cause)})`, cause)
  } finally {
    await source.close()
  }
}

/** A sealed file from which chunks are read. */
interface Sealed {
  readonly source: FileHandle
  readonly offset: number
  readonly chunkSize: number
  readonly file: SealedFile
}

async function* chunks(sealed: Sealed, cipher: ChunkCipher, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void, void> {
  const { chunkSize, file } = sealed
  const hash = createHash('sha256')
  const count = chunkCount(file.size, chunkSize)
  const width = widthFor(chunkSize)
  const buffers = Array.from({ length: Math.min(width, count) }, () => new Uint8Array(chunkSize + 16))
  const openOne = async (index: number, place: number): Promise<Uint8Array> => {
    const chunk = await readChunk(sealed, buffers[place] as Uint8Array, index)
    const plain = await cipher.open(index, index === count - 1, chunk)
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

async function readChunk({ source, offset, chunkSize, file }: Sealed, buffer: Uint8Array, index: number): Promise<Uint8Array> {
  const { start, length } = chunkPlace(index, file.size, chunkSize)
  const chunk = buffer.subarray(0, length)
  const read = await readAt(source, chunk, offset + start)
  if (read !== length) throw fail('sealed_file_size', `${file.name}: expected ${start + length} sealed bytes, found ${start + read}`)
  return chunk
}

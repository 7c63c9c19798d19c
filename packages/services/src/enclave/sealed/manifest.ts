import { type FileHandle, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Verified } from 'veritee/attestation'
import { fromUtf8 } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { type ManifestTrust, maxManifestLength, type SealedManifest, sealedSize, verifyManifest } from 'veritee/seal'
import { errnoOf } from '../runtime/device-file.ts'
import { checkContainer, readContainerManifest } from './container.ts'
import { openModelFile, readAt } from './file.ts'

/** No character takes more bytes in UTF-8, so nothing that would be accepted is refused for it. */
const maxManifestBytes = 4 * maxManifestLength

/** The name of the manifest in the directory of a sealed model. */
export const manifestName = 'manifest.json'

/** The name of a sealed file in such a directory. */
export function sealedName(file: string): string {
  return `${file}.sealed`
}

/** Where one sealed file lies. */
export interface SealedPlace {
  readonly path: string
  /** Its first byte. */
  readonly start: number
  /** How long the file at the path has to be. */
  readonly total: number
}

/** A manifest that was verified, and where its files lie, in its order. Nothing of the files was read. */
export interface SealedModel {
  readonly manifest: Verified<SealedManifest>
  readonly places: readonly SealedPlace[]
}

/**
 * Verifies the manifest of a sealed model, which is a directory or a single file; no key is needed. Of a single file its layout is checked too.
 * Throws what `verifyManifest` throws, `model_unavailable`, and of a single file `sealed_container_malformed`, `sealed_file_size`.
 */
export async function readSealedModel(path: string, trust: ManifestTrust): Promise<SealedModel> {
  if (!(await isSingleFile(path))) {
    const manifest = await verifyManifest(await readText(join(path, manifestName)), trust)
    const place = ({ name, size }: SealedManifest['files'][number]): SealedPlace => ({
      path: join(path, sealedName(name)),
      start: 0,
      total: sealedSize(size, manifest.chunk_size),
    })
    return { manifest, places: manifest.files.map(place) }
  }
  return withFile(path, async (file) => {
    const text = await readContainerManifest(file)
    const manifest = await verifyManifest(text, trust)
    const { starts, size } = await checkContainer(file, text, manifest)
    return { manifest, places: starts.map((start) => ({ path, start, total: size })) }
  })
}

/** The verified manifest alone: {@link readSealedModel}. */
export async function readManifest(path: string, trust: ManifestTrust): Promise<Verified<SealedManifest>> {
  return (await readSealedModel(path, trust)).manifest
}

/** The text of the manifest of a sealed model, as it lies there. Throws `model_unavailable`, `sealed_manifest_malformed`, `sealed_container_malformed`. */
export async function readManifestText(path: string): Promise<string> {
  return (await isSingleFile(path)) ? withFile(path, readContainerManifest) : readText(join(path, manifestName))
}

/** The text of a file that is to be a manifest. Throws `model_unavailable`, `sealed_manifest_malformed`. */
export function readText(path: string): Promise<string> {
  return withFile(path, async (file) => {
    // What is there is counted as it is read: a size that a host states may be less than what it then gives.
    const bytes = new Uint8Array(maxManifestBytes + 1)
    const length = await readAt(file, bytes, 0)
    if (length > maxManifestBytes) throw fail('sealed_manifest_malformed', `expected a manifest of at most ${maxManifestBytes} bytes`)
    try {
      return fromUtf8(bytes.subarray(0, length))
    } catch (cause) {
      throw fail('sealed_manifest_malformed', 'expected the manifest to be UTF-8', cause)
    }
  })
}

async function isSingleFile(path: string): Promise<boolean> {
  const status = await stat(path).catch((cause: unknown) => {
    throw fail('model_unavailable', `${basename(path)}: expected a sealed model, found none (${errnoOf(cause)})`, cause)
  })
  // A pipe, say, would never be opened to its end.
  if (!status.isFile() && !status.isDirectory()) throw fail('model_unavailable', `${basename(path)}: expected a file or a directory`)
  return status.isFile()
}

async function withFile<T>(path: string, run: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await openModelFile(path)
  try {
    return await run(file)
  } catch (cause) {
    if (!(cause instanceof Error && 'syscall' in cause)) throw cause
    throw fail('model_unavailable', `${basename(path)} cannot be read (${errnoOf(cause)})`, cause)
  } finally {
    await file.close()
  }
}

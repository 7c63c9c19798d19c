import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, stat, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateEd25519 } from 'veritee/crypto'
import { fail, VeriteeError } from 'veritee/errors'
import { parseManifest, type SignedManifest } from 'veritee/seal'
import type { ResolvedModel } from '../models/locate.ts'
import { showProgress } from '../models/progress.ts'
import { sealModel } from '../models/sealing/seal.ts'

/** The demo's model as its publisher hands it out. The keys were made for this run and are in memory only. */
export interface SealedDemoModel {
  readonly directory: string
  readonly manifest: SignedManifest
  readonly modelKey: Uint8Array
  /** Removes what was written, which was ciphertext, and the key. */
  remove(): Promise<void>
}

export interface SealingPlaces {
  /** Where the worker will want the plain weights (rule S12). */
  readonly memoryDirectory: string
  /** For the ciphertext: the first with room is taken. */
  readonly directories: readonly string[]
}

export const sealingPlaces: SealingPlaces = { memoryDirectory: '/dev/shm', directories: [tmpdir(), '.veritee'] }

const tmpfsMagic = 0x01021994
const spare = 64 << 20

/**
 * Seals a model with a fresh publisher key and a fresh model key into a new directory; or says, as a text, why this machine cannot serve it sealed: decrypted
 * weights go to a file system in memory and to no other, and that needs room, as does the ciphertext.
 *
 * Throws what `sealModel` throws, and `model_hash_mismatch` where the file is not the one its hash names.
 */
export async function sealForDemo(
  model: ResolvedModel,
  stderr: NodeJS.WriteStream,
  signal: AbortSignal | undefined,
  places: SealingPlaces = sealingPlaces,
): Promise<SealedDemoModel | string> {
  const { size } = await stat(model.path)
  const memory = await roomIn(places.memoryDirectory)
  if (memory === null || !memory.inMemory) return `${places.memoryDirectory} is no file system in memory, and decrypted weights go to no other`
  if (memory.bytes < size + (1 << 20)) return `the weights need ${size} bytes in ${places.memoryDirectory}, which has ${memory.bytes} free`
  const base = await placeFor(size, places.directories)
  if (base === null) return `its ciphertext needs ${size + spare} bytes on one of ${places.directories.join(', ')}`
  const parent = await mkdtemp(join(base, 'veritee-sealed-'))
  const modelKey = new Uint8Array(randomBytes(32))
  const remove = (): Promise<void> => {
    modelKey.fill(0)
    return rm(parent, { recursive: true, force: true })
  }
  const progress = size < 32 << 20 ? null : showProgress('sealing', stderr)
  try {
    const directory = join(parent, 'model')
    const text = await sealModel({
      files: [model.path],
      out: directory,
      name: model.name,
      modelVersion: 1,
      keyId: `models/${keyTag(model.name)}/1`,
      modelKey,
      publisher: await generateEd25519(),
      chatTemplateDigest: null,
      licence: null,
      created: Math.floor(Date.now() / 1000),
      ...(progress === null ? {} : { onProgress: progress.update }),
      ...(signal === undefined ? {} : { signal }),
    })
    const manifest = parseManifest(text)
    const found = manifest.files[0]?.sha256
    if (model.sha256 !== null && found !== `sha256:${model.sha256}`)
      throw fail('model_hash_mismatch', `the model file is another one: expected sha256:${model.sha256}, found ${found}`)
    return { directory, manifest, modelKey, remove }
  } catch (error) {
    await remove()
    // Of what is stated here, only the names come from outside.
    if (error instanceof VeriteeError && error.code === 'usage') return `a sealed model cannot have the name ${JSON.stringify(model.name)}`
    throw error
  } finally {
    progress?.end()
  }
}

/** A part of a key's name. */
function keyTag(name: string): string {
  return /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/.test(name) ? name : 'model'
}

/** In memory, ciphertext competes with the weights that are decrypted from it: there it may take an eighth of what is free. */
async function placeFor(size: number, directories: readonly string[]): Promise<string | null> {
  for (const directory of directories) {
    await mkdir(directory, { recursive: true }).catch(() => undefined)
    const room = await roomIn(directory)
    if (room !== null && size + spare <= (room.inMemory ? room.bytes / 8 : room.bytes)) return directory
  }
  return null
}

async function roomIn(directory: string): Promise<{ readonly bytes: number; readonly inMemory: boolean } | null> {
  const status = await statfs(directory).catch(() => null)
  return status === null ? null : { bytes: status.bavail * status.bsize, inMemory: status.type === tmpfsMagic }
}

import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, rm, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { fail } from 'veritee/errors'
import { errnoOf } from '../../../runtime/device-file.ts'
import { type Placed, placeDescriptors } from './place.ts'
import { availableMemory, type Surroundings } from './surroundings.ts'

/** A file system in memory with room for a model. */
export interface Memory {
  readonly directory: string
  /** A new file, for this user only. */
  create(name: string): Promise<FileHandle>
  /** Names for what was created, in order. `descriptors`: of the process that will load them, where that is another. */
  place(names: readonly string[], descriptors: readonly number[]): Promise<Placed>
  /** Removes what has a name. */
  dispose(): Promise<void>
}

const tmpfsMagic = 0x01021994
/** Besides the weights: what is copied and hashed at a time, and the small change of the file system. */
const spare = 1 << 20
// O_TMPFILE includes O_DIRECTORY; node:fs has no constant for it.
const unnamed = 0o20200000 | constants.O_RDWR
const fresh = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL

/** A tmpfs with room for `size` bytes, for files without names; null where there is none at the directory. */
export async function unnamedMemory(directory: string, size: number, surroundings: Surroundings): Promise<Memory | null> {
  const status = await surroundings.statfs(directory).catch(() => null)
  if (status === null || status.type !== tmpfsMagic || status.bavail * status.bsize < size + spare) return null
  const create = (): Promise<FileHandle> => open(directory, unnamed, 0o600).catch(() => createUnlinked(directory))
  const place: Memory['place'] = (names, descriptors) => placeDescriptors(directory, names, descriptors)
  return { directory, create, place, dispose: () => Promise.resolve() }
}

/**
 * The measured mount of an enclave: files with names, since Gramine neither has unnamed ones nor reopens one by its descriptor. That the mount is a `tmpfs`
 * cannot be asked there; the path is a constant, and what is mounted at it is measured with the manifest.
 *
 * llama.cpp's mapping is a copy under Gramine, so twice the model has to fit. Throws `model_memory_unavailable`.
 */
export async function namedMemory(size: number, surroundings: Surroundings): Promise<Memory> {
  const { enclaveDirectory } = surroundings
  const available = await availableMemory(surroundings)
  if (available === null || available < 2 * size + spare)
    throw fail(
      'model_memory_unavailable',
      `expected memory for twice the ${size} bytes of the weights in the enclave, found ${available ?? 'no statement'}; raise sgx.enclave_size`,
    )
  const directory = join(enclaveDirectory, randomUUID())
  await mkdir(directory, 0o700).catch((cause: unknown) => {
    throw fail('model_memory_unavailable', `expected a tmpfs at ${enclaveDirectory}, found ${errnoOf(cause)}; mount one in the manifest`, cause)
  })
  const remove = (): Promise<void> => rm(directory, { recursive: true, force: true })
  return {
    directory: enclaveDirectory,
    create: (name) => open(join(directory, name), fresh, 0o600),
    place: (names) => Promise.resolve({ path: join(directory, names[0] ?? ''), remove }),
    dispose: remove,
  }
}

async function createUnlinked(directory: string): Promise<FileHandle> {
  const name = join(directory, `veritee-${randomUUID()}`)
  const handle = await open(name, fresh, 0o600)
  await unlink(name)
  return handle
}

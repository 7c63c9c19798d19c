import { createHash } from 'node:crypto'
import { constants, writeFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { fail, VeriteeError } from 'veritee/errors'
import { errnoOf } from '../../../runtime/device-file.ts'
import { writeAt } from '../../../sealed/file.ts'
import type { WeightSource } from '../../../sealed/source.ts'
import { checkMagic, digest } from './digest.ts'
import { type Memory, namedMemory, unnamedMemory } from './memory.ts'
import { type Placed, placeDescriptors } from './place.ts'
import { checkParts, partNames } from './split.ts'
import { isSwappable, type Surroundings, thisSystem } from './surroundings.ts'

/** One file of a model, hashed whole. */
export interface LoadedFile {
  readonly name: string
  /** sha256 of every byte, lower-case hex. */
  readonly sha256: string
  readonly size: number
}

/** The bytes of one model, hashed, for an engine to load exactly them. */
export interface LoadedWeights {
  /** In the order in which the engine takes them: one, or all parts of a split model. */
  readonly files: readonly LoadedFile[]
  /** A descriptor of each, for handing them to another process. */
  readonly descriptors: readonly number[]
  /** True where the bytes were encrypted at rest. */
  readonly sealed: boolean
  readonly loading: 'tmpfs' | 'direct'
  /** The hashed bytes at a path, for as long as a loader needs it. `descriptors`: of the process that loads, where it is another. */
  place(descriptors?: readonly number[]): Promise<Placed>
  /**
   * To be called after the engine has loaded. For `direct` it hashes the files again and throws `model_hash_mismatch` on a difference; a writer
   * that changes a file and changes it back between the two is not seen, which is why `tmpfs` comes first.
   */
  confirm(): Promise<void>
  /** Hashes the bytes again, before they are loaded once more. Throws `model_hash_mismatch`, `model_unavailable`. */
  recheck(): Promise<void>
  dispose(): Promise<void>
}

export interface WeightsOptions {
  /**
   * A tmpfs for the private copy. Default /dev/shm. Any other file system is not used: decrypted weights must never reach a disk (S12). Under Gramine it is
   * not asked: the place is a constant, measured with the manifest.
   */
  readonly memoryDirectory?: string
  /** Takes decrypted weights into memory that the kernel may write to a swap device. For simulation only, where nothing is protected. */
  readonly toleratesSwap?: boolean
  readonly signal?: AbortSignal
  /** For tests. */
  readonly surroundings?: Surroundings
}

/**
 * Puts the bytes of a model into memory and hashes them on their way: into files that nobody else has, on a tmpfs. Length and hash are compared with what
 * each source promised before anybody can load from it. There is no other way for a sealed model: where there is no tmpfs, no room on it, or swap to
 * which the kernel may write its pages, loading fails (rule S12). After any failure nothing is left.
 *
 * Sources are one file, or all parts of a split model in their order.
 * Throws `model_unsupported`, `model_memory_unavailable`, `model_memory_swappable`, `model_malformed`, `model_hash_mismatch`, and what the sources throw.
 */
export async function loadSources(sources: readonly WeightSource[], options: WeightsOptions = {}): Promise<LoadedWeights> {
  const { surroundings = thisSystem, toleratesSwap = false, memoryDirectory = '/dev/shm', signal } = options
  checkParts(sources.map(({ name }) => name))
  const size = sources.reduce((sum, source) => sum + source.size, 0)
  const sealed = sources.some((source) => source.sealed)
  if (sealed) keepOutOfCoreDumps()
  const memory = surroundings.gramine ? await namedMemory(size, surroundings) : await unnamedMemory(memoryDirectory, size, surroundings)
  if (memory === null)
    throw fail(
      'model_memory_unavailable',
      `expected a tmpfs with room for ${size} bytes at ${memoryDirectory}: these weights go to no other file system`,
    )
  if (sealed && !surroundings.gramine && !toleratesSwap && (await isSwappable(memoryDirectory, surroundings)))
    throw fail(
      'model_memory_swappable',
      `expected no swap, or a tmpfs with the option noswap at ${memoryDirectory}: the kernel may write decrypted weights to a disk`,
    )
  const handles: FileHandle[] = []
  try {
    const files: LoadedFile[] = []
    for (const source of sources) {
      const handle = await memory.create(source.name)
      handles.push(handle)
      files.push(await copySource(source, handle, signal))
      await checkMagic(handle)
    }
    return inMemory(memory, handles, files, sealed)
  } catch (cause) {
    await closeAll(handles)
    await memory.dispose()
    if (errnoOf(cause) === 'ENOSPC' || errnoOf(cause) === 'ENOMEM')
      throw fail('model_memory_unavailable', `the tmpfs at ${memory.directory} is full`, cause)
    throw cause
  }
}

async function copySource(source: WeightSource, handle: FileHandle, signal: AbortSignal | undefined): Promise<LoadedFile> {
  const { name } = source
  const hash = createHash('sha256')
  let size = 0
  for await (const part of source.read(signal)) {
    if (size + part.length > source.size) throw fail('model_hash_mismatch', `${name}: expected ${source.size} bytes, found more`)
    hash.update(part)
    await writeAt(handle, part, size)
    size += part.length
  }
  const sha256 = hash.digest('hex')
  if (size !== source.size) throw fail('model_hash_mismatch', `${name}: expected ${source.size} bytes, found ${size}`)
  if (source.sha256 !== null && sha256 !== source.sha256)
    throw fail('model_hash_mismatch', `the model file ${name} is another one: expected ${source.sha256}, found ${sha256}`)
  return { name, sha256, size }
}

/**
 * Hashes the very bytes that the engine will load, of a file or, by the name of its first part, of a split model. In order: each file is regular and begins
 * as GGUF version 2 or 3; then `tmpfs`: they are copied into files in memory that nobody else has while being hashed, and loaded from there; or, where there
 * is no tmpfs or no room, `direct`: they are hashed and loaded through one descriptor each (without mmap), and hashed again by `confirm`.
 *
 * Whether the hashes are the expected ones is the caller's check. Throws `model_unavailable`, `model_malformed`, `model_unsupported`.
 */
export async function loadWeights(path: string, options: WeightsOptions = {}): Promise<LoadedWeights> {
  const { surroundings = thisSystem, memoryDirectory = '/dev/shm', signal } = options
  const names = partNames(basename(path))
  const sources: FileHandle[] = []
  try {
    let size = 0
    for (const name of names) {
      const source = await openRegular(names.length === 1 ? path : join(dirname(path), name))
      sources.push(source)
      size += (await source.stat()).size
      await checkMagic(source)
    }
    const memory = surroundings.gramine
      ? await namedMemory(size, surroundings).catch(() => null)
      : await unnamedMemory(memoryDirectory, size, surroundings)
    const copied = memory === null ? null : await copyAll(sources, names, memory, signal)
    if (copied !== null) {
      await closeAll(sources)
      return copied
    }
    return await direct(sources, names, path, signal)
  } catch (error) {
    await closeAll(sources)
    throw error
  }
}

async function openRegular(path: string): Promise<FileHandle> {
  const file = await open(path, constants.O_RDONLY).catch((cause: unknown) => {
    throw fail('model_unavailable', `the model file ${basename(path)} cannot be opened (${errnoOf(cause)})`, cause)
  })
  if ((await file.stat()).isFile()) return file
  await file.close()
  throw fail('model_unavailable', `expected the model ${basename(path)} to be a regular file`)
}

/** null where the room that was promised is gone: others share the tmpfs. The files themselves still serve. */
async function copyAll(
  sources: readonly FileHandle[],
  names: readonly string[],
  memory: Memory,
  signal: AbortSignal | undefined,
): Promise<LoadedWeights | null> {
  const copies: FileHandle[] = []
  try {
    const files: LoadedFile[] = []
    for (const [i, source] of sources.entries()) {
      const name = names[i] ?? ''
      const copy = await memory.create(name)
      copies.push(copy)
      files.push({ name, ...(await digest(source, copy, signal)) })
    }
    return inMemory(memory, copies, files, false)
  } catch (error) {
    await closeAll(copies)
    await memory.dispose()
    if (error instanceof VeriteeError && errnoOf(error.cause) === 'ENOSPC') return null
    throw error
  }
}

function inMemory(memory: Memory, handles: readonly FileHandle[], files: readonly LoadedFile[], sealed: boolean): LoadedWeights {
  const descriptors = handles.map(({ fd }) => fd)
  const names = files.map(({ name }) => name)
  return {
    files,
    descriptors,
    sealed,
    loading: 'tmpfs',
    place: (others = descriptors) => memory.place(names, others),
    confirm: () => Promise.resolve(),
    recheck: () => sameAgain(handles, files),
    dispose: async () => {
      await closeAll(handles)
      await memory.dispose()
    },
  }
}

async function direct(
  sources: readonly FileHandle[],
  names: readonly string[],
  path: string,
  signal: AbortSignal | undefined,
): Promise<LoadedWeights> {
  const files: LoadedFile[] = []
  for (const [i, source] of sources.entries()) files.push({ name: names[i] ?? '', ...(await digest(source, null, signal)) })
  const recheck = (): Promise<void> => sameAgain(sources, files)
  const descriptors = sources.map(({ fd }) => fd)
  return {
    files,
    descriptors,
    sealed: false,
    loading: 'direct',
    // Elsewhere no descriptor can be opened by a path.
    place: (others = descriptors) =>
      process.platform === 'linux'
        ? placeDescriptors(process.env.TMPDIR ?? '/tmp', names, others)
        : Promise.resolve({ path, remove: () => Promise.resolve() }),
    confirm: recheck,
    recheck,
    dispose: () => closeAll(sources),
  }
}

async function sameAgain(handles: readonly FileHandle[], files: readonly LoadedFile[]): Promise<void> {
  for (const [i, { name, sha256 }] of files.entries()) {
    const again = await digest(handles[i] as FileHandle, null, undefined)
    if (again.sha256 !== sha256)
      throw fail('model_hash_mismatch', `the model file ${name} changed while it was in use: expected ${sha256}, found ${again.sha256}`)
  }
}

async function closeAll(handles: readonly FileHandle[]): Promise<void> {
  for (const handle of handles) await handle.close()
}

/** A crash would write plain weights to a disk. Where there is no such file there is no such filter, and under Gramine there are no core dumps. */
function keepOutOfCoreDumps(): void {
  try {
    writeFileSync('/proc/self/coredump_filter', '0')
  } catch {}
}

import { createHash, randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, statfs, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { fail, VeriteeError } from 'veritee/errors'
import { errnoOf } from '../../runtime/device-file.ts'
import { writeAt } from '../../sealed/file.ts'
import type { WeightSource } from '../../sealed/source.ts'

/** The bytes of one model file, hashed, at a path from which the engine loads exactly them. */
export interface LoadedWeights {
  /** Opens the hashed bytes until {@link LoadedWeights.dispose}. */
  readonly path: string
  /** A descriptor of them, for handing them to another process. */
  readonly fd: number
  /** True where the bytes were encrypted at rest. */
  readonly sealed: boolean
  /** sha256 of every byte, lower-case hex. */
  readonly sha256: string
  readonly size: number
  readonly loading: 'tmpfs' | 'direct'
  /**
   * To be called after the engine has loaded. For `direct` it hashes the file again and throws `model_hash_mismatch` on a difference; a writer
   * that changes the file and changes it back between the two is not seen, which is why `tmpfs` comes first.
   */
  confirm(): Promise<void>
  /** Hashes the bytes again, before they are loaded once more. Throws `model_hash_mismatch`, `model_unavailable`. */
  recheck(): Promise<void>
  dispose(): Promise<void>
}

export interface WeightsOptions {
  /** A tmpfs for the private copy. Default /dev/shm. Any other file system is not used: decrypted weights must never reach a disk (S12). */
  readonly memoryDirectory?: string
  readonly signal?: AbortSignal
}

const chunkSize = 1 << 20
const tmpfsMagic = 0x01021994
// O_TMPFILE includes O_DIRECTORY; node:fs has no constant for it.
const openTemporary = 0o20200000 | constants.O_RDWR

/**
 * Puts the bytes of a source into memory and hashes them on their way: an unnamed file on a tmpfs, readable through its descriptor only. Length and hash
 * are compared with what the source promised before anybody can load from it. There is no other way for a sealed model: where there is no tmpfs, or no
 * room on it, loading fails (rule S12). After any failure nothing is left.
 *
 * The kernel may write pages of a tmpfs to a swap device; inside an enclave there is none. Each GGUF of several parts is refused by the engine.
 * Throws `model_memory_unavailable`, `model_malformed`, `model_hash_mismatch`, and what the source throws.
 */
export async function loadSource(source: WeightSource, options: WeightsOptions = {}): Promise<LoadedWeights> {
  const directory = options.memoryDirectory ?? '/dev/shm'
  const memory = await reserve(directory, source.size)
  if (memory === null)
    throw fail(
      'model_memory_unavailable',
      `expected a tmpfs with room for ${source.size} bytes at ${directory}: these weights go to no other file system`,
    )
  try {
    const hash = createHash('sha256')
    let size = 0
    for await (const part of source.read(options.signal)) {
      if (size + part.length > source.size) throw fail('model_hash_mismatch', `expected ${source.size} bytes, found more`)
      hash.update(part)
      await writeAt(memory, part, size)
      size += part.length
    }
    const sha256 = hash.digest('hex')
    if (size !== source.size) throw fail('model_hash_mismatch', `expected ${source.size} bytes, found ${size}`)
    if (source.sha256 !== null && sha256 !== source.sha256)
      throw fail('model_hash_mismatch', `the model file is another one: expected ${source.sha256}, found ${sha256}`)
    await checkMagic(memory)
    return inMemory(memory, { sha256, size, sealed: source.sealed })
  } catch (cause) {
    await memory.close()
    if (errnoOf(cause) === 'ENOSPC') throw fail('model_memory_unavailable', `the tmpfs at ${directory} is full`, cause)
    throw cause
  }
}

/**
 * Hashes the very bytes that the engine will load. In order: the file is regular and begins as GGUF version 2 or 3; then
 * `tmpfs`: it is copied into an unnamed file in memory while being hashed, and loaded from there; or, where there is no tmpfs or no room,
 * `direct`: it is hashed and loaded through one descriptor (without mmap), and hashed again by `confirm`.
 *
 * Whether the hash is the expected one is the caller's check. Throws `model_unavailable`, `model_malformed`.
 */
export async function loadWeights(path: string, options: WeightsOptions = {}): Promise<LoadedWeights> {
  const source = await open(path, constants.O_RDONLY).catch((cause: unknown) => {
    throw fail('model_unavailable', `the model file cannot be opened (${errnoOf(cause)})`, cause)
  })
  try {
    const status = await source.stat()
    if (!status.isFile()) throw fail('model_unavailable', 'expected the model to be a regular file')
    await checkMagic(source)
    const memory = await reserve(options.memoryDirectory ?? '/dev/shm', status.size)
    if (memory !== null) {
      try {
        const facts = await digest(source, memory, options.signal)
        await source.close()
        return inMemory(memory, { ...facts, sealed: false })
      } catch (error) {
        await memory.close()
        if (!(error instanceof VeriteeError) || errnoOf(error.cause) !== 'ENOSPC') throw error
        // Room was promised and is gone: others share this tmpfs. The file itself still serves.
      }
    }
    return await direct(source, path, options.signal)
  } catch (error) {
    await source.close()
    throw error
  }
}

function inMemory(memory: FileHandle, facts: { readonly sha256: string; readonly size: number; readonly sealed: boolean }): LoadedWeights {
  return {
    ...facts,
    path: `/proc/self/fd/${memory.fd}`,
    fd: memory.fd,
    loading: 'tmpfs',
    confirm: () => Promise.resolve(),
    recheck: () => sameAgain(memory, facts.sha256),
    dispose: () => memory.close(),
  }
}

async function sameAgain(file: FileHandle, sha256: string): Promise<void> {
  const again = await digest(file, null, undefined)
  if (again.sha256 !== sha256)
    throw fail('model_hash_mismatch', `the model file changed while it was in use: expected ${sha256}, found ${again.sha256}`)
}

async function direct(source: FileHandle, path: string, signal: AbortSignal | undefined): Promise<LoadedWeights> {
  const { sha256, size } = await digest(source, null, signal)
  const recheck = (): Promise<void> => sameAgain(source, sha256)
  const loadPath = process.platform === 'linux' ? `/proc/self/fd/${source.fd}` : path
  const facts = { path: loadPath, fd: source.fd, sealed: false, sha256, size, loading: 'direct' } as const
  return { ...facts, confirm: recheck, recheck, dispose: () => source.close() }
}

async function checkMagic(source: FileHandle): Promise<void> {
  const head = new Uint8Array(8)
  const { bytesRead } = await source.read(head, 0, 8, 0)
  const view = new DataView(head.buffer)
  // 'GGUF', then a little-endian version; version 1 predates every model we could serve
  if (bytesRead < 8 || view.getUint32(0) !== 0x47475546) throw fail('model_malformed', 'expected a GGUF file: its first bytes are not GGUF')
  const version = view.getUint32(4, true)
  if (version !== 2 && version !== 3) throw fail('model_malformed', `expected GGUF version 2 or 3, found ${version}`)
}

/** An unnamed file in memory with room for `size` bytes, or null. */
async function reserve(directory: string, size: number): Promise<FileHandle | null> {
  try {
    const status = await statfs(directory)
    if (status.type !== tmpfsMagic || status.bavail * status.bsize < size + chunkSize) return null
    return await open(directory, openTemporary, 0o600).catch(() => createUnlinked(directory))
  } catch {
    return null
  }
}

async function createUnlinked(directory: string): Promise<FileHandle> {
  const name = join(directory, `veritee-${randomUUID()}`)
  const handle = await open(name, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600)
  await unlink(name)
  return handle
}

async function digest(source: FileHandle, copy: FileHandle | null, signal: AbortSignal | undefined): Promise<{ sha256: string; size: number }> {
  const hash = createHash('sha256')
  const chunk = new Uint8Array(chunkSize)
  let size = 0
  try {
    for (;;) {
      signal?.throwIfAborted()
      const { bytesRead } = await source.read(chunk, 0, chunkSize, size)
      if (bytesRead === 0) return { sha256: hash.digest('hex'), size }
      const bytes = chunk.subarray(0, bytesRead)
      hash.update(bytes)
      if (copy !== null) await writeAt(copy, bytes, size)
      size += bytesRead
    }
  } catch (cause) {
    signal?.throwIfAborted()
    throw fail('model_unavailable', `the model file cannot be read (${errnoOf(cause)})`, cause)
  }
}

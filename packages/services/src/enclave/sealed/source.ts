import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { basename } from 'node:path'
import { fail } from 'veritee/errors'

/** One weight file as a loader takes it: its plain bytes in order, each exactly once. */
export interface WeightSource {
  readonly name: string
  /** Plain size in bytes. */
  readonly size: number
  /** SHA-256 of the whole plain file, lower-case hex; null where nobody said beforehand. */
  readonly sha256: string | null
  /**
   * True where the bytes were encrypted at rest: they must then never reach a disk in the clear (rule S12).
   */
  readonly sealed: boolean
  /** Each part is valid until the next is asked for, and is wiped then where `sealed`. Throws coded errors. */
  read(signal?: AbortSignal): AsyncIterable<Uint8Array>
}

const partSize = 1 << 20

/** A plain file. `sha256`, where given, is what the caller expects; the loader compares. Throws `model_unavailable`. */
export async function plainSource(path: string, sha256: string | null = null): Promise<WeightSource> {
  const file = await openModelFile(path)
  const status = await file.stat()
  await file.close()
  if (!status.isFile()) throw fail('model_unavailable', 'expected the model to be a regular file')
  return {
    name: basename(path),
    size: status.size,
    sha256,
    sealed: false,
    read: async function* (signal) {
      const source = await openModelFile(path)
      try {
        const part = new Uint8Array(partSize)
        for (let at = 0; ; ) {
          signal?.throwIfAborted()
          const { bytesRead } = await source.read(part, 0, partSize, at)
          if (bytesRead === 0) return
          at += bytesRead
          yield part.subarray(0, bytesRead)
        }
      } catch (cause) {
        signal?.throwIfAborted()
        throw fail('model_unavailable', `the model file cannot be read (${errnoOf(cause)})`, cause)
      } finally {
        await source.close()
      }
    },
  }
}

export async function openModelFile(path: string): Promise<FileHandle> {
  return open(path, constants.O_RDONLY).catch((cause: unknown) => {
    throw fail('model_unavailable', `${basename(path)} cannot be opened (${errnoOf(cause)})`, cause)
  })
}

export function errnoOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
}

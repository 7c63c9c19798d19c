import { createHash, type Hash } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, rename, statfs, unlink, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { fail } from 'veritee/errors'

/**
 * The unfinished part of a download, hashed as it grows. Its name holds the hash it is going to have, so that what was begun for another version
 * of a file is never continued. Throws `model_unavailable` for what the file system refuses, such as a full disk.
 */
export class PartialFile {
  readonly #target: string
  readonly #path: string
  readonly #sha256: string
  readonly #handle: FileHandle
  #hash: Hash
  #size: number

  private constructor(target: string, path: string, sha256: string, handle: FileHandle, hash: Hash, size: number) {
    this.#target = target
    this.#path = path
    this.#sha256 = sha256
    this.#handle = handle
    this.#hash = hash
    this.#size = size
  }

  /** Opens or makes `<target>.<hash>.partial`, reads what is there, and removes those of other versions. */
  static async open(target: string, sha256: string): Promise<PartialFile> {
    const path = `${target}.${sha256}.partial`
    try {
      await mkdir(dirname(target), { recursive: true })
      for (const name of await readdir(dirname(target)))
        if (name.startsWith(`${basename(target)}.`) && name.endsWith('.partial') && name !== basename(path)) await unlink(join(dirname(target), name))
      const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600)
      const hash = createHash('sha256')
      let size = 0
      for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
        hash.update(chunk as Uint8Array)
        size += (chunk as Uint8Array).length
      }
      return new PartialFile(target, path, sha256, handle, hash, size)
    } catch (cause) {
      throw refused('opened', cause)
    }
  }

  get size(): number {
    return this.#size
  }

  /** Refuses early what would fill the disk in an hour. */
  async checkRoom(total: number): Promise<void> {
    const status = await statfs(dirname(this.#path)).catch((cause: unknown) => {
      throw refused('inspected', cause)
    })
    if (status.bavail * status.bsize < total - this.#size)
      throw fail('model_unavailable', `no space is left for the model cache: ${total - this.#size} bytes are missing`)
  }

  async append(bytes: Uint8Array): Promise<void> {
    try {
      for (let written = 0; written < bytes.length; )
        written += (await this.#handle.write(bytes, written, bytes.length - written, this.#size + written)).bytesWritten
    } catch (cause) {
      throw refused('written', cause)
    }
    this.#hash.update(bytes)
    this.#size += bytes.length
  }

  /** Forgets what is there. */
  async restart(): Promise<void> {
    if (this.#size === 0) return
    try {
      await this.#handle.truncate(0)
    } catch (cause) {
      throw refused('emptied', cause)
    }
    this.#hash = createHash('sha256')
    this.#size = 0
  }

  /** Checks the hash and moves the file to its place, the note of the hash first. Throws `model_hash_mismatch` and removes the file if it is wrong. */
  async finish(): Promise<void> {
    const found = this.#hash.digest('hex')
    if (found !== this.#sha256) {
      await this.discard()
      throw fail('model_hash_mismatch', `the download does not have the hash that the hub states: expected ${this.#sha256}, found ${found}`)
    }
    try {
      await this.#handle.sync()
      await writeFile(`${this.#target}.sha256`, `${found}  ${basename(this.#target)}\n`)
      await rename(this.#path, this.#target)
    } catch (cause) {
      throw refused('finished', cause)
    }
  }

  async discard(): Promise<void> {
    await unlink(this.#path).catch(() => undefined)
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}

function refused(done: string, cause: unknown): Error {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error'
  const reason = code === 'ENOSPC' || code === 'EDQUOT' ? 'no space is left for the model cache' : `the model cache cannot be ${done} (${code})`
  return fail('model_unavailable', reason, cause)
}

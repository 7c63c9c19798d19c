import { randomBytes } from 'node:crypto'
import { constants, type FileHandle, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { fail, VeriteeError } from 'veritee/errors'

/** A file that is appended to, or replaced as a whole. It notices when it is no longer the one that it wrote. */
export class AppendFile {
  readonly #path: string
  #handle: FileHandle | null = null
  #length = 0

  constructor(path: string) {
    this.#path = path
  }

  /** All bytes; null where there is no file. A symbolic link is not followed. Throws `file_unavailable`, `broker_store_invalid` for more than `most`. */
  async read(most: number): Promise<Buffer | null> {
    try {
      const handle = await open(this.#path, constants.O_RDWR | constants.O_NOFOLLOW)
      this.#handle = handle
      const { size } = await handle.stat()
      if (size > most) throw fail('broker_store_invalid', `expected at most ${most} bytes in ${this.#path}, found ${size}`)
      const bytes = await handle.readFile()
      this.#length = bytes.length
      return bytes
    } catch (cause) {
      if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null
      throw unavailable(this.#path, cause)
    }
  }

  /** Writes at the end and syncs. Throws `broker_store_rolled_back` where the file at this path is another, or of another length, than was written; `file_unavailable`. */
  async append(bytes: Uint8Array): Promise<void> {
    const handle = this.#handle
    if (handle === null) throw new TypeError('append: there is no file yet')
    await this.#check(this.#length)
    try {
      for (let written = 0; written < bytes.length; )
        written += (await handle.write(bytes, written, bytes.length - written, this.#length + written)).bytesWritten
      await handle.datasync()
    } catch (cause) {
      throw unavailable(this.#path, cause)
    }
    this.#length += bytes.length
  }

  /**
   * Puts `bytes` in place of all that is there: written beside, synced, renamed over the old file. Throws `broker_store_rolled_back` where that is another file,
   * or there is one where none was; `file_unavailable`, with the old one as it was.
   */
  async replace(bytes: Uint8Array): Promise<void> {
    await this.#check(null)
    const beside = `${this.#path}.${randomBytes(6).toString('hex')}.new`
    const old = this.#handle
    try {
      const made = await open(beside, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600)
      try {
        await made.writeFile(bytes)
        await made.sync()
        await rename(beside, this.#path)
      } catch (cause) {
        await made.close()
        throw cause
      }
      // From here on it is the new one that lies there, whether or not the directory can be synced.
      this.#handle = made
      this.#length = bytes.length
      await old?.close()
      const directory = await open(dirname(this.#path), constants.O_RDONLY)
      await directory.sync().finally(() => directory.close())
    } catch (cause) {
      await rm(beside, { force: true }).catch(() => undefined)
      throw unavailable(this.#path, cause)
    }
  }

  async close(): Promise<void> {
    await this.#handle?.close()
    this.#handle = null
  }

  /** `length` null: whatever it is, as after a write that failed. */
  async #check(length: number | null): Promise<void> {
    const there = await stat(this.#path).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') return null
      throw unavailable(this.#path, cause)
    })
    const own = (await this.#handle?.stat()) ?? null
    const same = there?.ino === own?.ino && there?.dev === own?.dev && (length === null || there?.size === length)
    if (!same)
      throw fail('broker_store_rolled_back', `expected ${this.#path} to be the file that was written last: put back, or another broker writes it`)
  }
}

function unavailable(path: string, cause: unknown): VeriteeError {
  if (cause instanceof VeriteeError) return cause
  const why = cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed'
  return fail('file_unavailable', `cannot use ${path} (${why})`, cause)
}

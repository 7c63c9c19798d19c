import { createHash, randomUUID } from 'node:crypto'
import { lstat, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fail } from '../../errors.ts'
import type { SeenKeep } from './seen.ts'

const maxFileBytes = 1 << 20

/**
 * Keeps checkpoints in files of a directory, one for each log, for their owner only; such as the `cache` of a connection. Whoever can write there can make a client forget.
 * Two processes that write at the same time may leave the smaller of two checkpoints. Throws `file_unavailable`: a file that cannot be read or written is not one that is not there.
 */
export function diskSeen(directory: string): SeenKeep {
  const pathOf = (origin: string): string => join(directory, `log-${createHash('sha256').update(origin).digest('hex')}.json`)
  return {
    async get(origin) {
      const path = pathOf(origin)
      try {
        const found = await lstat(path)
        if (!found.isFile() || found.size > maxFileBytes) throw new Error(`not a file of at most ${maxFileBytes} bytes`)
        return await readFile(path, 'utf8')
      } catch (cause) {
        if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null
        throw fail('file_unavailable', `the checkpoint seen last of ${JSON.stringify(origin)} cannot be read: ${path}`, cause)
      }
    },
    async put(origin, text) {
      const path = pathOf(origin)
      const temporary = `${path}.${randomUUID()}.tmp`
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 })
        await writeFile(temporary, text, { flag: 'wx', mode: 0o600 })
        await rename(temporary, path)
      } catch (cause) {
        await rm(temporary, { force: true }).catch(() => undefined)
        throw fail('file_unavailable', `the checkpoint seen of ${JSON.stringify(origin)} cannot be kept: ${path}`, cause)
      }
    },
  }
}

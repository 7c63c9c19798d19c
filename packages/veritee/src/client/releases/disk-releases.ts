import { randomUUID } from 'node:crypto'
import { lstat, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { parseJson } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import { fail } from '../../errors.ts'
import type { ReleaseMemory, ReleaseSeen } from '../../release/index.ts'

const version = 'veritee.release-seen.v1'
const maxFileBytes = 1024
const shape = new Shape('malformed_document')

/** `$XDG_STATE_HOME/veritee/releases` where that is absolute (XDG Base Directory Specification), else under `~/.local/state`: a cache may be emptied at any time, this should not. */
export function defaultReleaseDirectory(environment: { readonly [name: string]: string | undefined } = process.env): string {
  const base = environment.XDG_STATE_HOME
  return join(base !== undefined && isAbsolute(base) ? base : join(homedir(), '.local', 'state'), 'veritee', 'releases')
}

/**
 * Remembers the newest release statement of each set of signers in files of a directory, one for each, for their owner only. Whoever can write there can make a client forget. Of two processes
 * that write at the same time the older statement may stay, until the newer one is seen again. Throws `file_unavailable`: a file that cannot be read, or is no such file, is not one that is not there.
 */
export function diskReleases(directory: string): ReleaseMemory {
  const pathOf = (keySet: string): string => join(directory, `release-${keySet.replace('sha256:', '')}.json`)
  const get = async (keySet: string): Promise<ReleaseSeen | null> => {
    const path = pathOf(keySet)
    try {
      const found = await lstat(path)
      if (!found.isFile() || found.size > maxFileBytes) throw new Error(`not a file of at most ${maxFileBytes} bytes`)
      const document = parseJson(await readFile(path, 'utf8'), { maxLength: maxFileBytes, maxDepth: 2, integersOnly: true })
      const o = shape.object(document, 'file', ['version', 'key_set', 'sequence', 'digest'])
      shape.oneOf(o.version, 'version', [version])
      shape.oneOf(o.key_set, 'key_set', [keySet])
      return { sequence: shape.integer(o.sequence, 'sequence'), digest: shape.digest(o.digest, 'digest') }
    } catch (cause) {
      if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null
      throw fail(
        'file_unavailable',
        `the release statement seen last cannot be read: ${path}; without that file any statement is the first one`,
        cause,
      )
    }
  }
  return {
    get,
    async put(keySet, { sequence, digest }) {
      const before = await get(keySet)
      if (before !== null && before.sequence >= sequence) return
      const path = pathOf(keySet)
      const temporary = `${path}.${randomUUID()}.tmp`
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 })
        await writeFile(temporary, JSON.stringify({ version, key_set: keySet, sequence, digest }), { flag: 'wx', mode: 0o600 })
        await rename(temporary, path)
      } catch (cause) {
        await rm(temporary, { force: true }).catch(() => undefined)
        throw fail('file_unavailable', `the release statement seen cannot be kept: ${path}`, cause)
      }
    },
  }
}

import { constants } from 'node:fs'
import { access, readdir, readFile, stat, statfs } from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import { join } from 'node:path'

/** What the checks may look at. A test puts another file system under it, and another network. */
export interface Machine {
  /** The text of a small file; null where it cannot be read. */
  text(path: string): Promise<string | null>
  /** What a path is; null where there is nothing. */
  kind(path: string): Promise<'file' | 'directory' | 'device' | 'socket' | null>
  names(path: string): Promise<readonly string[]>
  /** Whether this user may read it, or read and write. */
  allowed(path: string, how: 'read' | 'write'): Promise<boolean>
  /** Free bytes of the file system at a path; null where there is none. */
  freeBytes(path: string): Promise<number | null>
  /** A request without a body; null where nothing answered. */
  get(url: string): Promise<{ readonly status: number; readonly date: string | null } | null>
  now(): Date
}

const maxText = 1 << 20
const timeoutMs = 5000

/** The machine this runs on, or an image of one below `root`. */
export function thisMachine(root = '/'): Machine {
  const at = (path: string): string => join(root, path)
  return {
    text: async (path) => {
      const text = await readFile(at(path), 'utf8').catch(() => null)
      return text === null || text.length > maxText ? null : text
    },
    kind: async (path) => {
      const found = await stat(at(path)).catch(() => null)
      if (found === null) return null
      if (found.isDirectory()) return 'directory'
      if (found.isSocket()) return 'socket'
      return found.isCharacterDevice() ? 'device' : 'file'
    },
    names: (path) => readdir(at(path)).catch(() => []),
    allowed: (path, how) =>
      access(at(path), how === 'read' ? constants.R_OK : constants.R_OK | constants.W_OK).then(
        () => true,
        () => false,
      ),
    freeBytes: async (path) => {
      const found = await statfs(at(path)).catch(() => null)
      return found === null ? null : found.bavail * found.bsize
    },
    get,
    now: () => new Date(),
  }
}

/** A PCCS often has a certificate of its own: what it says is signed by Intel and checked elsewhere, so here it only has to answer. */
function get(url: string): Promise<{ readonly status: number; readonly date: string | null } | null> {
  const { promise, resolve } = Promise.withResolvers<{ status: number; date: string | null } | null>()
  const { protocol } = new URL(url)
  const options = { timeout: timeoutMs, agent: false, ...(protocol === 'https:' && { rejectUnauthorized: false }) } as const
  const request = (protocol === 'https:' ? https : http).get(url, options, (response) => {
    response.resume()
    resolve({ status: response.statusCode ?? 0, date: response.headers.date ?? null })
  })
  request.once('timeout', () => request.destroy(new Error('time is over')))
  request.once('error', () => resolve(null))
  return promise
}

import { mkdir, open, readdir, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { fail } from 'veritee/errors'
import type { ReadFile } from 'veritee/scoring'

/** Throws `usage` for a directory with anything in it: what lies in a bundle is read as part of it. */
export async function checkEmpty(directory: string): Promise<void> {
  const found = await readdir(directory).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return []
    throw fail('usage', `${directory}: expected a directory, or a name for a new one (${cause.code ?? 'failed'})`, cause)
  })
  if (found.length > 0) throw fail('usage', `${directory}: expected an empty directory, or a name for a new one`)
}

/** Writes the files of an epoch's bundle; gives the directory's full path. Throws `file_unavailable`. */
export async function writeBundleFiles(directory: string, bundle: ReadonlyMap<string, string>): Promise<string> {
  const base = resolve(directory)
  try {
    for (const [path, text] of bundle) {
      const target = join(base, path)
      await mkdir(dirname(target), { recursive: true })
      await writeFile(target, text)
    }
  } catch (cause) {
    throw fail('file_unavailable', `${base}: the bundle could not be written`, cause)
  }
  return base
}

/** Reads files of a bundle, bounded. Throws `file_unavailable`. */
export function readBundleFile(directory: string): ReadFile {
  return async (path, maxBytes) => {
    const file = await open(join(directory, path)).catch((cause: unknown) => {
      throw fail('file_unavailable', `no file ${path} in ${directory}`, cause)
    })
    try {
      const { size } = await file.stat()
      const bytes = Buffer.alloc(Math.min(size, maxBytes))
      await file.read(bytes, 0, bytes.length, 0)
      return new Uint8Array(bytes)
    } finally {
      await file.close()
    }
  }
}

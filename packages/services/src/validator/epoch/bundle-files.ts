import { readdir } from 'node:fs/promises'
import { fail } from 'veritee/errors'

/** Throws `usage` for a directory with anything in it: what lies in a bundle is read as part of it. */
export async function checkEmpty(directory: string): Promise<void> {
  const found = await readdir(directory).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return []
    throw fail('usage', `${directory}: expected a directory, or a name for a new one (${cause.code ?? 'failed'})`, cause)
  })
  if (found.length > 0) throw fail('usage', `${directory}: expected an empty directory, or a name for a new one`)
}

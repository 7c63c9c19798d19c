import { writeFile } from 'node:fs/promises'
import { fail } from '../../errors.ts'

/** Writes a result to a file, replacing it. Throws `file_unavailable`. */
export async function writeOutput(path: string, contents: string | Uint8Array): Promise<void> {
  try {
    await writeFile(path, contents)
  } catch (cause) {
    throw fail('file_unavailable', `cannot write ${path}: ${cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed'}`, cause)
  }
}

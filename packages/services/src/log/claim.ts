import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fail } from 'veritee/errors'

/**
 * Takes a directory for this process alone: two logs that sign under one key make a fork, two witnesses forget what the other saw. The lock is that of an SQLite file, which the kernel takes back however
 * the process ends. Gives what ends the claim. Throws `file_unavailable`.
 */
export async function claimDirectory(directory: string): Promise<() => void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o755 })
    const database = new DatabaseSync(join(directory, 'claim'), { timeout: 0 })
    try {
      database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
    } catch (cause) {
      database.close()
      throw cause
    }
    return () => database.close()
  } catch (cause) {
    throw fail('file_unavailable', `${directory} cannot be used: another process has it, or it cannot be written`, cause)
  }
}

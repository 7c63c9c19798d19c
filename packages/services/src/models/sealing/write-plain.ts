import { spawnSync } from 'node:child_process'
import { constants } from 'node:fs'
import { type FileHandle, link, lstat, open, rm } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { fail, VeriteeError } from 'veritee/errors'
import { writeAt } from '../../enclave/sealed/file.ts'

// O_TMPFILE includes O_DIRECTORY; node:fs has no constant for it.
const unnamed = 0o20200000 | constants.O_RDWR

/**
 * Writes a plain file that gets its name only when all of it is there and its hash held; an existing file stays as it is. Where the file system and the
 * machine allow, it has no name until then, and nothing is left even of a killed process. Elsewhere it is `<name>.part`, which a killed process leaves
 * behind with plain bytes in it.
 *
 * Throws `file_unavailable`, and what the parts throw.
 */
export async function writePlain(out: string, parts: AsyncIterable<Uint8Array>): Promise<void> {
  const hidden = await open(dirname(out), unnamed, 0o600).catch(() => null)
  if (hidden === null) return writeBeside(out, parts)
  try {
    await copy(out, parts, hidden)
    if (linkUnnamed(hidden, out)) return
    if ((await lstat(out).catch(() => null)) !== null) throw fail('file_unavailable', `${basename(out)} exists already`)
    await writeBeside(out, hidden.createReadStream({ start: 0, autoClose: false }))
  } finally {
    await hidden.close()
  }
}

async function writeBeside(out: string, parts: AsyncIterable<Uint8Array>): Promise<void> {
  const unverified = `${out}.part`
  const file = await open(unverified, 'wx', 0o600).catch((cause: unknown) => {
    throw fail('file_unavailable', `${basename(unverified)} cannot be made, or exists already`, cause)
  })
  try {
    await copy(out, parts, file)
    // Unlike renaming, linking never takes the place of another file.
    await link(unverified, out).catch((cause: unknown) => {
      throw fail('file_unavailable', `${basename(out)} cannot be made, or exists already`, cause)
    })
  } finally {
    await file.close()
    await rm(unverified, { force: true })
  }
}

async function copy(out: string, parts: AsyncIterable<Uint8Array>, file: FileHandle): Promise<void> {
  try {
    let position = 0
    for await (const part of parts) {
      await writeAt(file, part, position)
      position += part.length
    }
    await file.sync()
  } catch (cause) {
    throw cause instanceof VeriteeError ? cause : fail('file_unavailable', `${basename(out)} cannot be written`, cause)
  }
}

/** Node has no linkat that follows the link in /proc; `ln -L` of coreutils is it. It takes no other file's place. */
function linkUnnamed(file: FileHandle, out: string): boolean {
  return spawnSync('ln', ['-L', '-T', '--', `/proc/${process.pid}/fd/${file.fd}`, out], { stdio: 'ignore' }).status === 0
}

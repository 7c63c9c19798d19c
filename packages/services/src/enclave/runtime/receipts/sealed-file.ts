import { open, readFile, rename } from 'node:fs/promises'
import { fromBase64, toBase64 } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { errnoOf } from '../device-file.ts'
import type { SealingKey } from '../sealing-key.ts'
import { BoxSeal } from './box.ts'

/** What a small file holds, and for whom: sealed for one place, it does not open in another. */
export interface SealedPlace {
  readonly table: string
  readonly key: string
}

const maxFile = 4096

/**
 * What this enclave has kept in a file for its next start, sealed under its own key: null where there is none, or where it does not open, as after an upgrade, when another
 * measurement sealed it. An older file of the same enclave opens. Throws `file_unavailable` for a file that cannot be read.
 */
export async function readSealedFile(path: string, { table, key }: SealedPlace, own: SealingKey): Promise<Uint8Array | null> {
  const text = await readFile(path, 'latin1').catch((cause: unknown) => {
    if (errnoOf(cause) === 'ENOENT') return null
    throw fail('file_unavailable', `cannot read ${path} (${errnoOf(cause)})`, cause)
  })
  if (text === null || text.length > maxFile) return null
  const box = boxOf(text.trim())
  return box === null ? null : new BoxSeal(own).open(table, key, box)
}

function boxOf(text: string): Uint8Array | null {
  try {
    return fromBase64(text)
  } catch {
    return null
  }
}

/** Keeps it for the next start of this enclave, whole or not at all: no other enclave opens it. Throws `file_unavailable`. */
export async function keepSealedFile(path: string, { table, key }: SealedPlace, own: SealingKey, content: Uint8Array): Promise<void> {
  try {
    const file = await open(`${path}.new`, 'w', 0o600)
    try {
      await file.writeFile(toBase64(new BoxSeal(own).seal(table, key, content)))
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(`${path}.new`, path)
  } catch (cause) {
    throw fail('file_unavailable', `cannot write ${path} (${errnoOf(cause)})`, cause)
  }
}

import { randomBytes } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import { fromBase64, toBase64 } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { errnoOf } from '../device-file.ts'
import { type SealingKey, sealingKey } from '../sealing-key.ts'
import { BoxSeal } from './box.ts'

/** Bytes of the secret from which the keys of a store that several share are derived. */
export const storeSecretBytes = 32

const table = 'store-secret'
const key = 'replicas'
const maxFile = 4096

/** A secret that nobody else has: for a store that begins. */
export function newStoreSecret(): Uint8Array {
  return new Uint8Array(randomBytes(storeSecretBytes))
}

/** What seals the rows of a shared store: all who hold the secret share them. `own`: what the secret itself is kept under here, which says who can read it. */
export function sharedSealingKey(secret: Uint8Array, own: SealingKey): SealingKey {
  if (secret.length !== storeSecretBytes) throw new TypeError(`sharedSealingKey: expected ${storeSecretBytes} bytes`)
  return sealingKey(own.source, secret)
}

/**
 * The secret that this enclave has kept for its next start, sealed under its own key: null where there is none, or where it does not open, as after an upgrade,
 * when another measurement sealed it. Throws `file_unavailable` for a file that cannot be read.
 */
export async function readStoreSecret(path: string, own: SealingKey): Promise<Uint8Array | null> {
  const text = await readFile(path, 'latin1').catch((cause: unknown) => {
    if (errnoOf(cause) === 'ENOENT') return null
    throw fail('file_unavailable', `cannot read ${path} (${errnoOf(cause)})`, cause)
  })
  if (text === null || text.length > maxFile) return null
  const box = boxOf(text.trim())
  const secret = box === null ? null : new BoxSeal(own).open(table, key, box)
  return secret?.length === storeSecretBytes ? new Uint8Array(secret) : null
}

function boxOf(text: string): Uint8Array | null {
  try {
    return fromBase64(text)
  } catch {
    return null
  }
}

/** Keeps the secret for the next start of this enclave, sealed under its own key: no other enclave opens it. Throws `file_unavailable`. */
export async function keepStoreSecret(path: string, own: SealingKey, secret: Uint8Array): Promise<void> {
  try {
    const file = await open(`${path}.new`, 'w', 0o600)
    try {
      await file.writeFile(toBase64(new BoxSeal(own).seal(table, key, secret)))
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(`${path}.new`, path)
  } catch (cause) {
    throw fail('file_unavailable', `cannot write ${path} (${errnoOf(cause)})`, cause)
  }
}

import { randomBytes } from 'node:crypto'
import { type SealingKey, sealingKey } from '../sealing-key.ts'
import { keepSealedFile, readSealedFile } from './sealed-file.ts'

/** Bytes of the secret from which the keys of a store that several share are derived. */
export const storeSecretBytes = 32

const place = { table: 'store-secret', key: 'replicas' } as const

/** A secret that nobody else has: for a store that begins. */
export function newStoreSecret(): Uint8Array {
  return new Uint8Array(randomBytes(storeSecretBytes))
}

/** What seals the rows of a shared store: all who hold the secret share them. `own`: what the secret itself is kept under here, which says who can read it. */
export function sharedSealingKey(secret: Uint8Array, own: SealingKey): SealingKey {
  if (secret.length !== storeSecretBytes) throw new TypeError(`sharedSealingKey: expected ${storeSecretBytes} bytes`)
  return sealingKey(own.source, secret)
}

/** The secret that this enclave has kept for its next start; null and throws as {@link readSealedFile}. */
export async function readStoreSecret(path: string, own: SealingKey): Promise<Uint8Array | null> {
  const secret = await readSealedFile(path, place, own)
  return secret?.length === storeSecretBytes ? new Uint8Array(secret) : null
}

/** Keeps the secret for the next start of this enclave. Throws as {@link keepSealedFile}. */
export function keepStoreSecret(path: string, own: SealingKey, secret: Uint8Array): Promise<void> {
  return keepSealedFile(path, place, own, secret)
}

import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import type { SigningKey } from 'veritee/crypto'
import { fail } from 'veritee/errors'
import { errnoOf } from '../../enclave/runtime/device-file.ts'

/** Makes a publisher's key: PKCS #8 PEM in a new file for its owner only. Gives the public key, lower-case hex. Throws `file_unavailable`. */
export async function makePublisherKey(path: string): Promise<string> {
  const { privateKey } = generateKeyPairSync('ed25519')
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  await writeSecret(path, Buffer.from(pem))
  return Buffer.from(signingKey(pem).publicKey).toString('hex')
}

/** Makes a model key: 32 random bytes in a new file for its owner only. Throws `file_unavailable`. */
export async function makeModelKey(path: string): Promise<void> {
  await writeSecret(path, randomBytes(32))
}

/** A publisher's key from its file. Throws `file_unavailable`, `usage` where it is no Ed25519 key or others may read it. */
export async function readPublisherKey(path: string): Promise<SigningKey> {
  return signingKey((await readSecret(path, 4096)).toString('utf8'))
}

/** A model key from its file. The caller wipes it. Throws `file_unavailable`, `usage`. */
export async function readModelKey(path: string): Promise<Uint8Array> {
  const bytes = await readSecret(path, 4096)
  if (bytes.length !== 32) throw fail('usage', `${path}: expected a model key of 32 bytes, found ${bytes.length}`)
  return bytes
}

function signingKey(pem: string): SigningKey {
  try {
    const key = createPrivateKey(pem)
    if (key.asymmetricKeyType !== 'ed25519') throw new TypeError('another kind')
    const publicKey = new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }).subarray(-32))
    return { publicKey, sign: (message) => new Uint8Array(sign(null, message, key)) }
  } catch {
    // The cause might quote the file.
    throw fail('usage', 'expected an Ed25519 private key in PEM (PKCS #8)')
  }
}

async function writeSecret(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600).catch((cause: unknown) => {
    throw fail('file_unavailable', `${path}: expected a file that can be made, found ${errnoOf(cause)}; a key is never overwritten`, cause)
  })
  try {
    await file.writeFile(bytes)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function readSecret(path: string, maxBytes: number): Promise<Buffer> {
  const file = await open(path, constants.O_RDONLY).catch((cause: unknown) => {
    throw fail('file_unavailable', `${path} cannot be opened (${errnoOf(cause)})`, cause)
  })
  try {
    const { size, mode } = await file.stat()
    if ((mode & 0o077) !== 0)
      throw fail('usage', `${path}: expected a key that only its owner can read (mode 0600), found mode ${(mode & 0o777).toString(8)}`)
    if (size > maxBytes) throw fail('usage', `${path}: expected a key, found ${size} bytes`)
    return await file.readFile()
  } finally {
    await file.close()
  }
}

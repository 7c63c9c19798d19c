import { createHash, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { jcs } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import { fail, VeriteeError } from 'veritee/errors'
import { chunkCount, chunkPlace, fileKey, keyCheck, parseManifest, type SealedFile, sealChunk, signManifest } from 'veritee/seal'
import { errnoOf } from '../../enclave/runtime/device-file.ts'
import { openModelFile, readAt, writeAt } from '../../enclave/sealed/file.ts'
import { manifestName, sealedName } from '../../enclave/sealed/open.ts'

export interface SealOptions {
  /** Plain files, in the order in which the engine takes them. */
  readonly files: readonly string[]
  /** A new directory: an existing one is refused, so that two sealings never mix. */
  readonly directory: string
  readonly name: string
  readonly modelVersion: number
  readonly keyId: string
  /** 32 bytes. */
  readonly modelKey: Uint8Array
  readonly publisher: SigningKey
  readonly chatTemplateDigest: string | null
  readonly licence: string | null
  /** Unix seconds. */
  readonly created: number
  readonly chunkSize?: number
  readonly onProgress?: (progress: { readonly receivedBytes: number; readonly totalBytes: number }) => void
  readonly signal?: AbortSignal
}

/** Fits the second-level cache of the processors in use, and costs 64 bytes in a mebibyte. */
const defaultChunkSize = 1 << 18

/**
 * Seals a model into a new directory; gives the text of its manifest, which is written last: a directory without it is no sealed model. Two chunks are in
 * memory at a time, whatever the size of the files.
 *
 * An interrupted sealing is begun anew, with another salt: going on under the same keys could seal two texts under one nonce if a file had changed.
 * Throws `usage` (the manifest would not be well-formed: names, licence, chunk size), before anything is read; `file_unavailable` (the directory exists,
 * or reading or writing failed on the way), `model_unavailable` (a file cannot be opened, or changed while being read).
 */
export async function sealModel(options: SealOptions): Promise<string> {
  const { directory, modelKey, chunkSize = defaultChunkSize, onProgress } = options
  const salt = randomBytes(32).toString('hex')
  const context = {
    version: 'veritee.sealed-model.v1',
    name: options.name,
    model_version: options.modelVersion,
    cipher: 'aes-256-gcm-stream',
    chunk_size: chunkSize,
    salt,
  } as const
  const unsealed = await Promise.all(options.files.map(sizeOf))
  const totalBytes = unsealed.reduce((sum, { size }) => sum + size, 0)
  const { created, keyId: key_id, chatTemplateDigest: chat_template_digest, licence } = options
  const facts = { ...context, created, key_id, chat_template_digest, licence }
  checkFacts(facts, unsealed)
  await mkdir(directory).catch((cause: unknown) => {
    throw fail(
      'file_unavailable',
      `expected a directory that can be made, found ${errnoOf(cause)}; an interrupted sealing is to be removed first`,
      cause,
    )
  })
  try {
    const files: SealedFile[] = []
    let done = 0
    for (const [index, { path, size }] of unsealed.entries()) {
      const name = basename(path)
      const key = await fileKey(modelKey, context, index, { name, size })
      const prefix = randomBytes(7)
      try {
        const sha256 = await sealFile(
          { path, size, key, prefix, chunkSize, target: join(directory, sealedName(name)), signal: options.signal },
          (bytes) => {
            done += bytes
            onProgress?.({ receivedBytes: done, totalBytes })
          },
        )
        files.push({ name, sha256: `sha256:${sha256}`, size, nonce_prefix: prefix.toString('hex') })
      } finally {
        key.fill(0)
      }
    }
    const text = await signManifest({ ...facts, key_check: await keyCheck(modelKey, salt), files }, options.publisher)
    await writeWhole(join(directory, manifestName), text)
    return text
  } catch (error) {
    await rm(directory, { recursive: true, force: true })
    if (error instanceof VeriteeError || !(error instanceof Error && 'syscall' in error)) throw error
    throw fail('file_unavailable', `a file could not be read or written while it was sealed (${errnoOf(error)}); nothing of it is left`, error)
  }
}

/** All of a manifest but digests is known before the first byte is read: what its reader would refuse is refused then, and not after hours. */
function checkFacts(
  facts: Omit<Parameters<typeof signManifest>[0], 'files' | 'key_check'>,
  unsealed: readonly { path: string; size: number }[],
): void {
  const zeros = (bytes: number): string => '00'.repeat(bytes)
  const files = unsealed.map(({ path, size }) => ({ name: basename(path), sha256: `sha256:${zeros(32)}`, size, nonce_prefix: zeros(7) }))
  const draft = jcs({ ...facts, files, key_check: zeros(16), publisher: zeros(32), signature: zeros(64) })
  try {
    parseManifest(draft)
  } catch (cause) {
    throw fail('usage', `this cannot be sealed: ${cause instanceof Error ? cause.message : 'its manifest is not well-formed'}`, cause)
  }
}

async function sizeOf(path: string): Promise<{ readonly path: string; readonly size: number }> {
  const file = await openModelFile(path)
  try {
    const status = await file.stat()
    if (!status.isFile()) throw fail('model_unavailable', `expected ${basename(path)} to be a regular file`)
    return { path, size: status.size }
  } finally {
    await file.close()
  }
}

interface Sealing {
  readonly path: string
  readonly size: number
  readonly key: Uint8Array
  readonly prefix: Uint8Array
  readonly chunkSize: number
  readonly target: string
  readonly signal: AbortSignal | undefined
}

/** Seals one file; gives the SHA-256 of its plain bytes, the very bytes that were sealed. */
async function sealFile({ path, size, key, prefix, chunkSize, target, signal }: Sealing, onBytes: (bytes: number) => void): Promise<string> {
  const source = await openModelFile(path)
  try {
    const out = await open(target, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o644)
    try {
      const hash = createHash('sha256')
      const buffer = new Uint8Array(chunkSize)
      const count = chunkCount(size, chunkSize)
      for (let index = 0; index < count; index++) {
        signal?.throwIfAborted()
        const { length, start, last } = chunkPlace(index, size, chunkSize)
        const plain = buffer.subarray(0, length - 16)
        if ((await readAt(source, plain, index * chunkSize)) !== plain.length) throw changed(path)
        hash.update(plain)
        await writeAt(out, await sealChunk(key, prefix, index, last, plain), start)
        onBytes(plain.length)
      }
      if ((await readAt(source, buffer.subarray(0, 1), size)) !== 0) throw changed(path)
      await out.sync()
      return hash.digest('hex')
    } finally {
      await out.close()
    }
  } finally {
    await source.close()
  }
}

function changed(path: string): Error {
  return fail('model_unavailable', `${basename(path)} changed its size while it was sealed`)
}

/** Under another name first, so that a manifest is there whole or not at all. */
async function writeWhole(path: string, text: string): Promise<void> {
  const file = await open(`${path}.part`, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o644)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(`${path}.part`, path)
}

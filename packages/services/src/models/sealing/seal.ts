import { randomBytes } from 'node:crypto'
import { basename } from 'node:path'
import { jcs } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import { fail, VeriteeError } from 'veritee/errors'
import { chunkCount, fileKey, keyCheck, parseManifest, type SealedFile, type SignedManifest, signManifest } from 'veritee/seal'
import { errnoOf } from '../../enclave/runtime/device-file.ts'
import { chunkCipher } from '../../enclave/sealed/cipher.ts'
import { openModelFile } from '../../enclave/sealed/file.ts'
import { checkInterrupted } from './interrupted.ts'
import { readOnce, sealTwice } from './seal-file.ts'
import { directoryTarget, type SealedTarget, singleFileTarget } from './target.ts'

export interface SealOptions {
  /** Plain files, in the order in which the engine takes them. */
  readonly files: readonly string[]
  /** What is made: it does not exist, or an interrupted sealing of the same model left it. Anything else is refused, so that two sealings never mix. */
  readonly out: string
  /** A directory, or everything in one file. */
  readonly form?: 'directory' | 'file'
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
  /** Default {@link defaultChunkSize}, larger for files beyond 256 GiB. */
  readonly chunkSize?: number
  /** Every byte is read twice, and counts half each time. */
  readonly onProgress?: (progress: { readonly receivedBytes: number; readonly totalBytes: number }) => void
  readonly signal?: AbortSignal
}

/** Fits the second-level cache of the processors in use, and costs 64 bytes in a mebibyte. */
const defaultChunkSize = 1 << 18
/** A fingerprint of each chunk is in memory: 16 MiB for so many. */
const chunksInMemory = 1 << 20

/**
 * Seals a model; gives the text of its manifest, which is written last: without it there is no sealed model. Each file is read twice: for its digest,
 * of which its key is made, and to seal it, by several cores. Less than 200 MB are in memory, whatever the size of the files (see bench/results/sealed.md).
 *
 * What was interrupted, however it was, goes on when it is called again: chunks that are there and open are kept. A file that changed meanwhile is
 * sealed anew under another key; one that changes between the two readings is refused before anything of the change is sealed.
 *
 * Throws `usage` (the manifest would not be well-formed: names, licence, chunk size; or an interrupted sealing of something else is there) and
 * `file_unavailable` (something else is there), both before anything is read; `sealed_key_wrong` (another key than the interrupted
 * sealing has); `model_unavailable` (a file cannot be opened, or changes), `file_unavailable` (reading or writing failed on the way).
 */
export async function sealModel(options: SealOptions): Promise<string> {
  const { out, modelKey, publisher, onProgress, signal } = options
  const target = options.form === 'file' ? singleFileTarget(out) : directoryTarget(out)
  const sources = await Promise.all(options.files.map(sizeOf))
  const draft = await draftManifest(options, sources)
  const state = await target.readState()
  const interrupted = state === null ? null : await checkInterrupted(state, draft, modelKey)
  const { publisher: _, signature: __, files: ___, ...facts } = interrupted ?? draft
  // The sizes are those of now; digests and signature are as long as those to come.
  const announced = { ...draft, ...facts }
  const places = target.places(announced, jcs(announced))
  const totalBytes = sources.reduce((sum, { size }) => sum + size, 0)
  let halves = 0
  const onBytes = (bytes: number): void => {
    halves += bytes
    onProgress?.({ receivedBytes: Math.floor(halves / 2), totalBytes })
  }
  try {
    const files: SealedFile[] = []
    for (const [index, { path, size }] of sources.entries()) {
      const source = await openModelFile(path)
      try {
        const reading = { source, path, size, chunkSize: facts.chunk_size, onBytes, signal }
        const once = await readOnce(reading)
        const file = { name: basename(path), sha256: `sha256:${once.sha256}`, size }
        // Not before the first file could be read, so that a mistake leaves nothing.
        if (index === 0 && interrupted === null) await target.begin(jcs(draft))
        const key = await fileKey(modelKey, facts, index, file)
        try {
          await sealTwice(reading, once, await chunkCipher(key), places[index] as SealedTarget)
        } finally {
          key.key.fill(0)
        }
        files.push(file)
      } finally {
        await source.close()
      }
    }
    const text = await signManifest({ ...facts, files }, publisher)
    await target.end(text)
    return text
  } catch (error) {
    if (error instanceof VeriteeError || !(error instanceof Error && 'syscall' in error)) throw error
    throw fail(
      'file_unavailable',
      `a file could not be read or written while it was sealed (${errnoOf(error)}); repeat the command, and it goes on`,
      error,
    )
  }
}

/**
 * The manifest as far as it is known before the first byte is read: what its reader would refuse is refused now, and not after hours. Its digests and
 * its signature are zero.
 */
async function draftManifest(options: SealOptions, sources: readonly { path: string; size: number }[]): Promise<SignedManifest> {
  const zeros = (bytes: number): string => '00'.repeat(bytes)
  const salt = randomBytes(32).toString('hex')
  const draft = {
    version: 'veritee.sealed-model.v1',
    name: options.name,
    model_version: options.modelVersion,
    created: options.created,
    cipher: 'aes-256-gcm-stream',
    chunk_size: options.chunkSize ?? chunkSizeFor(sources),
    salt,
    key_check: await keyCheck(options.modelKey, salt),
    key_id: options.keyId,
    files: sources.map(({ path, size }) => ({ name: basename(path), sha256: `sha256:${zeros(32)}`, size })),
    chat_template_digest: options.chatTemplateDigest,
    licence: options.licence,
    publisher: Buffer.from(options.publisher.publicKey).toString('hex'),
    signature: zeros(64),
  } as const
  const most = 4 * chunksInMemory
  if (sources.some(({ size }) => chunkCount(size, draft.chunk_size) > most))
    throw fail('usage', `expected files of at most ${most} chunks; choose a larger chunk size`)
  try {
    return parseManifest(jcs(draft))
  } catch (cause) {
    throw fail('usage', `this cannot be sealed: ${cause instanceof Error ? cause.message : 'its manifest is not well-formed'}`, cause)
  }
}

function chunkSizeFor(sources: readonly { size: number }[]): number {
  const largest = Math.max(0, ...sources.map(({ size }) => size))
  let chunkSize = defaultChunkSize
  while (largest / chunkSize > chunksInMemory) chunkSize *= 2
  return chunkSize
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

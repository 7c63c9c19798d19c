import { createHash, subtle } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { basename } from 'node:path'
import { fail } from 'veritee/errors'
import { chunkCount, chunkPlace, sealedSize } from 'veritee/seal'
import { ahead, widthFor } from '../../enclave/sealed/ahead.ts'
import { type ChunkCipher, release } from '../../enclave/sealed/cipher.ts'
import { readAt, writeAt } from '../../enclave/sealed/file.ts'
import type { SealedTarget } from './target.ts'

/** Half a SHA-256: only a second text for a given one would serve who changes the source, and its maker never sees these. */
const fingerprintBytes = 16

/** What the first reading of a file found: its digest, and a fingerprint of each chunk, by which the second reading knows it again. */
export interface ReadOnce {
  readonly sha256: string
  readonly fingerprints: Uint8Array
}

export interface Reading {
  readonly source: FileHandle
  readonly path: string
  readonly size: number
  readonly chunkSize: number
  readonly onBytes: (bytes: number) => void
  readonly signal: AbortSignal | undefined
}

/**
 * The first reading. The digest is one long computation, so it is all that this thread does; reading and fingerprints are done by others.
 * Throws `model_unavailable` where the file has another length than was said.
 */
export async function readOnce({ source, path, size, chunkSize, onBytes, signal }: Reading): Promise<ReadOnce> {
  const count = chunkCount(size, chunkSize)
  const fingerprints = new Uint8Array(fingerprintBytes * count)
  const hash = createHash('sha256')
  const buffers = chunkBuffers(count, chunkSize)
  const begin = async (index: number, place: number): Promise<Uint8Array> => {
    const plain = await readChunk({ source, path, size, chunkSize }, index, buffers[place] as Uint8Array<ArrayBuffer>)
    fingerprints.set(new Uint8Array(await subtle.digest('SHA-256', plain), 0, fingerprintBytes), fingerprintBytes * index)
    return plain
  }
  for await (const plain of ahead(count, buffers.length, begin)) {
    signal?.throwIfAborted()
    hash.update(plain)
    onBytes(plain.length)
  }
  if ((await readAt(source, new Uint8Array(1), size)) !== 0) throw changed(path)
  return { sha256: hash.digest('hex'), fingerprints }
}

/**
 * The second reading: seals what is what it was at the first, and nothing else, so that under the key of a digest nothing but the text of that digest is
 * ever sealed. Chunks that are in the target already, from an interrupted sealing, are kept where they open.
 * Throws `model_unavailable` at the first chunk that changed; it is not sealed.
 */
export async function sealTwice(reading: Reading, { fingerprints }: ReadOnce, cipher: ChunkCipher, target: SealedTarget): Promise<void> {
  const { path, size, chunkSize, onBytes, signal } = reading
  const out = await open(target.path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o644)
  try {
    const count = chunkCount(size, chunkSize)
    const buffers = chunkBuffers(count, chunkSize)
    const present = (await out.stat()).size
    const begin = async (index: number, place: number): Promise<number> => {
      const buffer = buffers[place] as Uint8Array<ArrayBuffer>
      const { length, start: within, last } = chunkPlace(index, size, chunkSize)
      const start = target.start + within
      if (start + length <= present && (await isSealed(out, cipher, index, last, start, buffer.subarray(0, length)))) return length - 16
      const plain = await readChunk(reading, index, buffer)
      const found = createHash('sha256').update(plain).digest().subarray(0, fingerprintBytes)
      if (!found.equals(fingerprints.subarray(fingerprintBytes * index, fingerprintBytes * (index + 1)))) throw changed(path)
      const sealed = await cipher.seal(index, last, plain)
      await writeAt(out, sealed, start)
      release(sealed)
      return plain.length
    }
    for await (const bytes of ahead(count, buffers.length, begin)) {
      signal?.throwIfAborted()
      onBytes(bytes)
    }
    const end = target.start + sealedSize(size, chunkSize)
    if (target.next === null) await out.truncate(end)
    // What was sealed before its files changed their sizes may lie there.
    else await writeAt(out, new Uint8Array(target.next - end), end)
    await out.sync()
  } finally {
    await out.close()
  }
}

/** A chunk that opens was sealed from the very text of this key; whoever wrote it. */
async function isSealed(out: FileHandle, cipher: ChunkCipher, index: number, last: boolean, start: number, buffer: Uint8Array): Promise<boolean> {
  const plain = (await readAt(out, buffer, start)) === buffer.length ? await cipher.open(index, last, buffer) : null
  if (plain !== null) release(plain)
  return plain !== null
}

type Source = Pick<Reading, 'source' | 'path' | 'size' | 'chunkSize'>

async function readChunk(
  { source, path, size, chunkSize }: Source,
  index: number,
  buffer: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  const plain = buffer.subarray(0, chunkPlace(index, size, chunkSize).length - 16)
  if ((await readAt(source, plain, index * chunkSize)) !== plain.length) throw changed(path)
  return plain
}

/** One for each chunk that is under way; room for a sealed one. */
function chunkBuffers(count: number, chunkSize: number): Uint8Array<ArrayBuffer>[] {
  return Array.from({ length: Math.min(count, widthFor(chunkSize)) }, () => new Uint8Array(chunkSize + 16))
}

function changed(path: string): Error {
  return fail('model_unavailable', `${basename(path)} changed while it was sealed; once it is at rest, repeat the command: it goes on`)
}

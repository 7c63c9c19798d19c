import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { fail } from 'veritee/errors'
import { errnoOf } from '../../../runtime/device-file.ts'
import { writeAt } from '../../../sealed/file.ts'

const chunkSize = 1 << 20

/** SHA-256 and size of a whole file, which is copied on the way where there is a copy. Throws `model_unavailable`, or the signal's reason. */
export async function digest(
  source: FileHandle,
  copy: FileHandle | null,
  signal: AbortSignal | undefined,
): Promise<{ readonly sha256: string; readonly size: number }> {
  const hash = createHash('sha256')
  const chunk = new Uint8Array(chunkSize)
  let size = 0
  try {
    for (;;) {
      signal?.throwIfAborted()
      const { bytesRead } = await source.read(chunk, 0, chunkSize, size)
      if (bytesRead === 0) return { sha256: hash.digest('hex'), size }
      const bytes = chunk.subarray(0, bytesRead)
      hash.update(bytes)
      if (copy !== null) await writeAt(copy, bytes, size)
      size += bytesRead
    }
  } catch (cause) {
    signal?.throwIfAborted()
    throw fail('model_unavailable', `the model file cannot be read (${errnoOf(cause)})`, cause)
  }
}

/** Throws `model_malformed` unless the file begins as GGUF version 2 or 3. */
export async function checkMagic(source: FileHandle): Promise<void> {
  const head = new Uint8Array(8)
  const { bytesRead } = await source.read(head, 0, 8, 0)
  const view = new DataView(head.buffer)
  // 'GGUF', then a little-endian version; version 1 predates every model we could serve
  if (bytesRead < 8 || view.getUint32(0) !== 0x47475546) throw fail('model_malformed', 'expected a GGUF file: its first bytes are not GGUF')
  const version = view.getUint32(4, true)
  if (version !== 2 && version !== 3) throw fail('model_malformed', `expected GGUF version 2 or 3, found ${version}`)
}

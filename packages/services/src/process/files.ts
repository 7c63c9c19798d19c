import { mkdir, open, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { fromUtf8 } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { errnoOf } from '../enclave/runtime/device-file.ts'

/** The small files that a service reads and writes beside its models. */
export interface Files {
  /** At most 4 MiB. Throws `file_unavailable`, `malformed_encoding`. */
  readText(path: string): Promise<string>
}

const maxBytes = 4 << 20

export const nodeFiles: Files = {
  readText: async (path) => {
    try {
      const file = await open(path, 'r')
      try {
        const bytes = new Uint8Array(maxBytes + 1)
        let length = 0
        for (let read = -1; read !== 0 && length <= maxBytes; length += read)
          ({ bytesRead: read } = await file.read(bytes, length, bytes.length - length, null))
        if (length > maxBytes) throw fail('file_unavailable', `${path}: expected at most ${maxBytes} bytes`)
        return fromUtf8(bytes.subarray(0, length))
      } finally {
        await file.close()
      }
    } catch (cause) {
      if (cause instanceof Error && 'kind' in cause) throw cause
      throw fail('file_unavailable', `cannot read ${path} (${errnoOf(cause)})`, cause)
    }
  },
}

/** Writes a file that is not there yet. Throws `file_unavailable`. */
export async function writeNew(path: string, text: string): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o644)
    try {
      await file.writeFile(text)
    } finally {
      await file.close()
    }
  } catch (cause) {
    throw fail('file_unavailable', `cannot make ${path} (${errnoOf(cause)})`, cause)
  }
}

/** Writes files for others to read: each under another name first, so that nobody reads half of one. Throws `file_unavailable`. */
export async function publish(directory: string, texts: { readonly [name: string]: string }): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o755 })
    for (const [name, text] of Object.entries(texts)) {
      const path = join(directory, name)
      const file = await open(`${path}.new`, 'w', 0o644)
      try {
        await file.writeFile(text)
      } finally {
        await file.close()
      }
      await rename(`${path}.new`, path)
    }
  } catch (cause) {
    throw fail('file_unavailable', `cannot write to ${directory} (${errnoOf(cause)})`, cause)
  }
}

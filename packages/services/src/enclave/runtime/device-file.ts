import { constants, open } from 'node:fs/promises'
import { fail, VeriteeError } from 'veritee/errors'

/** The part of `node:fs/promises` that quote devices use, so that tests can stand in for the pseudo files behind them. */
export interface DeviceFiles {
  open(path: string, flags: number): Promise<DeviceFile>
}

export interface DeviceFile {
  write(bytes: Uint8Array): Promise<{ bytesWritten: number }>
  read(into: Uint8Array, offset: number, length: number): Promise<{ bytesRead: number }>
  close(): Promise<void>
}

/** What a failure of a device means, as a coded error. */
export type Coded = (cause: unknown, path: string) => VeriteeError

export const nodeFiles: DeviceFiles = {
  open: async (path, flags) => {
    const handle = await open(path, flags)
    return {
      write: (bytes) => handle.write(bytes),
      // No position: pseudo files are read in sequence.
      read: (into, offset, length) => handle.read(into, offset, length, null),
      close: () => handle.close(),
    }
  },
}

/** A whole pseudo file, which has no size beforehand. Throws `attestation_device_failed` past `maxBytes`, and what `coded` makes of other failures. */
export function readWhole(files: DeviceFiles, path: string, maxBytes: number, coded: Coded): Promise<Uint8Array> {
  return withFile(files, path, constants.O_RDONLY, coded, async (file) => {
    // One byte more than allowed tells a full buffer from a file that goes on.
    const buffer = new Uint8Array(maxBytes + 1)
    let length = 0
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length)
      if (bytesRead === 0) break
      length += bytesRead
    }
    if (length > maxBytes) throw fail('attestation_device_failed', `expected at most ${maxBytes} bytes in ${path}`)
    return buffer.slice(0, length)
  })
}

/** Opens, uses and closes a pseudo file. Coded errors pass; the rest is what `coded` makes of it. */
export async function withFile<T>(files: DeviceFiles, path: string, flags: number, coded: Coded, use: (file: DeviceFile) => Promise<T>): Promise<T> {
  try {
    const file = await files.open(path, flags)
    try {
      return await use(file)
    } finally {
      await file.close()
    }
  } catch (cause) {
    throw cause instanceof VeriteeError ? cause : coded(cause, path)
  }
}

/** The system's name of a failure, such as `EACCES`. */
export function errnoOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown failure'
}

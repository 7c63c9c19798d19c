import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { basename } from 'node:path'
import { fail } from 'veritee/errors'
import { errnoOf } from '../runtime/device-file.ts'

/** Throws `model_unavailable`. */
export async function openModelFile(path: string): Promise<FileHandle> {
  return open(path, constants.O_RDONLY).catch((cause: unknown) => {
    throw fail('model_unavailable', `${basename(path)} cannot be opened (${errnoOf(cause)})`, cause)
  })
}

/** Fills `into` from a place in the file; gives how many bytes there were, which is less at the end of the file only. */
export async function readAt(file: FileHandle, into: Uint8Array, position: number): Promise<number> {
  let length = 0
  for (let got = -1; got !== 0 && length < into.length; length += got)
    ({ bytesRead: got } = await file.read(into, length, into.length - length, position + length))
  return length
}

/** Writes all of `bytes` at a place in the file: one write of the system may take a part only. */
export async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < bytes.length; )
    written += (await file.write(bytes, written, bytes.length - written, position + written)).bytesWritten
}

import { createReadStream } from 'node:fs'
import { chmod, mkdir, mkdtemp, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { fail } from 'veritee/errors'
import type { ReadFile } from 'veritee/scoring'

/**
 * Writes the bundle of an epoch (paths to texts, as `writeEpoch` gives them) as a directory that is not there yet. It appears as a whole or not at all: a
 * process that is killed leaves a directory of another name. An empty directory is replaced. Gives the full path. Throws `file_unavailable`.
 */
export async function writeBundle(directory: string, bundle: ReadonlyMap<string, string>): Promise<string> {
  const target = resolve(directory)
  try {
    await mkdir(dirname(target), { recursive: true })
    const temporary = await mkdtemp(join(dirname(target), '.epoch-'))
    try {
      for (const [path, text] of bundle) await writeDurably(join(temporary, path), text)
      // Made for its owner only.
      await chmod(temporary, 0o755)
      // Fails where something is there that is not an empty directory.
      await rename(temporary, target)
    } catch (error) {
      await rm(temporary, { recursive: true, force: true })
      throw error
    }
    return target
  } catch (cause) {
    throw fail('file_unavailable', `cannot write ${target}: ${cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed'}`, cause)
  }
}

/** {@link writeBundle}, in the place of a bundle that is there: for a moment there is none. Throws `file_unavailable`. */
export async function replaceBundle(directory: string, bundle: ReadonlyMap<string, string>): Promise<string> {
  const target = resolve(directory)
  await rm(target, { recursive: true, force: true }).catch((cause: unknown) => {
    throw fail('file_unavailable', `cannot replace ${target}`, cause)
  })
  return writeBundle(target, bundle)
}

/** Puts files into a bundle that is there, one after the other in this order, each as a whole. Throws `file_unavailable`. */
export async function writeInto(directory: string, files: ReadonlyMap<string, string>): Promise<void> {
  const target = resolve(directory)
  try {
    for (const [path, text] of files) {
      const temporary = join(target, `.${basename(path)}-${process.pid}`)
      await rm(temporary, { force: true })
      await writeDurably(temporary, text)
      await rename(temporary, join(target, path))
    }
  } catch (cause) {
    throw fail('file_unavailable', `cannot write ${target}: ${cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed'}`, cause)
  }
}

async function writeDurably(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  // Bundles are published: everybody may read them.
  const file = await open(path, 'wx', 0o644)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** The files of a bundle in a directory, for `verifyEpoch`. What is longer than it may be is cut. Throws `file_unavailable`. */
export function readBundle(directory: string): ReadFile {
  return async (path, maxBytes) => {
    const parts: Uint8Array[] = []
    const stream = createReadStream(join(directory, path), { end: maxBytes - 1, highWaterMark: 1 << 20 })
    try {
      for await (const part of stream as AsyncIterable<Uint8Array>) parts.push(part)
    } catch (cause) {
      throw fail('file_unavailable', `cannot read ${join(directory, path)}`, cause)
    }
    return new Uint8Array(Buffer.concat(parts))
  }
}

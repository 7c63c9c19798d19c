import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { basename, join, relative } from 'node:path'
import { fail } from 'veritee/errors'
import type { DescribedModel, WeightFile } from 'veritee/receipt'
import { type MountView, onMeasuredMount } from './measured-mount.ts'

/** What an operator says about engine and model in the measured image. */
export interface MeasuredSources {
  /** dm-verity root hashes, 64 hex digits, as on the kernel's command line. */
  readonly executable: { readonly path: string; readonly rootHash: string }
  /** A file or a folder; null: the weights are elsewhere, and only asserted. */
  readonly weights: { readonly path: string; readonly rootHash: string } | null
}

/** What was found there. */
export interface MeasuredEngine {
  /** `sha256:` of the executable. */
  readonly build: string
  readonly weights: { readonly files: readonly WeightFile[]; readonly format: DescribedModel['format'] } | null
}

const maxFiles = 1024

/**
 * Hashes the executable of an engine and every file of its model, on measured mounts only. What is read here is what the engine reads: a dm-verity
 * device gives the same bytes or none. Each device is read once as a whole, which takes as long as hashing it.
 * Throws `engine_not_measured`, `model_unavailable`.
 */
export async function hashMeasured(sources: MeasuredSources, view?: MountView): Promise<MeasuredEngine> {
  const known = new Map<string, Promise<readonly string[]>>()
  const executable = await onMeasuredMount(sources.executable.path, sources.executable.rootHash, view, known)
  const build = (await hashFile(executable)).sha256
  if (sources.weights === null) return { build, weights: null }
  const path = await onMeasuredMount(sources.weights.path, sources.weights.rootHash, view, known)
  const files: WeightFile[] = []
  for (const file of await filesOf(path)) files.push({ name: file === path ? basename(path) : relative(path, file), ...(await hashFile(file)) })
  const has = (end: string): boolean => files.some(({ name }) => name.endsWith(end))
  return { build, weights: { files, format: has('.gguf') ? 'gguf' : has('.safetensors') ? 'safetensors' : 'unknown' } }
}

/** The files of a model in the order of their names. Links are refused: they could lead off the mount. */
async function filesOf(path: string): Promise<string[]> {
  const found: string[] = []
  const visit = async (at: string): Promise<void> => {
    const stat = await lstat(at)
    if (stat.isDirectory()) {
      for (const name of (await readdir(at)).toSorted()) await visit(join(at, name))
      return
    }
    if (!stat.isFile()) throw fail('engine_not_measured', `${at}: expected files and folders only`)
    found.push(at)
    if (found.length > maxFiles) throw fail('engine_not_measured', `${path}: expected at most ${maxFiles} files`)
  }
  await visit(path)
  if (found.length === 0) throw fail('engine_not_measured', `${path}: expected at least one file`)
  return found
}

async function hashFile(path: string): Promise<{ readonly sha256: string; readonly size: number }> {
  const hash = createHash('sha256')
  let size = 0
  try {
    for await (const part of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
      hash.update(part)
      size += part.length
    }
  } catch (cause) {
    throw fail('model_unavailable', `${path} cannot be read`, cause)
  }
  return { sha256: `sha256:${hash.digest('hex')}`, size }
}

import { constants, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fail } from 'veritee/errors'
import { entryBundle, parseEntryBundle, type ReadTile, type Tile, tileHashes, tilePath, tileWidth } from 'veritee/log'

/** How many files are written at once: the disk syncs them side by side. */
const writers = 16

/**
 * The files of a log or witness in one directory. Each is whole or not there: written beside, synced, renamed. What {@link write} has written survives a crash once it has
 * returned, the names included.
 */
export class TileFiles {
  readonly directory: string
  #made = new Set<string>()

  constructor(directory: string) {
    this.directory = directory
  }

  /** Writes files by their paths, replacing what is there. Durable when it resolves; on failure any of them may be there. Throws `file_unavailable`. */
  async write(files: ReadonlyMap<string, Uint8Array | string>): Promise<void> {
    const waiting = [...files]
    const directories = new Set<string>()
    const worker = async (): Promise<void> => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        const [path, content] = next
        const target = join(this.directory, path)
        await this.#makeDirectory(dirname(target), directories)
        await writeWhole(target, content)
        directories.add(dirname(target))
      }
    }
    try {
      await Promise.all(Array.from({ length: Math.min(writers, waiting.length) }, worker))
      for (const directory of directories) await syncDirectory(directory)
    } catch (cause) {
      throw fail('file_unavailable', `cannot write in ${this.directory} (${errnoOf(cause)})`, cause)
    }
  }

  /** The bytes of a file; null where there is none. Throws `file_unavailable`. */
  async read(path: string): Promise<Uint8Array | null> {
    try {
      return await readFile(join(this.directory, path))
    } catch (cause) {
      if (errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENOTDIR') return null
      throw fail('file_unavailable', `cannot read ${path} in ${this.directory} (${errnoOf(cause)})`, cause)
    }
  }

  /** Removes what a whole tile has made needless. What is left over does no harm. */
  async removePartials(paths: readonly string[]): Promise<void> {
    for (const path of paths) await rm(join(this.directory, `${path}.p`), { recursive: true, force: true }).catch(() => undefined)
  }

  /** A tile of hashes, cut from a whole one where the narrower is no longer there. Throws `file_unavailable`, also where it is missing. */
  readTile: ReadTile = async (tile) => {
    const bytes = await this.tile(tile)
    if (bytes === null) throw fail('file_unavailable', `expected ${tilePath(tile)} in ${this.directory}, found nothing`)
    return bytes
  }

  /** As {@link readTile}, for hashes; null where it is missing. */
  async tile(tile: Tile): Promise<Uint8Array | null> {
    const exact = await this.read(tilePath(tile))
    if (exact !== null || tile.width === tileWidth) return exact
    const whole = await this.read(tilePath({ ...tile, width: tileWidth }))
    return whole === null ? null : whole.subarray(0, 32 * tileHashes(whole, tileWidth).slice(0, tile.width).length)
  }

  /** A bundle of entries, cut from the whole one where the narrower is no longer there; null where it is missing. */
  async bundle(index: number, width: number): Promise<Uint8Array | null> {
    const exact = await this.read(tilePath({ level: 'entries', index, width }))
    if (exact !== null || width === tileWidth) return exact
    const whole = await this.read(tilePath({ level: 'entries', index, width: tileWidth }))
    return whole === null ? null : entryBundle(parseEntryBundle(whole, tileWidth).slice(0, width))
  }

  async #makeDirectory(directory: string, changed: Set<string>): Promise<void> {
    if (this.#made.has(directory)) return
    const first = await mkdir(directory, { recursive: true, mode: 0o755 })
    // A directory is a name in the one above it, and so on up to where they were.
    if (first !== undefined) for (let at = directory; at.length >= first.length; at = dirname(at)) changed.add(dirname(at))
    this.#made.add(directory)
  }
}

async function writeWhole(target: string, content: Uint8Array | string): Promise<void> {
  const beside = `${target}.new`
  const file = await open(beside, 'w', 0o644)
  try {
    await file.writeFile(content)
    await file.datasync()
  } finally {
    await file.close()
  }
  await rename(beside, target)
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY)
  await directory.sync().finally(() => directory.close())
}

function errnoOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed'
}

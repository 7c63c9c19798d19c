import { mkdtemp, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'

/** A path from which the engine loads; it finds the other parts of a model beside it, by name. */
export interface Placed {
  readonly path: string
  /** To be called when the engine has loaded: no name leads to the bytes then. */
  remove(): Promise<void>
}

/**
 * Open files as files with names, under Linux. One file is its descriptor; several are links in a directory for this user only, each to the descriptor of
 * the process that follows it. The directory is made in `within` and holds no byte of them, so it may be on any file system.
 */
export async function placeDescriptors(within: string, names: readonly string[], descriptors: readonly number[]): Promise<Placed> {
  const paths = descriptors.map((fd) => `/proc/self/fd/${fd}`)
  const [only] = paths
  if (only !== undefined && paths.length === 1) return { path: only, remove: () => Promise.resolve() }
  const directory = await mkdtemp(join(within, 'veritee-parts-'))
  const remove = (): Promise<void> => rm(directory, { recursive: true, force: true })
  try {
    for (const [i, path] of paths.entries()) await symlink(path, join(directory, names[i] ?? ''))
    return { path: join(directory, names[0] ?? ''), remove }
  } catch (error) {
    await remove()
    throw error
  }
}

import { constants } from 'node:fs'
import { link, lstat, mkdir, open, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { utf8 } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { containerHead, containerLayout, parseManifest, type SignedManifest } from 'veritee/seal'
import { errnoOf } from '../../enclave/runtime/device-file.ts'
import { writeAt } from '../../enclave/sealed/file.ts'
import { manifestName, readText, sealedName } from '../../enclave/sealed/manifest.ts'

/** Where one sealed file goes. */
export interface SealedTarget {
  readonly path: string
  /** Its first byte. */
  readonly start: number
  /** In one file with others: where the next one begins, or the end. */
  readonly next: number | null
}

/** What a sealing makes: a directory or a single file. Until it is whole, its state lies beside it, by which it can go on. */
export interface Target {
  /**
   * The state of an interrupted sealing; null where there is none. Throws `file_unavailable` where something else is in the way, `sealed_manifest_malformed`
   * for a state that is none.
   */
  readState(): Promise<string | null>
  /** Throws `file_unavailable`. */
  begin(state: string): Promise<void>
  /** `draft` is the manifest but for its digests and its signature. */
  places(draft: SignedManifest, draftText: string): readonly SealedTarget[]
  /** The manifest makes it a sealed model; then the state is of no more use. Throws `file_unavailable`. */
  end(manifest: string): Promise<void>
}

/** A directory to be made: `sealing.json` in it is the state. */
export function directoryTarget(directory: string): Target {
  const state = join(directory, 'sealing.json')
  return {
    readState: async () => {
      if (!(await exists(directory))) return null
      const text = await readText(state).catch((cause: unknown) => {
        throw fail('file_unavailable', `${basename(directory)} exists and holds no interrupted sealing; expected a directory to be made`, cause)
      })
      if (await exists(join(directory, manifestName)))
        throw fail('file_unavailable', `${basename(directory)} holds a sealed model; expected a directory to be made`)
      return text
    },
    begin: async (text) => {
      await mkdir(directory).catch((cause: unknown) => {
        throw fail('file_unavailable', `expected a directory that can be made, found ${errnoOf(cause)}`, cause)
      })
      await writeWhole(state, utf8(text))
    },
    places: ({ files }) => files.map(({ name }) => ({ path: join(directory, sealedName(name)), start: 0, next: null })),
    end: async (manifest) => {
      await writeWhole(join(directory, manifestName), utf8(manifest))
      await rm(state, { force: true })
    },
  }
}

/** A file to be made, under its name when it is whole: `<name>.part` until then, with the state in `<name>.sealing.json`. */
export function singleFileTarget(file: string): Target {
  const [part, state] = [`${file}.part`, `${file}.sealing.json`]
  return {
    readState: async () => {
      if (await exists(file)) throw fail('file_unavailable', `${basename(file)} exists; expected a file to be made`)
      if (await exists(state)) return readText(state)
      if (await exists(part)) throw fail('file_unavailable', `${basename(part)} is of no interrupted sealing; remove it, or choose another name`)
      return null
    },
    begin: (text) =>
      writeWhole(state, utf8(text)).catch((cause: unknown) => {
        throw fail('file_unavailable', `expected a file that can be made, found ${errnoOf(cause)}`, cause)
      }),
    places: (draft, draftText) => {
      const { starts, size } = containerLayout(draft, utf8(draftText).length)
      return starts.map((start, index) => ({ path: part, start, next: starts[index + 1] ?? size }))
    },
    end: async (manifest) => {
      const out = await open(part, constants.O_RDWR | constants.O_NOFOLLOW)
      try {
        await writeAt(out, containerHead(manifest), 0)
        // Of an interrupted sealing more may be there, where the files were longer then.
        await out.truncate(containerLayout(parseManifest(manifest), utf8(manifest).length).size)
        await out.sync()
      } finally {
        await out.close()
      }
      // Unlike renaming, linking never takes the place of another file.
      await link(part, file)
      await rm(part)
      await rm(state, { force: true })
    },
  }
}

/** Under another name first, so that a file is there whole or not at all. */
async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(`${path}.part`, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW, 0o644)
  try {
    await file.writeFile(bytes)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(`${path}.part`, path)
}

/** Of a link too that leads nowhere. */
async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null)) !== null
}

import { setTimeout as sleep } from 'node:timers/promises'
import { equal } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import { parseEpochManifest, type ReadFile } from 'veritee/scoring'
import type { Source } from './combine.ts'

const maxManifest = 1 << 23

export interface Gathering {
  /** Unix seconds: what has not come as a whole by then is left out. */
  readonly until: number
  /** Of the files of one bundle, as its manifest lists them: a larger one is left out before any of them is fetched. */
  readonly maxBytes: number
  /** What this validator has itself: of a bundle with the same manifest nothing is fetched but its signatures. */
  readonly own: ReadFile
  readonly now: () => Date
  readonly signal: AbortSignal
  readonly report: (line: string) => void
}

/**
 * The bundles of others, as far as they can be had in time: all at once, so that one that is slow or gone costs no other anything. A bundle that is not there yet, or breaks
 * off, is asked for again; one that is no bundle is left out. Nothing is verified but that there is a manifest. Throws the reason of the signal.
 */
export async function gather(sites: readonly Source[], gathering: Gathering): Promise<readonly Source[]> {
  const found = await Promise.all(sites.map((site) => whole(site, gathering)))
  return found.filter((one) => one !== null)
}

async function whole({ name, read }: Source, { until, maxBytes, own, now, signal, report }: Gathering): Promise<Source | null> {
  for (let pauseMs = 250; ; pauseMs = Math.min(2 * pauseMs, 15_000)) {
    // The last try begins when the time is over, so that what is there by then is found.
    const leftMs = until * 1000 - now().getTime()
    try {
      return { name, read: await download(read, own, maxBytes) }
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof VeriteeError)) throw error
      // What is too large once is so the next time.
      if (error.kind === 'unavailable' && error.code !== 'response_too_large' && leftMs > 0)
        await sleep(Math.min(pauseMs, leftMs), undefined, { signal })
      else {
        report(`${name}: left out: ${error.code}: ${error.message}`)
        return null
      }
    }
  }
}

/** Everything that a manifest lists, in memory: it may be gone, or another, when it is read again. */
async function download(read: ReadFile, own: ReadFile, limit: number): Promise<ReadFile> {
  const known = new Map<string, Uint8Array>()
  const get = async (path: string, maxBytes: number): Promise<Uint8Array> => {
    const bytes = await read(path, maxBytes)
    known.set(path, bytes)
    return bytes
  }
  const manifest = await get('manifest.json', maxManifest)
  const { files } = parseEpochManifest(manifest)
  const bytes = files.reduce((sum, { size }) => sum + size, 0)
  if (bytes > limit) throw fail('response_too_large', `expected at most ${limit} bytes of all files, found a manifest of ${bytes}`)
  await get('signatures.json', 1 << 16)
  if (equal(manifest, await own('manifest.json', maxManifest))) return async (path, maxBytes) => known.get(path) ?? own(path, maxBytes)
  for (const { path, size } of files) await get(path, size + 1)
  return async (path, maxBytes) => known.get(path) ?? read(path, maxBytes)
}

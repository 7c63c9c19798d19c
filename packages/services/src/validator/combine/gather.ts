import { setTimeout as sleep } from 'node:timers/promises'
import { VeriteeError } from 'veritee/errors'
import { parseEpochManifest, type ReadFile } from 'veritee/scoring'
import type { Source } from './combine.ts'

export interface Gathering {
  /** Unix seconds: what has not come as a whole by then is left out. */
  readonly until: number
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

async function whole({ name, read }: Source, { until, now, signal, report }: Gathering): Promise<Source | null> {
  for (let pauseMs = 250; ; pauseMs = Math.min(2 * pauseMs, 15_000)) {
    try {
      return { name, read: await download(read) }
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof VeriteeError)) throw error
      const leftMs = until * 1000 - now().getTime()
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
async function download(read: ReadFile): Promise<ReadFile> {
  const known = new Map<string, Uint8Array>()
  const get = async (path: string, maxBytes: number): Promise<Uint8Array> => {
    const bytes = await read(path, maxBytes)
    known.set(path, bytes)
    return bytes
  }
  const { files } = parseEpochManifest(await get('manifest.json', 1 << 23))
  await get('signatures.json', 1 << 16)
  for (const { path, size } of files) await get(path, size + 1)
  return async (path, maxBytes) => known.get(path) ?? read(path, maxBytes)
}

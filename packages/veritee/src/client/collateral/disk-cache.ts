import { createHash } from 'node:crypto'
import { lstat, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { type Collateral, collateralFromJson, collateralToJson } from '../../attestation/index.ts'
import { parseJson } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import { fail, VeriteeError } from '../../errors.ts'
import { BackOff } from './back-off.ts'
import { SourceError } from './source.ts'
import type { CollateralKey, CollateralStore } from './store.ts'

export interface DiskCacheOptions {
  /** Made where it does not exist, for its owner only. */
  readonly directory: string
  readonly now: () => Date
  /** Uniform in [0, 1): spreads retries. */
  readonly random: () => number
  /** Milliseconds after which a set is fetched again although it is still valid, so that revocations arrive; a day where not given (rule S25 c). */
  readonly maxAgeMs?: number
}

const version = 'veritee.collateral-cache.v1'
const maxFileBytes = 2 << 20
const day = 86_400_000
const shape = new Shape('collateral_malformed')

/** `$XDG_CACHE_HOME/veritee/collateral` where that is absolute (XDG Base Directory Specification), else under `~/.cache`. */
export function defaultCacheDirectory(environment: { readonly [name: string]: string | undefined } = process.env): string {
  const base = environment.XDG_CACHE_HOME
  return join(base !== undefined && isAbsolute(base) ? base : join(homedir(), '.cache'), 'veritee', 'collateral')
}

/**
 * Keeps collateral in files, one for each key (source, TEE, FMSPC, PCE id, authority, evaluation), shared by every process that names the directory.
 *
 * A set is given out until it is a day old or until its earliest end of validity, whichever is first; past that end never. If fetching it again
 * fails, the old one serves until that end. Concurrent callers share one fetch. After a failure the source is left alone for a while that doubles
 * up to an hour, or for as long as it asked. Files are replaced whole; what cannot be read, parsed or is for another key is fetched again; a
 * directory that cannot be written is done without.
 *
 * Nothing is believed for standing in the cache: it holds what the network gave, unverified, and is verified at every use (rule S15).
 */
export function diskCache(options: DiskCacheOptions): CollateralStore {
  const { directory, now, random, maxAgeMs = day } = options
  const inFlight = new Map<string, ReturnType<CollateralStore['through']>>()
  const backOff = new BackOff(random)

  const obtain: CollateralStore['through'] = async (key, check, fetchFresh) => {
    const name = nameOf(key)
    const path = join(directory, `${createHash('sha256').update(name).digest('hex')}.json`)
    const kept = await readEntry(path, name, check, now())
    const { collateral } = kept ?? {}
    const age = kept === null ? Number.POSITIVE_INFINITY : now().getTime() - kept.fetchedAt.getTime()
    // A set from the future says that the clock went back: its age is unknown.
    if (collateral !== undefined && age >= 0 && age < maxAgeMs) return { collateral, cached: true }
    const held = backOff.heldUntil([name, key.source], now())
    if (held !== null) {
      if (collateral !== undefined) return { collateral, cached: true }
      throw new SourceError(`failed before, not asked again until ${held.toISOString()}`, null, null)
    }
    try {
      const fresh = await fetchFresh()
      backOff.succeeded([name, key.source])
      await writeEntry(directory, path, name, now(), fresh, random)
      return { collateral: fresh, cached: false }
    } catch (error) {
      if (!(error instanceof VeriteeError)) throw error
      // A source that asked for patience asked for it whatever the key.
      const asked = error instanceof SourceError ? error.retryAfterMs : null
      backOff.failed(asked === null ? name : key.source, now(), asked ?? 0)
      if (collateral === undefined) throw error
      return { collateral, cached: true }
    }
  }

  return {
    through: async (key, check, fetchFresh) => {
      const name = nameOf(key)
      const running = inFlight.get(name)
      if (running !== undefined) return running
      const started = obtain(key, check, fetchFresh).finally(() => inFlight.delete(name))
      inFlight.set(name, started)
      return started
    },
  }
}

function nameOf({ source, tee, fmspc, pceId, ca, evaluation }: CollateralKey): string {
  return JSON.stringify([source, tee, fmspc, pceId, ca, evaluation])
}

/** The entry of a file; null where there is none that is whole, for this key, accepted by `check` and before its earliest end of validity. */
async function readEntry(
  path: string,
  name: string,
  check: (collateral: Collateral) => { readonly expires: Date },
  now: Date,
): Promise<{ readonly collateral: Collateral; readonly fetchedAt: Date } | null> {
  try {
    const { size, isFile } = await lstat(path).then((found) => ({ size: found.size, isFile: found.isFile() }))
    if (!isFile || size > maxFileBytes) return null
    const document = parseJson(await readFile(path, 'utf8'), { maxLength: maxFileBytes, maxDepth: 8 })
    const o = shape.object(document, 'cache entry', ['version', 'key', 'fetched_at', 'collateral'])
    shape.oneOf(o.version, 'version', [version])
    if (o.key !== name) throw fail('collateral_malformed', 'expected the entry of this key')
    const collateral = collateralFromJson(o.collateral)
    const fetchedAt = new Date(shape.integer(o.fetched_at, 'fetched_at', 8_640_000_000_000_000))
    // At its end of validity a set still verifies, but not a moment later: it is not given out for use that is still to come.
    return check(collateral).expires > now ? { collateral, fetchedAt } : null
  } catch {
    // Absent, unreadable, damaged or for something else: as if it were not there.
    return null
  }
}

async function writeEntry(directory: string, path: string, name: string, now: Date, collateral: Collateral, random: () => number): Promise<void> {
  const entry = { version, key: name, fetched_at: now.getTime(), collateral: collateralToJson(collateral) }
  // Written beside and renamed: a reader, in this process or another, sees the old file or the new one.
  const temporary = `${path}.${process.pid}.${Math.floor(random() * 2 ** 48).toString(36)}.tmp`
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await writeFile(temporary, JSON.stringify(entry), { flag: 'wx', mode: 0o600 })
    await rename(temporary, path)
  } catch {
    // No place to keep it: the caller has it, and the next one fetches.
    await rm(temporary, { force: true }).catch(() => undefined)
  }
}

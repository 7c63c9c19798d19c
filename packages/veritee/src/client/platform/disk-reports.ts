import { createHash, randomUUID } from 'node:crypto'
import { lstat, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { parseJson } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import { maxReportBytes } from '../../receipt/index.ts'
import type { KeptReport, ReportKeep, ReportKey } from '../connection/report-keep.ts'

const version = 'veritee.report-cache.v1'
const maxFileBytes = 2 * maxReportBytes
const shape = new Shape('report_malformed')

/** `$XDG_CACHE_HOME/veritee/reports` where that is absolute (XDG Base Directory Specification), else under `~/.cache`. */
export function defaultReportDirectory(environment: { readonly [name: string]: string | undefined } = process.env): string {
  const base = environment.XDG_CACHE_HOME
  return join(base !== undefined && isAbsolute(base) ? base : join(homedir(), '.cache'), 'veritee', 'reports')
}

/**
 * Keeps reports in files, one for each service, role and set of roots, for their owner only. What is kept is evidence with the nonce that this machine drew, and no
 * verdict: at every use it is verified under the present roots, policy and time, so nothing simulated passes for real by having been kept (rule S15).
 * Whoever can write the directory can exchange the nonce, as they could the program: it is as trusted as the user's own files.
 */
export function diskReports(directory: string, now: () => Date): ReportKeep {
  const pathOf = (key: ReportKey): string => join(directory, `${createHash('sha256').update(nameOf(key)).digest('hex')}.json`)
  return {
    get: (key) => readEntry(pathOf(key), nameOf(key), now()),
    put: (key, report) => writeEntry(directory, pathOf(key), nameOf(key), report),
    drop: (key) => rm(pathOf(key), { force: true }).catch(() => undefined),
  }
}

function nameOf({ url, role, roots }: ReportKey): string {
  return JSON.stringify([url, role, roots])
}

async function readEntry(path: string, name: string, now: Date): Promise<KeptReport | null> {
  try {
    const found = await lstat(path)
    if (!found.isFile() || found.size > maxFileBytes) return null
    const document = parseJson(await readFile(path, 'utf8'), { maxLength: maxFileBytes, maxDepth: 4 })
    const o = shape.object(document, 'entry', ['version', 'key', 'attested_at', 'nonce', 'spki', 'url', 'report'])
    shape.oneOf(o.version, 'version', [version])
    const attestedAt = new Date(shape.integer(o.attested_at, 'attested_at', 8_640_000_000_000_000))
    // From the future: the clock went back, and its age is unknown.
    if (o.key !== name || attestedAt > now) return null
    return {
      attestedAt,
      nonce: shape.hex(o.nonce, 'nonce', 32),
      spki: o.spki === null ? null : shape.hex(o.spki, 'spki', 32),
      url: shape.string(o.url, 'url', 2048),
      reportText: shape.string(o.report, 'report', maxReportBytes),
    }
  } catch {
    // Absent, unreadable, damaged: as if it were not there.
    return null
  }
}

async function writeEntry(directory: string, path: string, key: string, report: KeptReport): Promise<void> {
  const { attestedAt, nonce, spki, url, reportText } = report
  const temporary = `${path}.${randomUUID()}.tmp`
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const entry = { version, key, attested_at: attestedAt.getTime(), nonce, spki, url, report: reportText }
    await writeFile(temporary, JSON.stringify(entry), { flag: 'wx', mode: 0o600 })
    await rename(temporary, path)
  } catch {
    // No place to keep it: the next process asks the service.
    await rm(temporary, { force: true }).catch(() => undefined)
  }
}

import { VeriteeError } from 'veritee/errors'
import { type ReleaseDocument, servedReleasesText } from 'veritee/release'
import type { Files } from './files.ts'
import type { Report } from './logs/log.ts'
import { repeatedly } from './repeatedly.ts'

export interface ReleaseFilesOptions {
  readonly paths: readonly string[]
  readonly files: Files
  readonly report: Report
  /** Others than before are to be used from now on; what it throws leaves those before in use. */
  readonly take: (documents: readonly ReleaseDocument[]) => Promise<void>
  readonly pollMs?: number
}

export interface ReleaseFiles {
  /** What is shown to whoever verifies this service. */
  readonly shown: () => string
  /** Looks now; what is due is done when it returns. Never throws. */
  check(): Promise<void>
  stop(): void
}

/** Statements as they lie in files, each with the proof beside it, and as they are shown. Throws `file_unavailable`, `release_statement_malformed`. */
export async function readReleases(
  paths: readonly string[],
  files: Files,
): Promise<{ readonly documents: readonly ReleaseDocument[]; readonly text: string }> {
  const documents = await Promise.all(
    paths.map(async (path) => ({ statement: await files.readText(path), proof: await textIfThere(files, `${path}.tlog-proof`) })),
  )
  return { documents, text: await servedReleasesText(documents) }
}

/**
 * The release statements of a service, and newer ones as they appear in their files, which are read every few seconds: enclaves have no watching of files. Of what is shown nothing but the
 * shape is checked here: whoever relies on it verifies it. What is refused later is reported once, and what was there before stays.
 * Throws `file_unavailable`, `release_statement_malformed` and what `take` throws, at the beginning only.
 */
export async function openReleaseFiles({ paths, files, report, take, pollMs = 5_000 }: ReleaseFilesOptions): Promise<ReleaseFiles> {
  const first = await readReleases(paths, files)
  let shown = first.text
  if (paths.length > 0) await take(first.documents)
  if (paths.length === 0) return { shown: () => shown, check: () => Promise.resolve(), stop: () => undefined }
  const look = async (): Promise<void> => {
    const { documents, text } = await readReleases(paths, files)
    if (text === shown) return
    await take(documents)
    shown = text
    report('other release statements are in use', { event: 'release.accepted' })
  }
  const rounds = repeatedly(look, pollMs, (why) =>
    report(`the release statements in ${paths.join(', ')} are not used: ${why}`, { event: 'release.refused', level: 'warn' }),
  )
  return { shown: () => shown, check: () => rounds.now(), stop: () => rounds.stop() }
}

async function textIfThere(files: Files, path: string): Promise<string | null> {
  try {
    return await files.readText(path)
  } catch (error) {
    if (error instanceof VeriteeError && error.cause instanceof Error && 'code' in error.cause && error.cause.code === 'ENOENT') return null
    throw error
  }
}

import type { ManifestRules } from '../enclave/runtime/admission/rules.ts'
import type { Files } from './files.ts'
import type { Report } from './logs/log.ts'
import { reasonOf, repeatedly } from './repeatedly.ts'

export interface ManifestFileOptions {
  readonly path: string
  readonly files: Files
  readonly rules: ManifestRules
  /** A newer manifest is in force, or the present one has ended: those admitted are to be judged again. */
  readonly changed: () => Promise<void>
  /** A newer manifest is in force, which the descriptor is to name (rule S7). */
  readonly accepted: () => Promise<void>
  readonly report: Report
  readonly pollMs?: number
}

export interface ManifestFile {
  /** Looks now; what is due is done when it returns. */
  check(): Promise<void>
  /** Takes a manifest that came otherwise, as from another replica, if it is a newer one that enough have signed. Never throws. */
  offer(text: string): Promise<void>
  stop(): void
}

/**
 * Puts newer manifests in force as they appear in a file, by reading it every few seconds: enclaves have no watching of files. What is refused is reported once,
 * and the manifest before it stays in force.
 */
export function followManifest({ path, files, rules, changed, accepted, report, pollMs = 5_000 }: ManifestFileOptions): ManifestFile {
  let seen = ''
  let ended = false
  const look = async (): Promise<void> => {
    if (rules.reason !== null && !ended) {
      report(`nobody is admitted: ${rules.reason}`, { event: 'manifest.ended', level: 'error' })
      await changed()
    }
    ended = rules.reason !== null
    const text = await files.readText(path)
    if (text === seen) return
    seen = text
    await take(text)
  }
  const take = async (text: string): Promise<void> => {
    if (!(await rules.offer(text))) return
    report(`admission manifest ${rules.described.version} is in force: ${rules.described.digest}`, { event: 'manifest.accepted' })
    await changed()
    await accepted()
  }
  const rounds = repeatedly(look, pollMs, (why) =>
    report(`the admission manifest in ${path} is not accepted: ${why}`, { event: 'manifest.refused', level: 'warn' }),
  )
  const offer = (text: string): Promise<void> =>
    take(text).catch((error: unknown) => {
      report(`a manifest of another replica is not accepted: ${reasonOf(error)}`, { event: 'manifest.refused', level: 'warn' })
    })
  return { check: () => rounds.now(), offer, stop: () => rounds.stop() }
}

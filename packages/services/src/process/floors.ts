import { join } from 'node:path'
import { fail } from 'veritee/errors'
import { type Floors, KeptFloors } from '../enclave/runtime/receipts/kept-floors.ts'
import type { SealingKey } from '../enclave/runtime/sealing-key.ts'
import type { Report } from './logs/log.ts'
import { reasonOf, repeatedly } from './repeatedly.ts'
import type { OpenedRules } from './rules.ts'

/** Opens what this service kept at its last start; `role` names the file in its state directory. Throws `file_unavailable`, `malformed_document`. */
export function openFloors(state: string, role: 'controller' | 'worker', own: SealingKey): Promise<KeptFloors> {
  return KeptFloors.open(join(state, `${role}.floors`), own)
}

/**
 * Refuses to begin under an admission manifest that is older than one that was in force here, or that another replica has in force now: its host chooses
 * the file (rule S11). `known` is the text of the other replica's, which is taken if enough have signed it. Throws `admission_manifest_rolled_back`.
 */
export async function refuseOlderManifest(
  followed: OpenedRules['followed'],
  { manifestVersion }: Floors,
  known: string | null,
  report: Report,
): Promise<void> {
  if (followed === null) return
  const { rules, path } = followed
  if (known !== null)
    await rules.offer(known).catch((error: unknown) => {
      report(`a manifest of another replica is not accepted: ${reasonOf(error)}`, { event: 'manifest.refused', level: 'warn' })
    })
  const { version } = rules.described
  if (version < manifestVersion)
    throw fail(
      'admission_manifest_rolled_back',
      `${path}: expected version ${manifestVersion} or later, which was in force here before, found ${version}`,
    )
}

export interface KeepFloorsOptions {
  readonly kept: KeptFloors
  /** As they are now. */
  readonly current: () => Floors
  readonly report: Report
  readonly everyMs?: number
}

/** Keeps the floors of a running service, now and every few seconds. What cannot be kept is told, once for each reason. */
export async function keepFloors({ kept, current, report, everyMs = 5_000 }: KeepFloorsOptions): Promise<{ stop(): Promise<void> }> {
  const rounds = repeatedly(
    () => kept.raise(current()),
    everyMs,
    (why) => report(`versions that were seen are not kept for the next start: ${why}`, { event: 'service.note', level: 'warn' }),
  )
  await rounds.now()
  return {
    stop: async () => {
      rounds.stop()
      await rounds.anew()
    },
  }
}

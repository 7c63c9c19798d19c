import { toHex } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import { canaryCommitment, epochWindow, openCanaries, parseAuditRecord, type ScoringPolicy } from 'veritee/scoring'
import type { EpochStore } from '../store/epoch-store.ts'
import type { Concluded } from './conclude.ts'
import { keptCanaries } from './run.ts'

/** Keeps of a published bundle what its canaries are opened with. */
export async function keepForOpening(store: EpochStore, epoch: number, { written }: Concluded): Promise<void> {
  const manifest = written.bundle.get('manifest.json')
  if (manifest !== undefined && (await keptCanaries(store, epoch)).length > 0) await store.keep(epoch, 'manifest', manifest)
}

interface Opening {
  readonly store: EpochStore
  readonly key: SigningKey
  readonly scoring: { readonly policy: ScoringPolicy }
  readonly now: () => Date
  readonly report: (line: string) => void
  readonly publishAgain: (epoch: number, files: ReadonlyMap<string, string>) => Promise<void>
}

/**
 * Opens the canaries of each published epoch that was followed by a whole other one (rule S20), in its bundle. Whoever sees an opening knows whose requests had
 * that prompt: accounts of that epoch are not used again (`accountsOf`). Done once; again where it was killed between.
 */
export async function openDueCanaries({ store, key, scoring, now, report, publishAgain }: Opening): Promise<void> {
  const { policy } = scoring
  for (const epoch of await store.epochs()) {
    if (now().getTime() < (epochWindow(policy, epoch).closes + policy.epoch.length) * 1000) continue
    const manifest = await store.fact(epoch, 'manifest')
    if (manifest === null || (await store.fact(epoch, 'canaries opened')) !== null) continue
    const recorded = new Set((await store.records(epoch)).map((text) => parseAuditRecord(text).canary))
    const openings = []
    for (const canary of await keptCanaries(store, epoch)) if (recorded.has(await canaryCommitment(canary))) openings.push(canary)
    if (openings.length > 0) await publishAgain(epoch, await openCanaries(manifest, { validator: toHex(key.publicKey), openings }, [key]))
    await store.keep(epoch, 'canaries opened', String(openings.length))
    report(`epoch ${epoch}: ${openings.length} canaries opened`)
  }
}

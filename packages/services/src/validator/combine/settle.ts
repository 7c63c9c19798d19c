import type { SigningKey } from 'veritee/crypto'
import { type ReadFile, readEpochParts, readFrom } from 'veritee/scoring'
import { type CombineOptions, combineEpoch, type Source, settleEpoch } from './combine.ts'
import { type Gathering, gather } from './gather.ts'

/** What other validators publish, and where this one does. */
export interface Peers {
  /** Under each, a validator has `epoch-N`, `proposed-N` and `combined-N`. */
  readonly urls: readonly string[]
  /** How long their bundles are waited for, from when they are to be shown, and then their combinations. */
  readonly waitSeconds: number
  /** The files under a URL, bounded in size and time. */
  readonly filesAt: (url: string, signal: AbortSignal) => ReadFile
  /** Puts a bundle where others get it, in the place of one that is there. */
  readonly publish: (name: string, bundle: ReadonlyMap<string, string>) => Promise<void>
  /** What this validator has published. */
  readonly read: (name: string) => ReadFile
}

/** Of the bundles of all peers together, that are in memory at a time; each may have an equal part of it, so that no one takes the room of another. */
const heldBytes = 2 ** 30

export interface Settling extends Omit<Gathering, 'until' | 'maxBytes' | 'own'> {
  readonly epoch: number
  /** Unix seconds: from when validators show their bundles of it. */
  readonly shown: number
  readonly context: CombineOptions['context']
  readonly key: SigningKey
}

/**
 * The bundle of all validators of an epoch (spec/epoch.md, "Combining"): fetches what the others publish, verifies each, combines them with its own and publishes that with its
 * signature; then fetches their combinations, and publishes the one that most of the weight has signed, with all signatures, or its own where there is none yet.
 * Nobody is waited for longer than `waitSeconds` twice. This validator's own bundle, `epoch-N`, is there already. Started again after a crash it does the same again; nothing of
 * it counts before it has ended.
 *
 * Throws what `publish` throws, and the reason of the signal; never for what others do.
 */
export async function settleWithPeers(
  settling: Settling,
  { urls, waitSeconds, filesAt, publish, read }: Peers,
): Promise<ReadonlyMap<string, string>> {
  const { epoch, shown, context, key, signal, report } = settling
  const own: Source = { name: 'own', read: read(`epoch-${epoch}`) }
  const { before } = await readEpochParts(own.read)
  const sites = (kind: string) =>
    urls.map((url) => ({ name: `${url.replace(/\/$/, '')}/${kind}-${epoch}`, read: filesAt(`${url.replace(/\/$/, '')}/${kind}-${epoch}/`, signal) }))
  const bounds = { ...settling, maxBytes: Math.floor(heldBytes / Math.max(1, urls.length)) }
  // Nothing of what they handed in is held when their combinations come.
  const combined = await gather(sites('epoch'), { ...bounds, own: own.read, until: shown + waitSeconds }).then((handedIn) =>
    combineEpoch([own, ...handedIn], { context, before, keys: [key] }),
  )
  for (const { name, refused } of combined.sources) if (refused !== null) report(`${name}: left out: ${refused.code}: ${refused.message}`)
  for (const validator of combined.doubled) report(`epoch ${epoch}: validator ${validator} signed two different accounts: neither counts`)
  await publish(`proposed-${epoch}`, combined.bundle)
  const mine = readFrom(combined.bundle)
  const proposed = await gather(sites('proposed'), { ...bounds, own: mine, until: shown + 2 * waitSeconds })
  const settled = await settleEpoch({ name: 'own', read: mine }, proposed, context)
  await publish(`combined-${epoch}`, settled.bundle)
  const same = settled.bundle.get('manifest.json') === combined.bundle.get('manifest.json')
  report(
    `epoch ${epoch}: combined, signed by ${settled.signers.length} validators${settled.stands ? '' : ', which do not hold most of the weight'}${same ? '' : '; it is not the one that this validator made of what it had'}`,
  )
  if (settled.bundle.get('before.json') !== combined.bundle.get('before.json'))
    report(`epoch ${epoch}: most of the weight began from another state than this validator`)
  return settled.bundle
}

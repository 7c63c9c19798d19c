import { type BeaconChain, closingRound, timeOfRound } from 'veritee/beacon'
import { fromUtf8 } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import { maxNoteLength, type VerifiedCheckpoint } from 'veritee/log'
import type { Peers } from '../combine/settle.ts'
import type { LogAccess } from './access.ts'

export interface Agreeing {
  readonly access: Pick<LogAccess, 'accept'>
  readonly peers: Pick<Peers, 'urls' | 'filesAt' | 'publish'>
  readonly chain: BeaconChain
  readonly now: () => Date
  readonly signal: AbortSignal
  readonly report: (line: string) => void
  /** Until the others have shown theirs, from when this one took its own: shorter than the minute after which the closing round is known. */
  readonly pause: (from: Date) => Promise<void>
}

/** Whether it opens an epoch or closes it. */
export type Boundary = 'opens' | 'closes'

const file = 'checkpoint'

/**
 * The checkpoint from which an epoch is counted, or to which: of those that this validator and its peers have taken, the smallest, so that validators which saw the log at moments of their own rest on one tree
 * and can be combined. Each shows the one that it took first, waits, and looks at those of the others. One of a peer counts only with the quorum of witnesses, of one history with all that this validator has seen,
 * witnessed at `from` or later, and, where it closes an epoch, as long as nobody knows the round that follows from it (rule S16). What a peer does not show in time, or shows otherwise, is passed over.
 *
 * Throws what publishing throws, and the reason of the signal.
 */
export async function agreeOn(
  { epoch, name, own, from }: { readonly epoch: number; readonly name: Boundary; readonly own: VerifiedCheckpoint; readonly from: number },
  agreeing: Agreeing,
): Promise<string> {
  const { peers, now, signal, pause } = agreeing
  const began = now()
  const show = (note: string): Promise<void> => peers.publish(`${name}-${epoch}`, new Map([[file, note]]))
  await show(own.note)
  await pause(began)
  const found = await Promise.all(peers.urls.map((url) => shownBy(`${url.replace(/\/$/, '')}/${name}-${epoch}/`, { name, from }, agreeing)))
  signal.throwIfAborted()
  const [first = own] = [own, ...found.filter((one) => one !== null)].sort((a, b) => a.size - b.size || (a.note < b.note ? -1 : 1))
  // Also for whoever comes late, when the peer that took it is gone.
  if (first.note !== own.note) await show(first.note)
  return first.note
}

async function shownBy(
  url: string,
  { name, from }: { readonly name: Boundary; readonly from: number },
  { access, peers, chain, now, signal, report }: Agreeing,
): Promise<VerifiedCheckpoint | null> {
  try {
    const bytes = await peers.filesAt(url, signal)(file, maxNoteLength)
    const found = await access.accept(fromUtf8(bytes))
    if (found.witnessedAt < from) return null
    return name === 'opens' || timeOfRound(chain, closingRound(chain, found.existedBy)) * 1000 > now().getTime() ? found : null
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof VeriteeError)) throw error
    if (error.kind !== 'unavailable') report(`${url}: its checkpoint is not taken: ${error.code}`)
    return null
  }
}

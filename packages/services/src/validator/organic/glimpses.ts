import { toHex } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import type { AuditView } from 'veritee/log'
import { parseAuditRecord } from 'veritee/scoring'
import type { LogAccess } from '../log/access.ts'
import type { EpochRange } from '../log/range.ts'
import type { ProbePlan } from '../probes/probe.ts'
import type { Traffic } from '../probes/traffic.ts'
import { type Glimpse, glimpsesOf } from '../probes/usual.ts'
import type { EpochStore } from '../store/epoch-store.ts'
import { statementOf } from './audit.ts'

/** Of an epoch, so many bundles of 256 are looked at, spread evenly over its leaves. */
const bundles = 6
const name = 'glimpses'

/**
 * Keeps what the views of an epoch show of how others ask: of leaves that are known to be in the log, without this validator's own. Where the log gives no views, or is
 * away, nothing is kept, which is no fault.
 */
export async function keepGlimpses(
  store: EpochStore,
  epoch: number,
  log: LogAccess,
  { from, leaves }: Pick<EpochRange, 'from' | 'leaves'>,
  records: readonly string[],
): Promise<void> {
  const own = new Set(records.map(parseAuditRecord).flatMap(({ kind, view }) => (kind === 'organic' || view?.log === null ? [] : [view?.log?.index])))
  const [first, last] = [Math.floor(from / 256), Math.floor((from + leaves.length - 1) / 256)]
  const count = Math.min(bundles, last - first + 1)
  const views: AuditView[] = []
  try {
    for (let i = 0; i < count; i++) {
      const bundle = first + Math.floor((i * (last - first + 1)) / count)
      for (const [line, text] of ((await log.views(bundle)) ?? []).entries()) {
        const index = 256 * bundle + line
        const leaf = leaves[index - from]
        if (leaf === undefined || own.has(index)) continue
        const statement = (await statementOf(text, toHex(leaf)))?.statement
        if (statement?.version === 'veritee.audit-view.v1') views.push(statement)
      }
    }
  } catch (error) {
    if (!(error instanceof VeriteeError)) throw error
  }
  await store.keep(epoch, name, JSON.stringify(glimpsesOf(views)))
}

/**
 * What probes of an epoch are shaped after: the recording, or else views of the epoch before the last, which are known when this one begins. Settled once, so that all processes
 * plan the same, and again after a crash. Null where the epoch was begun with another recording than this one.
 */
export async function shapeOf(store: EpochStore, epoch: number, traffic: Traffic | null): Promise<Pick<ProbePlan, 'traffic' | 'glimpses'> | null> {
  const own = traffic?.digest ?? 'none'
  if ((await store.keep(epoch, 'traffic', own)) !== own) return null
  if (traffic !== null) return { traffic }
  const before = (await store.fact(epoch - 2, name)) ?? '[]'
  return { glimpses: JSON.parse(await store.keep(epoch, 'shaped after', before)) as readonly Glimpse[] }
}

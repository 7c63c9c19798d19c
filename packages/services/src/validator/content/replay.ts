import { eventOf, type ModelEvent, parseReceipt } from 'veritee/receipt'
import { type AuditedReplay, type Fault, faults } from 'veritee/scoring'
import type { ExchangeRecord } from '../../replay/index.ts'
import { auditedReplay, type Replayed } from '../audit/audit.ts'
import { replayReasonOf } from '../audit/reasons.ts'
import type { HeldContents } from './held.ts'

/** How contents that were handed over are audited. */
export interface ContentAudits {
  readonly held: Pick<HeldContents, 'of'>
  /** Runs an answer again; null where this validator has no weights for it. */
  readonly replay: (record: ExchangeRecord, model: ModelEvent) => Promise<Replayed | null>
  /** Whether no more are run: what others hand over must not keep a validator from its duties, and they may hand over much. */
  readonly isOver: () => boolean
}

/** What running an answer of others again comes to. */
export interface ContentFound {
  /** Shown by what the worker signed; null where there is none. */
  readonly reason: Fault | null
  /** Null where nothing came of it, whatever kept it: then the audit view is all that was looked at. */
  readonly replay: AuditedReplay | null
}

/**
 * Runs the answer behind a chosen leaf again, where its requester handed it over. `bucket` is how many tokens the audit view tells of: counts that are all of the answer are told as that, so that a published record
 * says no more of its length than the view does.
 */
export async function replayContent({ held, replay, isOver }: ContentAudits, leaf: string, bucket: number): Promise<ContentFound> {
  const nothing: ContentFound = { reason: null, replay: null }
  const record = isOver() ? null : held.of(leaf)
  const model = record === null ? undefined : eventOf(parseReceipt(record.receipt), 'veritee.model')
  const replayed = record === null || model === undefined ? null : await replay(record, model)
  if (record === null || replayed === null) return nothing
  const reason = replayReasonOf(replayed.report)
  const audited = await auditedReplay(replayed, parseReceipt(record.receipt))
  if (reason !== null && !isFault(reason)) return nothing
  if (audited === null) return reason === null ? nothing : { reason, replay: null }
  const told = (n: number): number => (n === audited.tokens.total ? bucket : Math.min(n, bucket))
  const { equal, near } = audited.tokens
  return { reason, replay: { ...audited, tokens: { total: bucket, equal: told(equal), near: near === null ? null : told(near) } } }
}

function isFault(reason: string): reason is Fault {
  return Object.hasOwn(faults, reason)
}

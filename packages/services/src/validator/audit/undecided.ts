import type { UnsignedAuditRecord } from 'veritee/scoring'

/**
 * In the place of a record that no reader would take, or of an audit that came to no end by what nobody foresaw: whom it was of, and that nothing was established. So whatever others send, it is one audit of theirs
 * and ends nobody. Where it is not known which worker it was of, no record can say that; it counts against whose channel delivered it, as an answer that names nobody does (rule S5).
 */
export function undecided(record: UnsignedAuditRecord): UnsignedAuditRecord {
  const { kind, worker, view } = record
  const bare = { ...record, timings: null, attestation: null, replay: null, output_tokens: 0, verdict: 'inconclusive', charged: null } as const
  if (kind === 'organic')
    return { ...bare, worker: null, keyset: null, model: null, view: view && { ...view, digest: null }, reason: 'view_unavailable' }
  if (kind === 'confirmation') return { ...bare, reason: 'not_confirmable' }
  if (worker !== null) return { ...bare, model: null, view: null, reason: 'replay_unavailable' }
  return { ...bare, keyset: null, model: null, view: null, verdict: 'unattributable', reason: 'answer_malformed', charged: 'controller' }
}

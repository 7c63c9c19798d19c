import type { Shape } from '../../bytes/shape.ts'
import { faults, obstacles } from './reasons.ts'
import type { AuditRecord } from './record.ts'

/**
 * What members of a record must agree on (spec/audit-record.md, "Agreement"), beyond the shape of each. Scoring relies on it: a pass has its evidence, and a
 * worker is charged only with what it signed or what came over a direct connection to it (rules S5 and S19). Throws what `shape` throws.
 */
export function checkSense(record: AuditRecord, shape: Shape): void {
  const need = (holds: boolean, at: string, expected: string): void => {
    if (!holds) throw shape.refuse(at, expected)
  }
  const { kind, verdict, reason, charged, worker, view, replay, attestation, timings, path } = record
  need(worker !== null || record.keyset === null, 'keyset', 'null where the worker is not known')
  need((kind === 'canary') === (record.canary !== null), 'canary', 'a commitment for canaries, null for others')
  if (kind === 'organic' || kind === 'confirmation') {
    need(path.length === 0, 'path', 'no controllers: nothing was asked')
    need(timings === null, 'timings', 'null: nothing was asked')
  }
  const hidden = kind === 'organic' && reason === 'view_unavailable'
  if (kind === 'organic') need(view !== null && view.log !== null, 'view.log', 'the leaf that was chosen')
  need(
    view === null || (view.digest === null) === hidden,
    'view.digest',
    'a digest, and null exactly for organic traffic whose view is not given out',
  )
  if (kind === 'confirmation') {
    need(worker !== null && record.keyset !== null && record.model !== null, 'worker', 'worker, keyset and model of the answer that was handed over')
    need(view !== null, 'view', 'the audit view of the answer that was handed over')
    need(replay === null ? verdict === 'inconclusive' : replay.level === 1, 'replay', 'a replay at level 1; none only where it came to no end')
    need(
      verdict !== 'unattributable' && (verdict !== 'fail' || reason === 'replay_mismatch'),
      'verdict',
      'what came of the replay, and no other fault',
    )
  }
  need(reason !== 'not_confirmable' || kind === 'confirmation', 'reason', 'an obstacle of this kind of record')
  if (replay !== null) {
    need((replay.level === 2) === (replay.calibration !== null), 'replay.calibration', 'a digest at level 2, null at level 1')
    need((replay.level === 2) === (replay.tokens.near !== null), 'replay.tokens.near', 'a count at level 2, null at level 1')
    need((replay.outcome === 'fail') === (reason === 'replay_mismatch'), 'replay.outcome', 'fail exactly for the reason replay_mismatch')
  } else need(reason !== 'replay_mismatch', 'replay', 'what did not match')
  switch (verdict) {
    case 'pass':
      need(reason === null, 'reason', 'null for a pass')
      need(charged === null, 'charged', 'null for a pass')
      need(worker !== null && record.keyset !== null && record.model !== null, 'worker', 'worker, keyset and model of a pass')
      need(view !== null, 'view', 'the audit view of a pass')
      need(attestation?.verdict === 'accepted', 'attestation', 'accepted evidence of a pass')
      need(replay === null ? kind === 'organic' : replay.outcome === 'pass', 'replay', 'a replay that passed; none only of organic traffic')
      need(timings !== null || kind === 'organic' || kind === 'confirmation', 'timings', 'timings of an answer')
      return
    case 'inconclusive':
      need((obstacles as readonly (string | null)[]).includes(reason), 'reason', 'what kept the audit from an end')
      need(charged === null, 'charged', 'null: nothing was established')
      need((worker === null) === hidden, 'worker', 'the worker that the audit was of, null exactly where the view would have told it')
      return
    case 'fail':
    case 'unattributable':
      need(reason !== null && Object.hasOwn(faults, reason), 'reason', 'a fault')
      if (verdict === 'unattributable' && kind === 'organic') need(charged === null, 'charged', 'null: nobody delivered it')
      else need(charged !== null, 'charged', 'who is charged with the fault')
      if (charged === 'controller') need(path.length > 0, 'charged', 'worker: no controller was between')
      if (charged === 'worker') {
        need(worker !== null, 'worker', 'who is charged')
        need(path.length === 0 || (verdict === 'fail' && view !== null), 'charged', 'controller: nothing signed by the worker shows the fault')
      }
  }
}

import { type Json, jcs } from '../../bytes/jcs.ts'
import type { AuditRecord } from '../audit/record.ts'
import type { ProvenKeyset } from '../network/convictions.ts'
import type { ScoringPolicy } from '../policy/policy.ts'
import { type EpochScores, scoreEpoch } from '../score.ts'
import { scoresToJson } from '../scores-json.ts'
import { stateToJson } from '../state/json.ts'
import type { ScoringState } from '../state/state.ts'
import type { Roster } from './documents.ts'
import type { Missed } from './duties.ts'

/** What follows from everything else in a bundle: the files that a verifier writes again and compares. */
export interface EpochOutcome {
  readonly scores: EpochScores
  /** Path to text. */
  readonly files: ReadonlyMap<string, string>
}

export interface EpochBasis {
  readonly policy: ScoringPolicy
  readonly epoch: number
  readonly before: ScoringState
  readonly roster: Roster
  readonly records: readonly AuditRecord[]
  readonly proven: readonly ProvenKeyset[]
  /** By validator, those that missed a duty. */
  readonly missed: ReadonlyMap<string, Missed>
}

/** Scores, state and weights of an epoch as files (JCS). Throws `scoring_input_invalid`. */
export function epochOutcome({ policy, epoch, before, roster, records, proven, missed }: EpochBasis): EpochOutcome {
  const scores = scoreEpoch({ policy, epoch, before, roster, records, proven, failed: [...missed.keys()] })
  const duties = [...missed].sort(([a], [b]) => (a < b ? -1 : 1)).map(([validator, what]) => ({ validator, ...what }))
  const { network } = policy
  return {
    scores,
    files: new Map([
      ['scores.json', jcs(scoresToJson(epoch, scores) as Json)],
      ['after.json', jcs(stateToJson(network, scores.after) as Json)],
      ['missed.json', jcs({ version: 'veritee.missed.v1', missed: duties })],
      ['weights.json', weightsText(network, epoch, scores)],
    ]),
  }
}

/** The weights of an epoch alone: what is exported. Sum with `unassigned`: 65,535. */
export function weightsText(network: string, epoch: number, { network: { workers, unassigned } }: Pick<EpochScores, 'network'>): string {
  return jcs({
    version: 'veritee.weights.v1',
    network,
    epoch,
    weights: workers.map(({ id, weight }) => ({ worker: id, weight })),
    unassigned: unassigned.weight,
  })
}

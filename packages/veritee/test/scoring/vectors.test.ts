import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import {
  auditRecordFromJson,
  type EpochInput,
  emptyState,
  parseScoringPolicy,
  parseState,
  scoreEpoch,
  scoresToJson,
  stateToJson,
} from '../../src/scoring/index.ts'
import { oracle } from './oracle/oracle.ts'

type Case = Pick<EpochInput, 'epoch' | 'roster' | 'proven' | 'failed'> & {
  readonly records: readonly unknown[]
  readonly scores: unknown
  readonly after: unknown
}
const vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/scoring-epochs.json', import.meta.url), 'utf8')) as {
  readonly policy: unknown
  readonly epochs: readonly Case[]
}
const { policy } = await parseScoringPolicy(JSON.stringify(vectors.policy))

it('the epochs of the specification have the scores and the state that it says, by both implementations', () => {
  let before = JSON.stringify(stateToJson('test', emptyState))
  for (const { scores, after, records, ...rest } of vectors.epochs) {
    const input = { ...rest, policy, records: records.map(auditRecordFromJson) }
    const found = scoreEpoch({ ...input, before: parseState(before, 'test') })
    expect(scoresToJson(input.epoch, found)).toEqual(scores)
    expect(stateToJson('test', found.after)).toEqual(after)
    expect(oracle(input, JSON.parse(before))).toEqual({ scores, state: after })
    before = JSON.stringify(after)
  }
})

// Scoring once more, from spec/scoring.md alone: every rule as a question over all records, nothing kept, nothing clever. Slow.
import type { EpochInput } from '../../../src/scoring/index.ts'
import { convict } from './convictions.ts'
import { documentsOf } from './documents.ts'
import { type Any, factsOf } from './facts.ts'
import { networkOf } from './network.ts'
import { sidesOf } from './sides.ts'

/** Takes the state as a document, and gives scores and state as documents. */
export function oracle(input: Omit<EpochInput, 'before'>, before: Any): { scores: Any; state: Any } {
  const facts = factsOf(input, before)
  const sides = sidesOf(facts)
  const convicted = convict(facts, input, sides)
  return documentsOf(facts, input, sides, convicted, networkOf(facts, sides))
}

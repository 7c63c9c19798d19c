import type { ControlledEvaluateInputItem, LlamaContextSequence, Token } from 'node-llama-cpp'
import { type Candidate, rank } from './sampler.ts'
import type { Selection } from './selection.ts'

type Wanted = NonNullable<Exclude<ControlledEvaluateInputItem, Token>[1]['generateNext']>

/** Evaluates tokens and gives the logits wanted after the last one, ranked. */
export async function evaluate(sequence: LlamaContextSequence, input: readonly Token[], generateNext: Wanted): Promise<Evaluated> {
  const items: ControlledEvaluateInputItem[] = [...input]
  items[items.length - 1] = [input[input.length - 1] as Token, { generateNext }]
  const output = (await sequence.controlledEvaluate(items)).at(-1)?.next
  return { candidates: candidatesOf(output?.logits ?? new Map()), totalWeight: output?.totalLogitWeight }
}

/** What the engine gives, ranked. */
export function candidatesOf(logits: ReadonlyMap<number, number>): readonly Candidate[] {
  const candidates: Candidate[] = []
  // Three times as fast as spreading the map.
  for (const candidate of logits) candidates.push(candidate)
  return rank(candidates)
}

interface Evaluated {
  readonly candidates: readonly Candidate[]
  readonly totalWeight: number | undefined
}

/**
 * The greedy choice alone needs no sorting of the vocabulary: without options the engine selects the highest logit, of equal ones the lowest id,
 * as we do. (includeMax would say it, but this release of the binding returns nothing for it.)
 */
export function wantedLogits(
  { top, tokens }: Selection,
  topLogprobs: number | undefined,
): NonNullable<Exclude<ControlledEvaluateInputItem, Token>[1]['generateNext']> {
  const count = Math.max(top, topLogprobs ?? 0)
  const filter = count === 1 ? { tokens: [], includeSelected: true } : { tokens: tokens as readonly Token[], includeTop: count }
  return { logits: { filter }, totalLogitWeight: topLogprobs !== undefined }
}

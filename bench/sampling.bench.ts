// CPU time of choosing one token, without the engine: what our own sampler adds to each token of an answer, for a vocabulary of 32,000.

import type { Sampling, Vocabulary } from '../packages/services/src/enclave/worker/engine/engine.ts'
import { finishGrammar } from '../packages/services/src/enclave/worker/engine/grammar/grammar.ts'
import { GraphBuilder } from '../packages/services/src/enclave/worker/engine/grammar/graph.ts'
import { schemaPart } from '../packages/services/src/enclave/worker/engine/grammar/json-schema.ts'
import { candidatesOf } from '../packages/services/src/enclave/worker/engine/llama/lookahead.ts'
import { noAdjustments } from '../packages/services/src/enclave/worker/engine/sampling/adjustments.ts'
import { constrain } from '../packages/services/src/enclave/worker/engine/sampling/constraint.ts'
import { describe } from '../packages/services/src/enclave/worker/engine/sampling/logprobs.ts'
import { type Candidate, rank, uniform } from '../packages/services/src/enclave/worker/engine/sampling/sampler.ts'
import { Selection, type SelectionOptions } from '../packages/services/src/enclave/worker/engine/sampling/selection.ts'
import { perCpuSecond } from './rounds.ts'
import type { Figure } from './run.ts'

const vocabularySize = 32_000
const positions = 200
/** The design's bound for sampling and proof together: 60 microseconds of CPU a token. */
const target = Math.round(1e6 / 60)

interface Case {
  readonly name: string
  readonly sampling: Sampling
  readonly options?: Partial<SelectionOptions>
  readonly topLogprobs?: number
  readonly target: number | null
}

const sampled = (topK: number): Sampling => ({ temperature: 0.8, topK, topP: 1, minP: 0 })

const cases: readonly Case[] = [
  { name: 'greedy', sampling: { ...sampled(1024), temperature: 0 }, target },
  { name: 'top_k 40', sampling: sampled(40), target },
  { name: 'top_k 40, top_p 0.9, 5 logprobs', sampling: { ...sampled(40), topP: 0.9 }, topLogprobs: 5, target },
  { name: 'top_k 1024 (no top_k given)', sampling: sampled(1024), target },
  {
    name: 'top_k 40, penalties over 500 tokens',
    sampling: sampled(40),
    options: {
      adjustments: { ...noAdjustments, frequencyPenalty: 0.5, repetitionPenalty: 1.1 },
      promptTokens: Array.from({ length: 500 }, (_, i) => i * 17),
    },
    target: null,
  },
  { name: 'top_k 40, held to a JSON Schema, within a string', sampling: sampled(40), options: { mask: stringMask() }, target: null },
]

export async function run(): Promise<Figure[]> {
  const logits = allLogits()
  const rates = await perCpuSecond(cases.map((one) => ({ name: one.name, operations: operationsOf(one, logits) })))
  return cases.map(({ name, target: least }) => ({ name, value: rates.get(name) ?? 0, unit: 'tokens/CPU s', target: least }))
}

/** One position after the other of one answer; each operation is one token, with all that the engine's own loop does to its logits. */
function operationsOf({ sampling, options, topLogprobs }: Case, all: readonly (readonly Candidate[])[]): (() => void)[] {
  const draw = uniform(Uint8Array.of(7))
  const start = (): Selection =>
    new Selection({ sampling, adjustments: noAdjustments, promptTokens: [1], mask: null, draw: (position) => draw(0, position), ...options })
  let selection = start()
  const given = all.map((ranked) => new Map(ranked.slice(0, selection.top + 32)))
  const extra = new Map(all[0])
  return given.map((logits, i) => () => {
    if (i === 0) selection = start()
    for (const token of selection.tokens) if (!logits.has(token)) logits.set(token, extra.get(token) ?? 0)
    const candidates = candidatesOf(logits)
    const token = selection.choose(candidates)
    describe(token ?? 0, candidates, 1, topLogprobs)
  })
}

function allLogits(): Candidate[][] {
  let state = 1
  const random = (): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return (state >>> 8) / 2 ** 24
  }
  return Array.from({ length: positions }, () => [
    ...rank(Array.from({ length: vocabularySize }, (_, token): Candidate => [token, random() * 20 - 10])),
  ])
}

/** Tokens of one to six letters, in a string that ends after 1,024 characters at most. */
function stringMask(): NonNullable<SelectionOptions['mask']> {
  const graph = new GraphBuilder()
  const grammar = finishGrammar(graph, graph.rule(schemaPart(graph, { type: 'string' })))
  const bytes = Array.from({ length: vocabularySize }, (_, token) =>
    new TextEncoder().encode('aehi" nrst\n'.repeat(2).slice(token % 11, (token % 11) + 1 + (token % 6))),
  )
  const vocabulary = { bytes: (token: number) => bytes[token] ?? new Uint8Array(0), isEndOfGeneration: () => false } as unknown as Vocabulary
  const mask = constrain(grammar, vocabulary).start()
  const quote = bytes.findIndex((one) => one.length === 1 && one[0] === 0x22)
  mask.accept(quote)
  return { allows: mask.allows, accept: () => undefined }
}

import { fail } from 'veritee/errors'
import { type Generation, maxTopLogprobs } from '../engine.ts'
import { checkAdjustments, noAdjustments } from '../sampling/adjustments.ts'
import { checkSampling } from '../sampling/sampler.ts'

/** What a model and its context allow. */
export interface GenerationLimits {
  readonly vocabularySize: number
  readonly contextSize: number
}

/** Checks the arguments of one generation. Throws `TypeError`, and `context_overflow` where prompt and answer do not fit. */
export function checkGeneration(generation: Generation, { vocabularySize, contextSize }: GenerationLimits): void {
  const { promptTokens, maxTokens, sampling, adjustments = noAdjustments, seed, topLogprobs = 0, choice = 0 } = generation
  checkSampling(sampling)
  checkAdjustments(adjustments, vocabularySize)
  if (seed.length < 1) throw new TypeError('generate: expected seed bytes')
  if (!Number.isSafeInteger(choice) || choice < 0) throw new TypeError('generate: choice must be an integer from 0')
  if (!Number.isInteger(maxTokens) || maxTokens < 1) throw new TypeError('generate: maxTokens must be an integer from 1')
  if (!Number.isInteger(topLogprobs) || topLogprobs < 0 || topLogprobs > maxTopLogprobs)
    throw new TypeError(`generate: topLogprobs must be an integer from 0 to ${maxTopLogprobs}`)
  if (promptTokens.length === 0) throw new TypeError('generate: expected at least one prompt token')
  for (const token of promptTokens)
    if (!Number.isInteger(token) || token < 0 || token >= vocabularySize) throw new TypeError('generate: a prompt token is outside the vocabulary')
  if (promptTokens.length + maxTokens > contextSize)
    throw fail(
      'context_overflow',
      `expected at most ${contextSize} tokens, found a prompt of ${promptTokens.length} and an answer of up to ${maxTokens}`,
    )
}

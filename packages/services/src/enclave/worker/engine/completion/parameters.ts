import { toHex } from 'veritee/bytes'
import type { Sampling } from '../engine.ts'
import type { AnswerFormat } from '../request/answer-format.ts'
import type { Adjustments } from '../sampling/adjustments.ts'
import type { ToolAnswers } from '../tools/tool-answers.ts'

/** What was used, after defaults. Decimals are strings because aci/1 documents hold integers only. Names and values are those of the receipt. */
export interface EffectiveParameters {
  readonly temperature: string
  readonly top_p: string
  readonly min_p: string
  readonly top_k: number
  readonly max_tokens: number
  readonly stop: readonly string[]
  /** Hex of the seed bytes: 8 for a client's seed, 16 for one drawn here. */
  readonly seed: string
  readonly seed_source: 'client' | 'enclave'
  /** The members below are absent where they ask for nothing. */
  readonly n?: number
  readonly frequency_penalty?: string
  readonly presence_penalty?: string
  readonly repetition_penalty?: string
  /** `<token>:<bias>`, by rising token. */
  readonly logit_bias?: readonly string[]
  /** What the answers were held to. */
  readonly constraint?: string
  /** What its grammar was made of. The receipt has a keyed digest of it only (S6). */
  readonly constraint_source?: string
  /** How many were offered. */
  readonly tools?: number
  readonly tool_choice?: 'auto' | 'required' | 'named'
  readonly tool_format?: string
  readonly parallel_tool_calls?: boolean
}

export interface UsedParameters {
  readonly sampling: Sampling
  readonly adjustments: Adjustments
  readonly maxTokens: number
  readonly stop: readonly string[]
  readonly seed: Uint8Array
  readonly seedSource: 'client' | 'enclave'
  readonly n: number
  readonly format: AnswerFormat | null
  readonly tools: ToolAnswers | null
}

export function effectiveParameters(used: UsedParameters): EffectiveParameters {
  const { sampling, adjustments, maxTokens, stop, seed, seedSource, n, format, tools } = used
  const { frequencyPenalty, presencePenalty, repetitionPenalty, logitBias } = adjustments
  return {
    temperature: decimal(sampling.temperature),
    top_p: decimal(sampling.topP),
    min_p: decimal(sampling.minP),
    top_k: sampling.topK,
    max_tokens: maxTokens,
    stop,
    seed: toHex(seed),
    seed_source: seedSource,
    ...(n !== 1 && { n }),
    ...(frequencyPenalty !== 0 && { frequency_penalty: decimal(frequencyPenalty) }),
    ...(presencePenalty !== 0 && { presence_penalty: decimal(presencePenalty) }),
    ...(repetitionPenalty !== 1 && { repetition_penalty: decimal(repetitionPenalty) }),
    ...(logitBias.size > 0 && {
      logit_bias: [...logitBias].sort(([a], [b]) => a - b).map(([token, bias]) => `${token}:${decimal(bias)}`),
    }),
    ...(format !== null && { constraint: format.kind, constraint_source: format.source }),
    ...(tools !== null && {
      tools: tools.use.tools.length,
      tool_choice: tools.use.choice.kind,
      tool_format: tools.format.name,
      parallel_tool_calls: tools.use.parallel,
    }),
  }
}

/** A decimal without an exponent, with the digits that JavaScript prints: 0.7 is "0.7", 1e-7 is "0.0000001". */
export function decimal(value: number): string {
  const [digits = '', exponent] = String(Math.abs(value)).split('e-')
  const sign = value < 0 ? '-' : ''
  if (exponent === undefined) return sign + digits
  return `${sign}0.${digits.replace('.', '').padStart(Number(exponent) + digits.replace('.', '').length - 1, '0')}`
}

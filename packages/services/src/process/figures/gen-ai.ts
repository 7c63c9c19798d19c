import type { ReceiptFacts } from '../../enclave/runtime/ledger.ts'
import type { Metrics } from '../metrics.ts'
import { genAi, genAiFirstSeconds, genAiOperation, genAiProvider, genAiSeconds, genAiTokens, prometheusName } from './gen-ai-names.ts'

/** Tokens that a worker signed for. */
export interface TokenUsage {
  readonly promptTokens: number | null
  readonly completionTokens: number | null
}

/**
 * The duration of requests, and the tokens of those that were answered, under OpenTelemetry's names. `model` is one that is known to be there, or null; `outcome` that of the receipt. Of errors only that there was one is told.
 * Gives the function that observes.
 */
export function genAiMetrics(
  metrics: Metrics,
): (facts: ReceiptFacts, model: string | null, outcome: string, elapsedMs: number, usage: TokenUsage | null) => void {
  const observe = metrics.histogram(
    prometheusName(genAi.requestDuration, 'seconds'),
    'from the arrival of a request to its receipt, under the name of OpenTelemetry',
    genAiSeconds,
  )
  const tokens = metrics.histogram(
    prometheusName(genAi.tokenUsage),
    'tokens of prompts and of answers, as workers signed them, under the name of OpenTelemetry',
    genAiTokens,
  )
  return ({ endpoint }, model, outcome, elapsedMs, usage) => {
    const labels = {
      [prometheusName(genAi.operationName)]: genAiOperation(endpoint),
      [prometheusName(genAi.providerName)]: genAiProvider,
      ...(model === null ? {} : { [prometheusName(genAi.requestModel)]: model }),
    }
    const type = prometheusName(genAi.tokenType)
    if (usage !== null && usage.promptTokens !== null) tokens({ ...labels, [type]: 'input' }, usage.promptTokens)
    // What was embedded has no answer of tokens.
    if (usage !== null && usage.completionTokens !== null && genAiOperation(endpoint) !== 'embeddings')
      tokens({ ...labels, [type]: 'output' }, usage.completionTokens)
    observe(
      {
        ...labels,
        ...(outcome === 'error' || outcome === 'refused' ? { [prometheusName(genAi.errorType)]: outcome } : {}),
      },
      elapsedMs / 1000,
    )
  }
}

/** How long streams took to begin, under OpenTelemetry's name, as a controller sees it. Gives the function that observes. */
export function firstTokenMetrics(metrics: Metrics): (facts: ReceiptFacts) => void {
  const observe = metrics.histogram(
    prometheusName(genAi.timeToFirstToken, 'seconds'),
    'from the arrival of a request to the first bytes of its stream, under the name of OpenTelemetry',
    genAiFirstSeconds,
  )
  return ({ endpoint, model, firstMs }) => {
    if (firstMs === undefined || model === null) return
    const labels = {
      [prometheusName(genAi.operationName)]: genAiOperation(endpoint),
      [prometheusName(genAi.providerName)]: genAiProvider,
      [prometheusName(genAi.requestModel)]: model,
    }
    observe(labels, firstMs / 1000)
  }
}

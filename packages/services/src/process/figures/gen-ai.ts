import type { ReceiptFacts } from '../../enclave/runtime/ledger.ts'
import type { Metrics } from '../metrics.ts'
import { genAi, genAiOperation, genAiProvider, genAiSeconds, prometheusName } from './gen-ai-names.ts'

/**
 * The duration of requests under OpenTelemetry's name. `model` is one that is known to be there, or null; `outcome` that of the receipt. Of errors only that there was one is told.
 * Gives the function that observes.
 */
export function genAiMetrics(metrics: Metrics): (facts: ReceiptFacts, model: string | null, outcome: string, elapsedMs: number) => void {
  const observe = metrics.histogram(
    prometheusName(genAi.requestDuration, 'seconds'),
    'from the arrival of a request to its receipt, under the name of OpenTelemetry',
    genAiSeconds,
  )
  return ({ endpoint }, model, outcome, elapsedMs) =>
    observe(
      {
        [prometheusName(genAi.operationName)]: genAiOperation(endpoint),
        [prometheusName(genAi.providerName)]: genAiProvider,
        ...(model === null ? {} : { [prometheusName(genAi.requestModel)]: model }),
        ...(outcome === 'error' || outcome === 'refused' ? { [prometheusName(genAi.errorType)]: outcome } : {}),
      },
      elapsedMs / 1000,
    )
}

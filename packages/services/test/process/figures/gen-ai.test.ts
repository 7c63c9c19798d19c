import { expect, test } from 'vitest'
import type { ReceiptFacts } from '../../../src/enclave/runtime/ledger.ts'
import { genAiMetrics } from '../../../src/process/figures/gen-ai.ts'
import { Metrics } from '../../../src/process/metrics.ts'

const facts = (endpoint: string): ReceiptFacts => ({ chatId: null, model: 'm', endpoint, stream: null, events: [] })

function sums(metrics: Metrics): string[] {
  return metrics
    .text()
    .split('\n')
    .filter((line) => line.startsWith('gen_ai_client_token_usage_sum'))
    .map((line) => `${/operation_name="(\w+)"/.exec(line)?.[1]} ${/token_type="(\w+)"/.exec(line)?.[1]} ${line.split(' ').at(-1)}`)
}

test('tokens are counted apart, as they were signed; what has none adds none', () => {
  const metrics = new Metrics()
  const observe = genAiMetrics(metrics)
  observe(facts('/v1/chat/completions'), 'm', 'complete', 10, { promptTokens: 7, completionTokens: 3 })
  observe(facts('/v1/chat/completions'), 'm', 'complete', 10, { promptTokens: 1, completionTokens: null })
  observe(facts('/v1/embeddings'), 'm', 'complete', 10, { promptTokens: 5, completionTokens: 0 })
  observe(facts('/v1/chat/completions'), 'm', 'refused', 10, null)
  expect(sums(metrics).sort()).toEqual(['chat input 8', 'chat output 3', 'embeddings input 5'])
})

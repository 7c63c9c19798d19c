import type { ReceiptFacts } from '../enclave/runtime/ledger.ts'
import type { ServedModel } from '../enclave/worker/served-model.ts'
import { firstTokenMetrics, genAiMetrics } from './figures/gen-ai.ts'
import type { Gate } from './gate.ts'
import type { Metrics } from './metrics.ts'
import type { Readiness } from './readiness.ts'

/** vLLM's word for how an answer ended. */
const finishedReasons = { complete: 'stop', length: 'length', aborted: 'abort', error: 'error', refused: 'error' } as const
const seconds = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300]

/** What every service says of itself. */
export function serviceMetrics(metrics: Metrics, gate: Gate, readiness: Readiness, notAfter: () => number): void {
  metrics.gauge('veritee_ready', '1 where the service should get requests', () => [[{}, readiness.reasons.length === 0 ? 1 : 0]])
  metrics.gauge('veritee_requests_in_flight', 'requests that hold an engine or a worker', () => [[{}, gate.working]])
  metrics.gauge('veritee_keyset_not_after_seconds', 'end of the keyset, Unix time', () => [[{}, notAfter()]])
}

/** The figures of a worker: vLLM's names where there is one, so that autoscalers and routers made for it read them. */
export function workerMetrics(metrics: Metrics, models: readonly ServedModel[]): (facts: ReceiptFacts, elapsedMs: number) => void {
  const load = (read: (model: ServedModel) => number) => () => models.map((model) => [{ model_name: model.name, engine: '0' }, read(model)] as const)
  metrics.gauge(
    'vllm:num_requests_running',
    'requests that are evaluated',
    load(({ engine }) => engine.load.running),
  )
  metrics.gauge(
    'vllm:num_requests_waiting',
    'requests that wait for their turn',
    load(({ engine }) => engine.load.waiting),
  )
  const prompt = metrics.counter('vllm:prompt_tokens_total', 'tokens of prompts')
  const generated = metrics.counter('vllm:generation_tokens_total', 'tokens of answers')
  const finished = metrics.counter('vllm:request_success_total', 'answers, by how they ended')
  const latency = metrics.histogram('vllm:e2e_request_latency_seconds', 'from the arrival of a request to its receipt', seconds)
  const receipts = metrics.counter('veritee_receipts_total', 'receipts signed, by outcome')
  const genAi = genAiMetrics(metrics)
  return (facts, elapsedMs) => {
    const { model, events } = facts
    const inference = events.find((event) => event.type === 'veritee.inference' || event.type === 'veritee.external_engine')
    if (inference === undefined || model === null) return
    const labels = { model_name: model, engine: '0' }
    prompt(labels, inference.prompt_tokens ?? 0)
    generated(labels, inference.completion_tokens ?? 0)
    finished({ ...labels, finished_reason: finishedReasons[inference.outcome] })
    latency(labels, elapsedMs / 1000)
    receipts({ outcome: inference.outcome })
    const { prompt_tokens: promptTokens, completion_tokens: completionTokens } = inference
    genAi(facts, model, inference.outcome, elapsedMs, { promptTokens, completionTokens })
  }
}

/** The figures of a controller. Models that clients name are no labels: they choose them. */
export function controllerMetrics(
  metrics: Metrics,
  workers: () => { readonly serving: number; readonly quarantined: number },
): (facts: ReceiptFacts, elapsedMs: number) => void {
  metrics.gauge('veritee_workers', 'workers known, by whether they get requests', () => {
    const { serving, quarantined } = workers()
    return [
      [{ state: 'serving' }, serving],
      [{ state: 'quarantined' }, quarantined],
    ]
  })
  const upstream = metrics.counter('veritee_upstream_receipts_total', "results of checking workers' receipts")
  const receipts = metrics.counter('veritee_receipts_total', 'receipts signed, by outcome')
  const latency = metrics.histogram('veritee_request_duration_seconds', 'from the arrival of a request to its receipt', seconds)
  const genAi = genAiMetrics(metrics)
  const firstToken = firstTokenMetrics(metrics)
  return (facts, elapsedMs) => {
    const { events, model, session } = facts
    const checked = events.find((event) => event.type === 'veritee.upstream_receipt')
    if (checked !== undefined) upstream({ result: checked.result })
    const outcome = events.find((event) => event.type === 'veritee.outcome')
    receipts({ outcome: outcome?.outcome ?? 'answered' })
    latency({}, elapsedMs / 1000)
    // A session is of a worker that has the model: else its name is whatever the requester wrote.
    genAi(
      facts,
      session === undefined ? null : model,
      outcome?.outcome ?? 'answered',
      elapsedMs,
      session === undefined ? null : (facts.usage ?? null),
    )
    if (session !== undefined) firstToken(facts)
  }
}

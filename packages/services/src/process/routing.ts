import type { ControllerConfig } from '../config/controller.ts'
import type { RoutingLimits } from '../controller/routing/limits.ts'
import type { Router } from '../controller/routing/router.ts'
import type { Metrics } from './metrics.ts'

export function limitsOf({ routing }: ControllerConfig): Partial<RoutingLimits> {
  return {
    workerRequests: routing.worker_requests,
    queueRequests: routing.queue_requests,
    queueMs: routing.queue_seconds * 1000,
    firstByteMs: routing.first_byte_seconds * 1000,
    answerMs: routing.answer_seconds * 1000,
  }
}

/** Gives the function that observes how long a request waited. */
export function queueMetrics(metrics: Metrics): (model: string, seconds: number) => void {
  const observe = metrics.histogram(
    'vllm:request_queue_time_seconds',
    'how long requests waited for a worker, of those that had to and got one',
    [0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
  )
  return (model, seconds) => observe({ model_name: model }, seconds)
}

/** What routing does: vLLM's names where there is one, so that autoscalers made for it read them. Models are those that admitted workers have. */
export function routingMetrics(metrics: Metrics, router: Router): void {
  const { counts } = router.figures
  const load = (read: (load: { readonly running: number; readonly waiting: number; readonly members: number }) => number) =>
    function* (): Iterable<readonly [{ readonly model_name: string }, number]> {
      let left = maxModels
      for (const one of router.load()) {
        if (left-- === 0) return
        yield [{ model_name: one.model }, read(one)]
      }
    }
  metrics.gauge(
    'vllm:num_requests_running',
    'requests that are with a worker',
    load(({ running }) => running),
  )
  metrics.gauge(
    'vllm:num_requests_waiting',
    'requests that wait for a worker',
    load(({ waiting }) => waiting),
  )
  metrics.gauge(
    'veritee_routing_workers',
    'workers whose session is in force, by model',
    load(({ members }) => members),
  )
  const total = <K extends string>(name: string, help: string, label: string, values: Readonly<Record<K, number>>): void =>
    metrics.total(name, help, () => Object.entries<number>(values).map(([word, value]) => [{ [label]: word }, value] as const))
  total('veritee_routing_chosen_total', 'workers chosen, by how', 'how', counts.chosen)
  total('veritee_routing_unserved_total', 'requests that were to wait, or waited, and got no worker, by why', 'reason', counts.left)
  total('veritee_routing_retries_total', 'attempts that came to no answer, by why', 'reason', counts.retries)
  total('veritee_routing_breaker_changes_total', 'changes of circuit breakers, by the state they came to', 'state', counts.breakers)
  metrics.gauge('veritee_routing_breakers', 'workers, by the state of their circuit breaker', () =>
    Object.entries(router.breakers()).map(([state, value]) => [{ state }, value] as const),
  )
}

/** Of which there are lines. */
const maxModels = 1024

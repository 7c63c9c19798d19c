import { expect, test } from 'vitest'
import { controllerSchema } from '../../src/config/controller.ts'
import { defaultLimits } from '../../src/controller/routing/limits.ts'
import { Router } from '../../src/controller/routing/router.ts'
import { Metrics } from '../../src/process/metrics.ts'
import { limitsOf, queueMetrics, routingMetrics } from '../../src/process/routing.ts'
import { admittedWorker, wanted } from '../controller/routing/worker.ts'

test('figures of routing: load and waiting by model, under the names that autoscalers read, and what became of the rest', async () => {
  const metrics = new Metrics()
  const router = new Router({ now: () => new Date(0), limits: { workerRequests: 1 }, onWaited: queueMetrics(metrics) })
  routingMetrics(metrics, router)
  router.admitted(admittedWorker('a', ['m']))
  const lease = router.take(wanted('m'), [])
  if (typeof lease === 'string') throw new Error(lease)
  const waiting = router.wait(wanted('m', { tenant: 'key of somebody' }), [], new AbortController().signal)
  const lines = (): string[] => metrics.text().split('\n')
  expect(lines()).toEqual(
    expect.arrayContaining([
      'vllm:num_requests_running{model_name="m"} 1',
      'vllm:num_requests_waiting{model_name="m"} 1',
      'veritee_routing_workers{model_name="m"} 1',
      'veritee_routing_chosen_total{how="two_choices"} 1',
      'veritee_routing_breakers{state="closed"} 1',
    ]),
  )
  expect(metrics.text()).not.toContain('somebody')
  lease.end()
  const second = await waiting
  for (let i = 0; i < 3; i++) second.failed()
  second.end()
  expect(lines()).toEqual(
    expect.arrayContaining([
      'vllm:request_queue_time_seconds_count{model_name="m"} 1',
      'vllm:num_requests_running{model_name="m"} 0',
      'veritee_routing_breakers{state="open"} 1',
      'veritee_routing_breaker_changes_total{state="open"} 1',
      'veritee_routing_retries_total{reason="transport"} 0',
      'veritee_routing_unserved_total{reason="timeout"} 0',
    ]),
  )
})

test('what an operator is told to be the default is the default', () => {
  const fallbacks = Object.fromEntries(Object.entries(controllerSchema.sections.routing).map(([name, { fallback }]) => [name, fallback]))
  const limits = limitsOf({ routing: fallbacks } as unknown as Parameters<typeof limitsOf>[0])
  expect({ ...defaultLimits, ...limits }).toEqual(defaultLimits)
})

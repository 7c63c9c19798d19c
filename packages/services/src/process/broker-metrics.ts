import type { BrokerStore, Decision } from '../enclave/broker/index.ts'
import type { Metrics } from './metrics.ts'

/** The figures of a key broker; gives what is told of each decision. Names of keys and measurements are no labels: figures go to more people than the trail. */
export function brokerMetrics(metrics: Metrics, store: BrokerStore): (decision: Decision) => void {
  metrics.gauge('veritee_broker_resources', 'keys, by whether they are released to anybody', () => {
    const all = Object.values(store.state.resources)
    const revoked = all.filter(({ value }) => value === null).length
    return [
      [{ state: 'live' }, all.length - revoked],
      [{ state: 'revoked' }, revoked],
    ]
  })
  metrics.gauge('veritee_broker_store_generation', 'writes of the store, over restarts', () => [[{}, store.generation]])
  const decisions = metrics.counter('veritee_broker_decisions_total', 'releases, and refusals by their code')
  return ({ event, code }) => decisions({ event, code: code ?? '' })
}

export { type Broker, type BrokerOptions, createBroker } from './broker.ts'
export type { Decision } from './decision.ts'
export { revocationEntry, type WitnessedLogOptions } from './freshness/index.ts'
export { type BrokerStore, createMemoryStore, openStore } from './store/index.ts'

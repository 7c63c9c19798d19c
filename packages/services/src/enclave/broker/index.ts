export { type Broker, type BrokerOptions, createBroker, type FollowedLog } from './broker.ts'
export type { Decision } from './decision.ts'
export { revocationEntry } from './freshness/index.ts'
export { type BrokerStore, createMemoryStore, openStore } from './store/index.ts'

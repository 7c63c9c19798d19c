export * from './resources.ts'
export { type BrokerStore, createMemoryStore, openStore } from './store.ts'

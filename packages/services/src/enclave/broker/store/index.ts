export { headEntry, headOf, nextHead, type StoreHead, type StoreIdentity } from './head.ts'
export * from './resources.ts'
export { type BrokerStore, createMemoryStore, openStore } from './store.ts'

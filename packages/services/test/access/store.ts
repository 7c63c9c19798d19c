import { randomBytes } from 'node:crypto'
import { ReceiptArchive } from '../../src/enclave/runtime/receipts/archive.ts'
import { type SealingKey, sealingKey } from '../../src/enclave/runtime/sealing-key.ts'
import { MemoryStore } from '../../src/store/memory.ts'

/** A store that several replicas share, in memory, and the key that they share. */
export interface SharedStore {
  readonly store: MemoryStore
  readonly sealing: SealingKey
  /** As another enclave with the same key sees it. */
  archive(): Promise<ReceiptArchive>
}

export function sharedStore(store: MemoryStore = new MemoryStore()): SharedStore {
  const sealing = sealingKey('file', randomBytes(32))
  return { store, sealing, archive: () => ReceiptArchive.over(store, sealing) }
}

export const noLimits = { requests_per_minute: null, tokens_per_minute: null, tokens_per_month: null }
export const wanted = { name: 'test', models: null, limits: noLimits, expires: null }

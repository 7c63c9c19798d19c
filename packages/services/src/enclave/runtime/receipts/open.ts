import type { PostgresOptions } from '../../../store/postgres/database.ts'
import { openPostgresStore } from '../../../store/postgres/postgres-store.ts'
import type { StoreBounds } from '../../../store/receipt-store.ts'
import { openSqliteStore } from '../../../store/sqlite/sqlite-store.ts'
import type { SealingKey } from '../sealing-key.ts'
import { defaultBounds, ReceiptArchive } from './archive.ts'

/** Opens the file of receipts at `path`. Throws `receipt_store_invalid`, `receipt_store_unavailable`; nothing is ever begun anew in place of what is there. */
export async function openReceiptArchive(options: {
  readonly path: string
  readonly sealing: SealingKey
  readonly bounds?: Partial<StoreBounds>
}): Promise<ReceiptArchive> {
  const { path, sealing, bounds = {} } = options
  const store = await openSqliteStore(path, { maxBytes: bounds.maxBytes ?? defaultBounds.maxBytes })
  try {
    return await ReceiptArchive.over(store, sealing, bounds)
  } catch (error) {
    await store.close()
    throw error
  }
}

/**
 * Opens receipts in a PostgreSQL server: those of the space of this sealing key, which every enclave with that key shares. Throws `receipt_store_invalid`,
 * `receipt_store_unavailable`.
 */
export async function openSharedArchive(options: {
  readonly server: PostgresOptions
  readonly sealing: SealingKey
  readonly bounds?: Partial<StoreBounds>
}): Promise<ReceiptArchive> {
  const { server, sealing, bounds = {} } = options
  const store = await openPostgresStore({ ...server, space: spaceOf(sealing), maxBytes: bounds.maxBytes ?? defaultBounds.maxBytes })
  try {
    return await ReceiptArchive.over(store, sealing, bounds)
  } catch (error) {
    await store.close()
    throw error
  }
}

/** Under which name the rows of one sealing key lie in a shared store. */
export function spaceOf(sealing: SealingKey): string {
  return Buffer.from(sealing.derive('veritee.store.space.v1')).toString('hex').slice(0, 32)
}

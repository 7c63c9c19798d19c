import { MemoryStore } from '../../src/store/memory.ts'
import type { DocumentRow, ReceiptRow } from '../../src/store/receipt-store.ts'

/** A disk that can be held up, and can fail. */
export class Disk extends MemoryStore {
  failing = false
  gate: Promise<void> = Promise.resolve()
  override async put(rows: readonly ReceiptRow[], documents: readonly DocumentRow[]): Promise<readonly string[]> {
    await this.gate
    if (this.failing) throw new Error('/secret/path: the disk is full')
    return super.put(rows, documents)
  }
}

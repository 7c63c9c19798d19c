import { randomBytes } from 'node:crypto'
import { eventOf, parseReceipt } from 'veritee/receipt'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Identity } from '../../src/enclave/runtime/identity.ts'
import { Ledger } from '../../src/enclave/runtime/ledger.ts'
import { ReceiptArchive } from '../../src/enclave/runtime/receipts/archive.ts'
import { GroupCommit } from '../../src/enclave/runtime/receipts/group-commit.ts'
import { sealingKey } from '../../src/enclave/runtime/sealing-key.ts'
import { MemoryStore } from '../../src/store/memory.ts'
import type { DocumentRow, ReceiptRow } from '../../src/store/receipt-store.ts'
import { facts, identities, now } from './enclave.ts'

let identity: Identity
beforeAll(async () => {
  identity = await (await identities()).make()
})

/** A disk that can be held up, and can fail. */
class Disk extends MemoryStore {
  failures = 0
  gate: Promise<void> = Promise.resolve()
  readonly groups: number[] = []
  override async put(rows: readonly ReceiptRow[], documents: readonly DocumentRow[]): Promise<readonly string[]> {
    await this.gate
    if (rows.length > 0 && this.failures > 0) {
      this.failures--
      throw new Error('/secret/path: the disk is full')
    }
    if (rows.length > 0) this.groups.push(rows.length)
    return super.put(rows, documents)
  }
}

async function over(disk: Disk, waitMs = 60_000): Promise<Ledger> {
  const archive = await ReceiptArchive.over(disk, sealingKey('file', randomBytes(32)))
  return new Ledger({ identity, now, archive, report: 'report', waitMs, retryMs: 20 })
}

const settled = async (promise: Promise<unknown>): Promise<string> =>
  Promise.race([promise.then(() => 'done'), new Promise<string>((resolve) => setTimeout(resolve, 20, 'waiting'))])

describe('a receipt is acknowledged only when it is durable', () => {
  test('neither who wrote it nor who looks it up is answered before the commit', async () => {
    const disk = new Disk()
    const ledger = await over(disk)
    const { promise, resolve } = Promise.withResolvers<void>()
    disk.gate = promise
    const receipt = ledger.open(null)
    const finished = receipt.finish(facts({ chatId: 'chat' }))
    const lookup = ledger.find('chat', null)
    expect([await settled(finished), await settled(lookup)]).toEqual(['waiting', 'waiting'])
    resolve()
    expect((await lookup).kind).toBe('found')
    expect(parseReceipt((await finished).toString()).receiptId).toBe(receipt.id)
    await ledger.close()
  })

  test('where the commit fails everybody is told, nothing new begins, and the receipt keeps its place in the chain', async () => {
    const disk = new Disk()
    const ledger = await over(disk)
    await ledger.open(null).finish(facts())
    disk.failures = 2
    const [first, second, late] = [ledger.open(null), ledger.open(null), ledger.open(null)]
    const results = await Promise.allSettled([first.finish(facts()), second.finish(facts({ chatId: 'chat' }))])
    for (const result of results)
      expect(result).toMatchObject({
        status: 'rejected',
        reason: { code: 'receipt_store_unavailable', message: expect.not.stringContaining('secret') as string },
      })
    expect(() => ledger.open(null)).toThrow(expect.objectContaining({ code: 'receipt_store_unavailable' }) as Error)
    expect(ledger.figures).toMatchObject({ veritee_store_failing: 1, veritee_store_waiting_receipts: 2, veritee_store_commit_failures_total: 1 })
    // Abandoning what is signed changes nothing.
    first.abandon()
    // One that was open already is signed, and waits for the same disk.
    await expect(late.finish(facts())).rejects.toMatchObject({ code: 'receipt_store_unavailable' })
    await expect.poll(() => ledger.figures.veritee_store_failing, { timeout: 20_000 }).toBe(0)
    const texts = await Promise.all(
      [first.id, 'chat', late.id].map(async (id) => {
        const lookup = await ledger.find(id, null)
        return lookup.kind === 'found' ? lookup.text : ''
      }),
    )
    expect(texts.map((text) => eventOf(parseReceipt(text), 'veritee.chain')?.sequence)).toEqual([1, 2, 3])
    expect(eventOf(parseReceipt((await ledger.open(null).finish(facts())).toString()), 'veritee.chain')?.sequence).toBe(4)
    await ledger.close()
  })

  test('a lookup of a receipt that could not be made durable is an error, not a receipt and not "no such receipt"', async () => {
    const disk = new Disk()
    const ledger = await over(disk, 50)
    disk.failures = 1e9
    const receipt = ledger.open(null)
    await expect(receipt.finish(facts())).rejects.toMatchObject({ code: 'receipt_store_unavailable' })
    await expect(ledger.find(receipt.id, null)).rejects.toMatchObject({ code: 'receipt_store_unavailable' })
    await expect(ledger.close()).rejects.toThrow('disk is full')
  })

  test('what ends together is committed together', async () => {
    const disk = new Disk()
    const ledger = await over(disk)
    await Promise.all(Array.from({ length: 64 }, () => ledger.open(null).finish(facts())))
    expect(disk.groups).toEqual([64])
    await ledger.close()
  })
})

describe('group commit', () => {
  test('keeps the order, whatever comes while a group is written or fails', async () => {
    const written: number[] = []
    const changes: boolean[] = []
    let writes = 0
    const commits = new GroupCommit<number>({
      retryMs: 1,
      changed: (failure) => changes.push(failure === null),
      write: async (group) => {
        await new Promise((resolve) => setTimeout(resolve, 1))
        if (writes++ % 2 === 0) throw new Error('no')
        written.push(...group)
      },
    })
    const all: Promise<unknown>[] = []
    for (let i = 0; i < 600; i++) {
      all.push(commits.add(i).catch(() => null))
      if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 2))
    }
    await Promise.all(all)
    await expect.poll(() => written.length, { timeout: 20_000 }).toBe(600)
    expect(written).toEqual(Array.from({ length: 600 }, (_, i) => i))
    // Told of each change, and not of each attempt.
    expect(changes.length).toBeGreaterThan(1)
    expect(changes).toEqual(changes.map((_, i) => i % 2 === 1))
  })
})

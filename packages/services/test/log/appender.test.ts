import { appendFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fromUtf8, leafHash, toHex } from 'veritee/bytes'
import { type AuditView, auditViewOf, type ChainHead, logEntry, parseLogStatement, verifyInclusion, verifyLogStatement } from 'veritee/log'
import { parseReceipt, ReceiptKeys, receiptDigest, verifyReceipt } from 'veritee/receipt'
import { beforeAll, describe, expect, it } from 'vitest'
import { Ledger } from '../../src/enclave/runtime/ledger.ts'
import { Appender, type AppenderOptions } from '../../src/log/appender.ts'
import { Outbox } from '../../src/log/outbox.ts'
import { facts, identities } from '../receipts/enclave.ts'
import { origin, scratch } from './logs.ts'
import { clock, now, system, token } from './served-log.ts'

let make: Awaited<ReturnType<typeof identities>>['make']
beforeAll(async () => {
  ;({ make } = await identities())
})
const receiptKey = new Uint8Array(32).fill(3)

async function enclave(url: string, more: Partial<AppenderOptions> = {}, path: string | null = null) {
  const outbox = await Outbox.open(path)
  const appender = new Appender({
    origin,
    url,
    promiseSeconds: 600,
    outbox,
    operatorOf: async () => null,
    now,
    gatherMs: 600_000,
    ...more,
  })
  const identity = await make()
  const ledger = new Ledger({ identity, now, log: appender })
  const receipt = async (): Promise<string> => (await ledger.open(null).finish(facts({ receiptKey }))).toString()
  return { appender, outbox, identity, ledger, receipt }
}

describe('an enclave that has a log', () => {
  it('S21: promises, submits, and its requester finds each receipt; views are contiguous, and the head tells how many there are', async () => {
    const { url, publisher, get, trust } = await system()
    const { appender, identity, ledger, receipt } = await enclave(url)
    const texts = [await receipt(), await receipt(), await receipt()]
    await appender.flush()
    expect(appender.waiting).toBe(0)
    await ledger.close()
    await appender.stop()
    await publisher.round()
    for (const text of texts) {
      const expected = { requestHash: null, responseHash: null, clientNonce: null }
      const verified = await verifyReceipt(parseReceipt(text), identity.keyset, identity.keysetDigest, expected)
      const leaf = toHex(await leafHash(await logEntry(await auditViewOf(verified, receiptKey))))
      const proof = fromUtf8((await get(`proof/${leaf}`)).bytes)
      await verifyInclusion(verified, receiptKey, { proof, consistency: [] }, trust, null)
    }
    const keys = new ReceiptKeys(identity.keyset)
    const lines = fromUtf8((await get('views/0', token)).bytes)
      .trimEnd()
      .split('\n')
    const statements = await Promise.all(lines.map((line) => verifyLogStatement(parseLogStatement(line), keys, identity.keysetDigest)))
    const views = statements.map(({ statement }) => statement).slice(0, 3) as AuditView[]
    expect(views.map(({ sequence }) => sequence)).toEqual([0, 1, 2])
    const digests = await Promise.all(texts.map((text) => receiptDigest(parseReceipt(text))))
    expect(views.map(({ previous }) => previous)).toEqual([null, ...digests.slice(0, 2)])
    const head = statements[3]?.statement as ChainHead
    expect(head).toMatchObject({ version: 'veritee.chain-head.v1', receipts: 3, last: digests[2] })
  })

  it('S21: while the log is away it answers; when half of the promised time is over it says that promises are at risk; then they are kept', async () => {
    const { url, away, sequencer } = await system()
    const { appender, ledger, receipt } = await enclave(url)
    away.log = true
    await receipt()
    await appender.flush()
    expect(appender.risks).toEqual([])
    clock.time += 301_000
    expect(appender.risks.join()).toContain('service_refused')
    clock.time -= 301_000
    away.log = false
    await appender.flush()
    expect([appender.risks, sequencer.head.size]).toEqual([[], 1])
    await ledger.close()
    await appender.stop()
    expect(sequencer.head.size).toBe(2)
  })

  it('S5, S21: at no time does the log have a view without those before it: neither answers at once, nor a log that comes and goes, change the order', async () => {
    const { url, away, publisher, get, sequencer } = await system()
    const { appender, ledger, receipt } = await enclave(url)
    for (const isAway of [false, true, true, false, true, false]) {
      away.log = isAway
      await Promise.all([receipt(), receipt(), receipt(), receipt()])
      await appender.flush()
    }
    expect(sequencer.head.size).toBe(24)
    await publisher.round()
    const lines = fromUtf8((await get('views/0', token)).bytes)
      .trimEnd()
      .split('\n')
    const order = lines.map((line) => (parseLogStatement(line).statement as AuditView).sequence)
    expect(order).toEqual(Array.from({ length: 24 }, (_, i) => i))
    await ledger.close()
    await appender.stop()
  })

  it('S21: killed before the log has it, the next process submits what was promised, under the old keyset', async () => {
    const { url, away, sequencer } = await system()
    const path = join(await scratch(), 'outbox')
    away.log = true
    const before = await enclave(url, {}, path)
    await before.receipt()
    await before.receipt()
    // Half a line, as a process leaves it that is killed while it writes.
    await appendFile(path, '{"statement":"{')
    away.log = false
    const after = await enclave(url, {}, path)
    expect(after.appender.waiting).toBe(2)
    await after.receipt()
    await after.appender.flush()
    expect(sequencer.head.size).toBe(3)
    expect(await readFile(path, 'utf8')).toBe('')
    // The first process was not dead after all: the log has it all already.
    await before.appender.flush()
    expect(sequencer.head.size).toBe(3)
    for (const { ledger, appender } of [before, after]) {
      await ledger.close()
      await appender.stop()
    }
  })

  it('S21: no receipt is given out whose view could not be kept', async () => {
    const { url } = await system()
    const { ledger, outbox, appender } = await enclave(url, {}, join(await scratch(), 'outbox'))
    await outbox.close()
    await expect(ledger.open(null).finish(facts({ receiptKey }))).rejects.toMatchObject({ code: 'receipt_store_unavailable' })
    expect(ledger.failing).toBe(true)
    await ledger.close().catch(() => undefined)
    await appender.stop()
  })

  it('S21: says with which code a log refuses it', async () => {
    const { url } = await system(['aa'.repeat(32)])
    const { appender, receipt, ledger } = await enclave(url)
    await receipt()
    await appender.flush()
    clock.time += 400_000
    expect(appender.risks.join()).toContain('403 (log_refused)')
    clock.time -= 400_000
    await ledger.close()
    await appender.stop()
  })

  it('without a log, receipts promise none', async () => {
    const ledger = new Ledger({ identity: await make(), now })
    expect((await ledger.open(null).finish(facts())).toString()).not.toContain('veritee.log')
    await ledger.close()
  })

  it('an outbox keeps what is left when its file is written anew, with its submitters', async () => {
    const path = join(await scratch(), 'outbox')
    const { url, away } = await system()
    away.log = true
    const first = await enclave(url, {}, path)
    await first.receipt()
    const second = await make()
    const ledger = new Ledger({ identity: second, now, log: first.appender })
    await ledger.open(null).finish(facts())
    await ledger.open(null).finish(facts())
    await first.outbox.remove(1)
    const again = await Outbox.open(path)
    // What the log has got may be submitted once more; what it has not must be there.
    expect(again.kept.slice(-2)).toEqual(first.outbox.kept)
    expect(new Set(again.kept.map(({ submitter }) => JSON.stringify(submitter))).size).toBe(2)
    const twice = await Outbox.open(path)
    expect(twice.kept).toEqual(again.kept)
    for (const one of [again, twice]) await one.close()
    for (const one of [ledger, first.ledger]) await one.close()
    await first.appender.stop()
  })
})

import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { eventOf, parseReceipt, parseReport, receiptDigest, verifyReceipt, verifyReport } from 'veritee/receipt'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Identity } from '../../src/enclave/runtime/identity.ts'
import { Ledger, type Lookup, prefixProofText } from '../../src/enclave/runtime/ledger.ts'
import { openReceiptArchive } from '../../src/enclave/runtime/receipts/open.ts'
import { openFileSealingKey } from '../../src/enclave/runtime/sealing-key.ts'
import type { StoreBounds } from '../../src/store/receipt-store.ts'
import { facts, hash, identities, now, type StateDirectory, stateDirectory, streamOf } from './enclave.ts'

let made: Awaited<ReturnType<typeof identities>>
beforeAll(async () => {
  made = await identities()
})

const directories: string[] = []
afterEach(() => Promise.all(directories.splice(0).map((directory) => rm(directory, { recursive: true, force: true }))))

async function state(): Promise<StateDirectory> {
  const directory = await stateDirectory()
  directories.push(dirname(directory.file))
  return directory
}

/** One start of an enclave over the same state: new keys, old receipts. */
async function start({ open }: StateDirectory, bounds?: Partial<StoreBounds>): Promise<{ identity: Identity; ledger: Ledger }> {
  const identity = await made.make()
  return { identity, ledger: new Ledger({ identity, now, archive: await open(bounds), report: await identity.report(null), waitMs: 50 }) }
}

function found(lookup: Lookup): Extract<Lookup, { kind: 'found' }> {
  if (lookup.kind !== 'found') throw new Error(`expected a receipt, found ${lookup.kind}`)
  return lookup
}

describe('receipts in a file', () => {
  test('S25: are served after a restart, to their credential only, and verify under their old keyset with its evidence', async () => {
    const directory = await state()
    const before = await start(directory)
    const receipt = before.ledger.open('secret')
    const text = (await receipt.finish(facts({ chatId: 'chat-1', stream: await streamOf(5) }))).toString()
    await before.ledger.close()

    const { identity, ledger } = await start(directory)
    expect(identity.keysetDigest).not.toBe(before.identity.keysetDigest)
    for (const id of [receipt.id, 'chat-1']) {
      expect(found(await ledger.find(id, 'secret'))).toMatchObject({ id: receipt.id, text, upstream: null })
      expect((await ledger.find(id, null)).kind).toBe('unauthorized')
      expect((await ledger.find(id, 'secreT')).kind).toBe('not_found')
    }
    const { stream } = found(await ledger.find(receipt.id, 'secret'))
    expect(await prefixProofText(stream, 3)).toBe(await prefixProofText(await streamOf(5), 3))

    const report = parseReport((await ledger.document('keyset', before.identity.keysetDigest)) ?? '')
    const { keyset, keysetDigest } = await verifyReport(report, null, { roots: [made.platform.root] }, now())
    const expected = { requestHash: hash, responseHash: hash, clientNonce: null }
    expect(await verifyReceipt(parseReceipt(text), keyset, keysetDigest, expected)).toMatchObject({ receiptId: receipt.id })
    expect(await ledger.document('keyset', identity.keysetDigest)).toBeNull()
    await ledger.close()
  })

  test('S21: the sequence begins at 0 with each keyset, and has no gaps within one', async () => {
    const directory = await state()
    for (let run = 0; run < 2; run++) {
      const { ledger } = await start(directory)
      const pending = Array.from({ length: 40 }, () => ledger.open(null))
      const texts = await Promise.all(
        pending.map(async (receipt, i) => {
          if (i % 3 === 0) await new Promise((resolve) => setTimeout(resolve, i % 7))
          if (i % 5 === 4) receipt.abandon()
          return i % 5 === 4 ? null : receipt.finish(facts())
        }),
      )
      const receipts = texts.filter((text) => text !== null).map((text) => parseReceipt(text.toString()))
      const inOrder = receipts.toSorted((a, b) => (eventOf(a, 'veritee.chain')?.sequence ?? 0) - (eventOf(b, 'veritee.chain')?.sequence ?? 0))
      let previous: string | null = null
      for (const [i, receipt] of inOrder.entries()) {
        expect(eventOf(receipt, 'veritee.chain')).toMatchObject({ sequence: i, previous })
        previous = await receiptDigest(receipt)
      }
      expect(inOrder.length).toBe(32)
      await ledger.close()
    }
  })

  test('a session is kept with the receipts that cite it, and the proof of a worker that is gone is made from what was passed on', async () => {
    const directory = await state()
    const { ledger } = await start(directory)
    const receipt = ledger.open(null)
    const stream = await streamOf(6)
    const gone = (): Promise<string> => Promise.reject(new Error('nobody is asked'))
    const upstream = { text: Buffer.from('{"worker":true}'), events: 5, prefixProof: gone }
    await receipt.finish(facts({ stream, upstream, session: { id: 'ab'.repeat(32), text: '{"session":true}' } }))
    const partial = ledger.open(null)
    await partial.finish(facts({ stream, upstream: { text: Buffer.from('{}'), events: 7, prefixProof: (k) => Promise.resolve(`asked for ${k}`) } }))
    expect(await found(await ledger.find(partial.id, null)).upstream?.prefixProof(2)).toBe('asked for 2')
    await ledger.close()

    const after = await start(directory)
    expect(await after.ledger.document('session', 'ab'.repeat(32))).toBe('{"session":true}')
    expect(await after.ledger.document('session', 'cd'.repeat(32))).toBeNull()
    const kept = found(await after.ledger.find(receipt.id, null)).upstream
    expect(kept?.text).toBe('{"worker":true}')
    expect(await kept?.prefixProof(2)).toBe(await prefixProofText(await streamOf(5), 2))
    expect(await kept?.prefixProof(6)).toBeNull()
    expect(await found(await after.ledger.find(partial.id, null)).upstream?.prefixProof(2)).toBeNull()
    await after.ledger.close()
  })

  test('S25: a keyset goes with its last receipt, and comes back with the next', async () => {
    const directory = await state()
    const old = await start(directory)
    const receipt = old.ledger.open(null)
    await receipt.finish(facts())
    await old.ledger.close()
    const { identity, ledger } = await start(directory, { maxAnswers: 2 })
    const digests = [old.identity.keysetDigest, identity.keysetDigest]
    const kept = (): Promise<boolean[]> => Promise.all(digests.map(async (digest) => (await ledger.document('keyset', digest)) !== null))
    await ledger.open(null).finish(facts())
    expect(await kept()).toEqual([true, true])
    await ledger.open(null).finish(facts())
    expect(await kept()).toEqual([false, true])
    expect((await ledger.find(receipt.id, null)).kind).toBe('not_found')
    expect(ledger.figures).toMatchObject({ veritee_store_answers: 2, veritee_store_removed_receipts_total: 1, veritee_store_rejected_rows_total: 0 })
    await ledger.close()
  })

  test('one that is past its age is not served, removed or not', async () => {
    const { open } = await state()
    const identity = await made.make()
    let at = Date.now()
    const ledger = new Ledger({ identity, now: () => new Date(at), archive: await open({ maxAgeSeconds: 100 }), report: await identity.report(null) })
    const receipt = ledger.open(null)
    await receipt.finish(facts({ chatId: 'chat' }))
    at += 99_000
    expect((await ledger.find('chat', null)).kind).toBe('found')
    at += 3_000
    expect((await ledger.find('chat', null)).kind).toBe('not_found')
    expect(ledger.size).toBe(1)
    await ledger.open(null).finish(facts())
    expect(ledger.size).toBe(1)
    await ledger.close()
  })

  test('are not opened under another key, and not begun anew', async () => {
    const { file, open } = await state()
    await (await open()).close()
    const other = await openFileSealingKey(join(dirname(file), 'other.key'))
    await expect(openReceiptArchive({ path: file, sealing: other })).rejects.toMatchObject({ code: 'receipt_store_invalid' })
    await (await open()).close()
  })
})

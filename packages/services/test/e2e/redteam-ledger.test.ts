import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { utf8 } from 'veritee/bytes'
import { eventOf, parseReceipt, type ReceiptEvent, receiptDigest, StreamTree } from 'veritee/receipt'
import { beforeAll, describe, expect, test } from 'vitest'
import { simulateMachine } from '../../src/demo/system.ts'
import { createIdentity, type Identity } from '../../src/enclave/runtime/identity.ts'
import { Ledger, type ReceiptFacts } from '../../src/enclave/runtime/ledger.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { ReceiptArchive } from '../../src/enclave/runtime/receipts/archive.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import { write } from '../../src/http/body.ts'
import { RateLimit } from '../../src/http/rate-limit.ts'
import { now } from './network.ts'

/** Receipts under somebody who asks much, chooses ids, or never reads. */

let identity: Identity
beforeAll(async () => {
  const { platform, enclaves } = await simulateMachine(now)
  identity = await createIdentity({
    descriptor: {
      version: 'veritee.descriptor.v1',
      role: 'worker',
      configuration_digest: `sha256:${'0'.repeat(64)}`,
      models: [],
      engine: null,
      admission: null,
      operator_key: null,
      release: { version: '0', commit: null },
      extensions: {},
    },
    quoter: createQuoter(createSimDevice(platform, enclaves.worker)),
    collateral: () => platform.collateral,
    now,
  })
})

const hash = `sha256:${'0'.repeat(64)}`
const events: readonly ReceiptEvent[] = [
  { type: 'request.received', body_hash: hash },
  { type: 'response.returned', body_hash: hash },
]
const facts = (changes: Partial<ReceiptFacts> = {}): ReceiptFacts => ({ chatId: null, model: 'm', endpoint: '/', events, stream: null, ...changes })

async function streamOf(count: number): Promise<StreamTree> {
  const tree = new StreamTree()
  for (let i = 0; i < count; i++) await tree.append(utf8(`data: ${i}\n\n`))
  return tree
}

async function kindOf(ledger: Ledger, id: string, credential: string | null = null): Promise<string> {
  return (await ledger.find(id, credential)).kind
}

describe('the ledger', () => {
  test('S22: a receipt that is being written is not evicted by others, and its stream is taken off the count when it goes', async () => {
    const ledger = new Ledger({ identity, now, archive: ReceiptArchive.inMemory({ maxAnswers: 4 }), waitMs: 50 })
    const slow = ledger.open(null)
    for (let i = 0; i < 6; i++) await ledger.open(null).finish(facts())
    await slow.finish(facts({ stream: await streamOf(6) }))
    expect(await kindOf(ledger, slow.id)).toBe('found')
    for (let i = 0; i < 6; i++) await ledger.open(null).finish(facts())
    expect(await kindOf(ledger, slow.id)).toBe('not_found')
    // Had the leaves of the one that went stayed on the count, nothing could be kept any more.
    const last = ledger.open(null)
    await last.finish(facts({ stream: await streamOf(6) }))
    const after = ledger.open(null)
    await after.finish(facts())
    expect([await kindOf(ledger, last.id), await kindOf(ledger, after.id)]).toEqual(['found', 'found'])
  })

  test('a chat id that a worker chose shadows neither a receipt id nor the chat id of another requester', async () => {
    const ledger = new Ledger({ identity, now, waitMs: 50 })
    const victim = ledger.open('key-of-victim')
    await victim.finish(facts({ chatId: 'chatcmpl-1' }))
    for (const chatId of [victim.id, 'chatcmpl-1']) {
      const attacker = ledger.open('key-of-attacker')
      await attacker.finish(facts({ chatId }))
      expect(await ledger.find(chatId, 'key-of-victim')).toMatchObject({ kind: 'found', id: victim.id })
      expect(await kindOf(ledger, chatId, 'key-of-attacker')).toBe('not_found')
      expect(await kindOf(ledger, chatId)).toBe('unauthorized')
    }
  })

  test('a chat id goes with its receipt, and not before', async () => {
    const ledger = new Ledger({ identity, now, archive: ReceiptArchive.inMemory({ maxAnswers: 2 }), waitMs: 50 })
    await ledger.open(null).finish(facts({ chatId: 'chat' }))
    await ledger.open(null).finish(facts({ chatId: 'other' }))
    expect(await kindOf(ledger, 'chat')).toBe('found')
    await ledger.open(null).finish(facts())
    expect([await kindOf(ledger, 'chat'), await kindOf(ledger, 'other')]).toEqual(['not_found', 'found'])
  })

  test('what is signed cannot be abandoned: the chain has no hole that only its owner knows of', async () => {
    const ledger = new Ledger({ identity, now, waitMs: 50 })
    const receipt = ledger.open(null)
    await receipt.finish(facts())
    receipt.abandon()
    expect(await kindOf(ledger, receipt.id)).toBe('found')
  })

  test('receipts finished in any order, at once and between abandoned ones, form one chain without gaps', async () => {
    const ledger = new Ledger({ identity, now, waitMs: 50 })
    const pending = Array.from({ length: 20 }, () => ledger.open(null))
    const texts = await Promise.all(
      pending.toReversed().map(async (receipt, i) => {
        await Promise.resolve()
        if (i % 4 === 3) receipt.abandon()
        return i % 4 === 3 ? null : receipt.finish(facts())
      }),
    )
    const receipts = texts.filter((text) => text !== null).map((text) => parseReceipt(text.toString()))
    const links = receipts.map((receipt) => eventOf(receipt, 'veritee.chain'))
    const order = links.map((link, i) => ({ link, i })).sort((a, b) => (a.link?.sequence ?? 0) - (b.link?.sequence ?? 0))
    expect(order.map(({ link }) => link?.sequence)).toEqual(Array.from({ length: 15 }, (_, i) => i))
    let previous: string | null = null
    for (const { link, i } of order) {
      expect(link?.previous).toBe(previous)
      previous = await receiptDigest(receipts[i] as (typeof receipts)[number])
    }
  })

  test('a lookup of a receipt that is never written ends, and leaves no timer behind the answer of one that is', async () => {
    const ledger = new Ledger({ identity, now, waitMs: 100 })
    const receipt = ledger.open(null)
    const started = performance.now()
    expect(await kindOf(ledger, receipt.id)).toBe('not_found')
    expect(performance.now() - started).toBeGreaterThan(90)
    const waiting = ledger.find(receipt.id, null)
    receipt.abandon()
    expect((await waiting).kind).toBe('not_found')
  })
})

/** A peer whose window is shut. */
class Shut extends EventEmitter {
  destroyed = false
  readonly writableEnded = false
  write(): boolean {
    return false
  }
  destroy(): void {
    this.destroyed = true
    this.emit('close')
  }
}

test('S22: a reader who takes nothing is cut off, and leaves no listeners; one who reads again is not', async () => {
  const shut = new Shut()
  expect(await write(shut as unknown as ServerResponse, utf8('x'), 50)).toBe(false)
  expect(shut.destroyed).toBe(true)
  const slow = new Shut()
  setTimeout(() => slow.emit('drain'), 20)
  expect(await write(slow as unknown as ServerResponse, utf8('x'), 2000)).toBe(true)
  expect([slow.listenerCount('drain'), slow.listenerCount('close'), shut.listenerCount('drain'), shut.listenerCount('close')]).toEqual([0, 0, 0, 0])
})

test('S22: the limit per address is bounded in memory and forgets nobody who still asks', () => {
  let at = 0
  const limit = new RateLimit({ perSecond: 1, burst: 2, now: () => new Date(at), maxAddresses: 100 })
  expect([limit.take('a'), limit.take('a'), limit.take('a')]).toEqual([0, 0, 1])
  for (let i = 0; i < 50; i++) limit.take(`x${i}`)
  expect(limit.take('a')).toBe(1)
  // A clock that runs backwards gives nothing.
  at = -1_000_000
  expect(limit.take('a')).toBe(1)
})

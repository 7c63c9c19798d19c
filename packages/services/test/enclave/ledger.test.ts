import { createSimPlatform } from 'veritee/attestation/sim'
import { utf8 } from 'veritee/bytes'
import { eventOf, parseReceipt, parseReport, receiptDigest, StreamTree, verifyReceipt, verifyReport } from 'veritee/receipt'
import { beforeAll, describe, expect, test } from 'vitest'
import { createIdentity, type Identity } from '../../src/enclave/runtime/identity.ts'
import { Ledger, prefixProofText } from '../../src/enclave/runtime/ledger.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { ReceiptArchive } from '../../src/enclave/runtime/receipts/archive.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'

const now = (): Date => new Date()
const hash = `sha256:${'0'.repeat(64)}`
const facts = (chatId: string | null = null, stream: StreamTree | null = null) => ({
  chatId,
  model: 'm',
  endpoint: '/v1/chat/completions',
  stream,
  events: [{ type: 'request.received', body_hash: hash } as const, { type: 'response.returned', body_hash: hash } as const],
})

let identity: Identity
let makeIdentity: () => Promise<Identity>
beforeAll(async () => {
  const platform = await createSimPlatform({ at: now() })
  const enclave = { mrenclave: '11'.repeat(32), mrsigner: '22'.repeat(32), isvProdId: 1, isvSvn: 1 }
  const descriptor = {
    version: 'veritee.descriptor.v1',
    role: 'worker',
    configuration_digest: hash,
    models: [],
    engine: null,
    admission: null,
    operator_key: null,
    release: { version: '0', commit: null },
    extensions: {},
  } as const
  const quoter = createQuoter(createSimDevice(platform, enclave))
  makeIdentity = () => createIdentity({ descriptor, quoter, collateral: () => platform.collateral, now })
  identity = await makeIdentity()
  const report = await verifyReport(parseReport(await identity.report('ab'.repeat(32))), 'ab'.repeat(32), { roots: [platform.root] }, now())
  expect(report.claims.simulated).toBe(true)
})

describe('identity', () => {
  test('S7: the subject is the digest of the descriptor, and two identities share nothing', async () => {
    const other = await makeIdentity()
    expect(identity.keyset.subject).toMatch(/^urn:veritee:service:sha256:[0-9a-f]{64}$/)
    expect(other.keyset.subject).toBe(identity.keyset.subject)
    expect(other.keysetDigest).not.toBe(identity.keysetDigest)
    expect(other.keyset.receipt_signing_keys[0]?.public_key).not.toBe(identity.keyset.receipt_signing_keys[0]?.public_key)
    expect(other.keyset.tls_public_keys[0]?.spki_sha256).not.toBe(identity.keyset.tls_public_keys[0]?.spki_sha256)
  })

  test('S25: a keyset lives at most 24 hours', () => {
    expect(identity.keyset.not_after - now().getTime() / 1000).toBeLessThanOrEqual(86_400)
  })
})

describe('ledger', () => {
  test('receipts verify under the keyset and form one chain, whatever the order of finishing', async () => {
    const ledger = new Ledger({ identity, now })
    const pending = Array.from({ length: 20 }, () => ledger.open(null))
    const texts = await Promise.all([...pending].reverse().map((receipt) => receipt.finish(facts())))
    const receipts = texts.map((text) => parseReceipt(text.toString()))
    for (const receipt of receipts)
      await verifyReceipt(receipt, identity.keyset, identity.keysetDigest, { requestHash: hash, responseHash: hash, clientNonce: null })
    const links = receipts.map((receipt) => eventOf(receipt, 'veritee.chain'))
    expect(links.map((link) => link?.sequence)).toEqual(Array.from({ length: 20 }, (_, i) => i))
    expect(links[0]?.previous).toBeNull()
    for (const [i, receipt] of receipts.slice(0, -1).entries()) expect(links[i + 1]?.previous).toBe(await receiptDigest(receipt))
  })

  test('a lookup waits for a receipt that is being written, and gives up in time', async () => {
    const ledger = new Ledger({ identity, now, waitMs: 50 })
    const [soon, never] = [ledger.open(null), ledger.open(null)]
    const found = ledger.find(soon.id, null)
    await soon.finish(facts())
    expect((await found).kind).toBe('found')
    expect((await ledger.find(never.id, null)).kind).toBe('not_found')
  })

  test('an abandoned receipt is not found, and those who wait are told at once', async () => {
    const ledger = new Ledger({ identity, now })
    const receipt = ledger.open(null)
    const found = ledger.find(receipt.id, null)
    receipt.abandon()
    expect((await found).kind).toBe('not_found')
    expect(ledger.size).toBe(0)
  })

  test('a receipt belongs to its credential', async () => {
    const ledger = new Ledger({ identity, now })
    const receipt = ledger.open('secret')
    await receipt.finish(facts('chat-1'))
    for (const id of [receipt.id, 'chat-1']) {
      expect((await ledger.find(id, null)).kind).toBe('unauthorized')
      expect((await ledger.find(id, 'secreT')).kind).toBe('not_found')
      expect((await ledger.find(id, 'secret')).kind).toBe('found')
    }
  })

  test('keeps a bounded number of receipts, the newest', async () => {
    const ledger = new Ledger({ identity, now, archive: ReceiptArchive.inMemory({ maxAnswers: 3 }) })
    const ids: string[] = []
    for (let i = 0; i < 5; i++) {
      const receipt = ledger.open(null)
      ids.push(receipt.id)
      await receipt.finish(facts(`chat-${i}`))
    }
    const kinds = await Promise.all(ids.map(async (id) => (await ledger.find(id, null)).kind))
    expect(kinds).toEqual(['not_found', 'not_found', 'found', 'found', 'found'])
    expect((await ledger.find('chat-0', null)).kind).toBe('not_found')
  })

  test('and of bytes, in which the hashes of streams count', async () => {
    const ledger = new Ledger({ identity, now, archive: ReceiptArchive.inMemory({ maxBytes: 10_000 }) })
    const stream = new StreamTree()
    for (let i = 0; i < 200; i++) await stream.append(utf8(`${i}`))
    for (let i = 0; i < 3; i++) await ledger.open(null).finish(facts())
    expect(ledger.size).toBe(3)
    for (let i = 0; i < 2; i++) await ledger.open(null).finish(facts(null, stream))
    expect(ledger.size).toBe(1)
  })

  test('refusals, which cost nothing, do not push out the receipts of answers', async () => {
    const ledger = new Ledger({ identity, now, archive: ReceiptArchive.inMemory({ maxAnswers: 2, maxRefusals: 3 }) })
    const answer = ledger.open(null)
    await answer.finish(facts())
    const refused = { ...facts(), events: [...facts().events, { type: 'veritee.outcome', outcome: 'refused' } as const] }
    const ids: string[] = []
    for (let i = 0; i < 50; i++) {
      const receipt = ledger.open(null)
      ids.push(receipt.id)
      await receipt.finish(refused)
    }
    expect((await ledger.find(answer.id, null)).kind).toBe('found')
    expect((await Promise.all(ids.map(async (id) => (await ledger.find(id, null)).kind))).filter((kind) => kind === 'found').length).toBe(3)
    expect(ledger.size).toBe(4)
  })

  test('S9: a prefix proof exists for 1 to all events, and for nothing else', async () => {
    const stream = new StreamTree()
    for (let i = 0; i < 5; i++) await stream.append(utf8(`data: ${i}\n\n`))
    expect(await prefixProofText(stream, 3)).toContain('"prefix":3')
    for (const prefix of [0, 6, -1]) expect(await prefixProofText(stream, prefix)).toBeNull()
    expect(await prefixProofText(null, 1)).toBeNull()
  })
})

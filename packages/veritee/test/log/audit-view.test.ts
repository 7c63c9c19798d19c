import { createHash, createHmac } from 'node:crypto'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { consistencyProof, jcs, leafHash, merkleRoot, utf8 } from '../../src/bytes/index.ts'
import { generateEd25519 } from '../../src/crypto/index.ts'
import {
  auditViewOf,
  cosign,
  inclusionProof,
  isPromiseDue,
  type LogTrust,
  logEntry,
  type NoteSigner,
  noteSigner,
  parseLogStatement,
  parseLogTrust,
  parseNote,
  signatureLine,
  signCheckpoint,
  signLogStatement,
  tlogProofText,
  verifierKeyText,
  verifyCheckpoint,
  verifyInclusion,
  verifyLogStatement,
} from '../../src/log/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { Enclave, inference } from './signed-receipt.ts'

const origin = 'log.example/receipts'
const receiptKey = new Uint8Array(32).fill(7)
let enclave: Enclave
beforeAll(async () => {
  enclave = await Enclave.create()
})

describe('audit views', () => {
  it('S6: a view has no digest of content but keyed ones, no seed, nothing that the requester wrote, and counts in buckets', async () => {
    const receipt = await enclave.receipt(origin, 1_700_000_600, inference, receiptKey)
    const view = await auditViewOf(receipt, receiptKey)
    const keyed = (byte: string): string =>
      createHmac('sha256', receiptKey)
        .update(Buffer.from(byte.repeat(32), 'hex'))
        .digest('hex')
    expect(view.content).toEqual({ request_received: keyed('a1'), request_forwarded: keyed('a2'), response_returned: keyed('a3') })
    expect(view.tokens).toEqual({ prompt: 64, completion: 1 })
    expect(view.parameters).toEqual({ temperature: '0.7', top_k: 40, seed_source: 'client' })
    const text = jcs(view as never)
    for (const secret of ['a1a1a1a1', 'a2a2a2a2', 'a3a3a3a3', 'c1c1c1c1', 'c2c2c2c2', 'secret', '2a"', '475', '12:1', 'rcpt-', 'user'])
      expect(text).not.toContain(secret)
    expect((await auditViewOf(await enclave.receipt(origin, 1_700_000_600, inference), null)).content).toBeNull()
  })

  it('S6: the entry is the hash of what is signed, and says nothing without the view', async () => {
    const view = await auditViewOf(await enclave.receipt(origin, 1_700_000_600, inference, receiptKey), receiptKey)
    const wanted = createHash('sha256')
      .update(`veritee.audit-view.v1\n${jcs(view as never)}`)
      .digest()
    expect(Buffer.from(await logEntry(view)).equals(wanted)).toBe(true)
  })

  it('a signed view verifies under its keyset; another keyset, and any changed member, do not', async () => {
    const view = await auditViewOf(await enclave.receipt(origin, 1_700_000_600, inference, receiptKey), receiptKey)
    const text = await signLogStatement(view, (message) => enclave.key.sign(message))
    const verify = (of: string, by = enclave) => verifyLogStatement(parseLogStatement(of), by.keys, by.keysetDigest)
    expect((await verify(text)).statement).toEqual(view)
    const other = await Enclave.create()
    expect(await refusal(() => verify(text, other))).toBe('audit_view_keyset_mismatch')
    expect(await refusal(() => verifyLogStatement(parseLogStatement(text), other.keys, enclave.keysetDigest))).toBe('audit_view_signature_invalid')
    await fc.assert(
      fc.asyncProperty(fc.nat(text.length - 1), fc.constantFrom('0', '1', 'a', 'f', '"', '}', 'e'), async (at, by) => {
        const changed = text.slice(0, at) + by + text.slice(at + 1)
        if (changed !== text) expect(await refusal(() => verify(changed))).not.toBe('accepted')
      }),
      { numRuns: 300 },
    )
  })

  it('a chain head tells count and last receipt', async () => {
    const head = {
      version: 'veritee.chain-head.v1',
      log: { origin, promised_by: 1_700_000_600 },
      workload_keyset_digest: enclave.keysetDigest,
      key_id: 'receipt-1',
      at: 1_700_000_000,
      receipts: 3,
      last: `sha256:${'d1'.repeat(32)}`,
    } as const
    const text = await signLogStatement(head, (message) => enclave.key.sign(message))
    expect((await verifyLogStatement(parseLogStatement(text), enclave.keys, enclave.keysetDigest)).statement).toEqual(head)
    expect(await refusal(() => parseLogStatement(text.replace('"receipts":3', '"receipts":0')))).toBe('audit_view_malformed')
  })

  it('S5: a view is made with the key that the receipt commits to, and with no other, nor without it', async () => {
    const receipt = await enclave.receipt(origin, 1_700_000_600, inference, receiptKey)
    for (const key of [null, new Uint8Array(32), new Uint8Array(32).fill(8)])
      expect(await refusal(() => auditViewOf(receipt, key))).toBe('receipt_key_mismatch')
    const without = await enclave.receipt(origin, 1_700_000_600, inference)
    expect(await refusal(() => auditViewOf(without, receiptKey))).toBe('receipt_key_mismatch')
  })

  it('a receipt without a promise has no view', async () => {
    const receipt = await enclave.receipt(null, 1_700_000_600)
    expect(await refusal(() => auditViewOf(receipt, receiptKey))).toBe('audit_view_malformed')
  })

  it.each<[string, (view: Record<string, unknown>) => void]>([
    ['a member more', (view) => Object.assign(view, { prompt: 'x' })],
    ['a member less', (view) => void delete view.tokens],
    ['a count that is no bucket', (view) => Object.assign(view, { tokens: { prompt: 37, completion: 1 } })],
    ['a parameter that the requester wrote', (view) => Object.assign(view, { parameters: { stop: ['x'] } })],
    ['another version', (view) => Object.assign(view, { version: 'veritee.audit-view.v2' })],
    ['a digest of content without key', (view) => Object.assign(view, { content: { request_received: `sha256:${'a1'.repeat(32)}` } })],
    ['a fraction', (view) => Object.assign(view, { sequence: 1.5 })],
  ])('refused: %s', async (_, change) => {
    const view = await auditViewOf(await enclave.receipt(origin, 1_700_000_600, inference, receiptKey), receiptKey)
    const text = await signLogStatement(view, (message) => enclave.key.sign(message))
    const document = JSON.parse(text) as Record<string, unknown>
    change(document)
    expect(await refusal(() => parseLogStatement(JSON.stringify(document)))).toBe('audit_view_malformed')
  })
})

describe('inclusion of a receipt', () => {
  let log: NoteSigner
  let witnesses: readonly NoteSigner[]
  let trust: LogTrust
  beforeAll(async () => {
    log = await noteSigner(origin, 'ed25519', await generateEd25519())
    witnesses = await Promise.all(['w1.example', 'w2.example'].map(async (name) => noteSigner(name, 'cosignature', await generateEd25519())))
    trust = await parseLogTrust({
      origin,
      key: verifierKeyText(log.verifier),
      witnesses: witnesses.map(({ verifier }) => verifierKeyText(verifier)),
      quorum: 2,
    })
  })

  async function checkpoint(leaves: readonly Uint8Array[], unixSeconds: number): Promise<string> {
    const note = await signCheckpoint({ origin, size: leaves.length, root: await merkleRoot(leaves), extensions: [] }, log)
    const lines = await Promise.all(witnesses.map((witness) => cosign(parseNote(note).text, witness, unixSeconds)))
    return note + lines.map(signatureLine).join('')
  }
  const proofOf = async (leaves: readonly Uint8Array[], index: number): Promise<string> =>
    tlogProofText({ extra: null, index, path: await inclusionProof(leaves, index), checkpoint: await checkpoint(leaves, 1_700_000_500) })

  it('S21: a receipt in the log is found by its requester, who remembers the checkpoint', async () => {
    const receipts = [
      await enclave.receipt(origin, 1_700_000_600, inference, receiptKey),
      await enclave.receipt(origin, 1_700_000_600, inference, receiptKey),
    ]
    const leaves: Uint8Array[] = [await leafHash(utf8('something else'))]
    for (const receipt of receipts) leaves.push(await leafHash(await logEntry(await auditViewOf(receipt, receiptKey))))
    const [first, second] = receipts
    if (first === undefined || second === undefined) throw new Error('two receipts')
    const early = leaves.slice(0, 2)
    const one = await verifyInclusion(first, receiptKey, { proof: await proofOf(early, 1), consistency: [] }, trust, null)
    expect(one).toMatchObject({ index: 1, seen: { size: 2 } })
    const offered = { proof: await proofOf(leaves, 2), consistency: await consistencyProof(leaves, 2) }
    expect(await verifyInclusion(second, receiptKey, offered, trust, one.seen)).toMatchObject({ index: 2, seen: { size: 3 } })

    // A log with another past, whose proof is as good.
    const forked = [await leafHash(utf8('another past')), ...leaves.slice(1)]
    const fork = { proof: await proofOf(forked, 2), consistency: await consistencyProof(forked, 2) }
    expect(await refusal(() => verifyInclusion(second, receiptKey, fork, trust, one.seen))).toBe('log_consistency_invalid')
    // Another receipt, another key, another log, no promise.
    expect(await refusal(() => verifyInclusion(first, receiptKey, offered, trust, one.seen))).toBe('log_inclusion_invalid')
    expect(await refusal(() => verifyInclusion(second, new Uint8Array(32), offered, trust, one.seen))).toBe('receipt_key_mismatch')
    expect(await refusal(async () => verifyInclusion(await enclave.receipt('other', 1_700_000_600), receiptKey, offered, trust, null))).toBe(
      'log_origin_mismatch',
    )
    expect(await refusal(async () => verifyInclusion(await enclave.receipt(null, 1_700_000_600), receiptKey, offered, trust, null))).toBe(
      'log_promise_missing',
    )
  })

  it('S21: a promise is due by the time of the witnesses, not before', async () => {
    const receipt = await enclave.receipt(origin, 1_700_000_600)
    const at = async (time: number) => verifyCheckpoint(await checkpoint([], time), trust)
    expect(isPromiseDue(receipt, trust, await at(1_700_000_600), 0)).toBe(false)
    expect(isPromiseDue(receipt, trust, await at(1_700_000_601), 0)).toBe(true)
    expect(isPromiseDue(receipt, trust, await at(1_700_000_601), 60)).toBe(false)
  })
})

import { generateKeyPairSync } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Json } from '../../src/bytes/index.ts'
import { type Keyset, maxReceiptBytes, parseReceipt, type ReceiptEvent, receiptDigest, upstreamOf, verifyReceipt } from '../../src/receipt/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { createEnclave, engine, modelEvent, nonceOf, resigned, sha, signed, type TestEnclave } from './enclaves.ts'

let worker: TestEnclave
beforeAll(async () => {
  worker = await createEnclave('worker')
})

const received: ReceiptEvent = { type: 'request.received', body_hash: sha('request') }
const returned: ReceiptEvent = { type: 'response.returned', body_hash: sha('response') }
const echoed: ReceiptEvent = { type: 'veritee.request', client_nonce: nonceOf('mine') }
const inference: ReceiptEvent = {
  type: 'veritee.inference',
  engine,
  profile: 'greedy',
  prompt_tokens: 3,
  completion_tokens: 4,
  prompt_tokens_hmac: nonceOf('a'),
  completion_tokens_hmac: nonceOf('b'),
  parameters: { temperature: '0.7', n: 1, stop: ['a'], stream: true, seed: null },
  seed: null,
  ignored_parameters: ['user'],
  outcome: 'complete',
}
const verified: ReceiptEvent = { type: 'upstream.verified', result: 'verified', required: true, model_id: 'm', session_id: nonceOf('session') }
const failed: ReceiptEvent = { type: 'upstream.verified', result: 'failed', required: true, model_id: 'm', reason: 'busy' }
const others: readonly ReceiptEvent[] = [
  { type: 'request.forwarded', body_hash: sha('forwarded') },
  verified,
  modelEvent,
  inference,
  {
    type: 'veritee.choices',
    choices: [
      { completion_tokens: 3, completion_tokens_hmac: 'ab'.repeat(32), outcome: 'complete' },
      { completion_tokens: 0, completion_tokens_hmac: 'cd'.repeat(32), outcome: 'aborted' },
    ],
  },
  { type: 'veritee.chain', sequence: 0, previous: null },
  { type: 'veritee.stream', events: 2, bytes: 20, root: sha('root') },
  { type: 'veritee.upstream_receipt', digest: sha('receipt'), result: 'match', reason: null },
  { type: 'veritee.response.received', body_hash: sha('response'), events: null, root: null },
  { type: 'veritee.outcome', outcome: 'complete' },
]
const full = [received, echoed, ...others, returned]
const parse = (events: readonly (ReceiptEvent | Json)[], changes: { readonly [name: string]: Json } = {}): Promise<string> =>
  refusal(() => parseReceipt(worker.receipt(events, changes)))

describe('a receipt document', () => {
  it('reads every event the product makes', () => {
    expect(parseReceipt(worker.receipt(full)).events).toEqual(full)
  })
  it('ignores events of unknown types but keeps them under the signature', async () => {
    const receipt = parseReceipt(worker.receipt([received, { type: 'vendor.note', deep: { a: [1] } }, returned]))
    expect([receipt.events.length, (receipt.document.event_log as Json[]).length]).toEqual([2, 3])
    expect(
      await refusal(() => verifyReceipt(receipt, worker.keyset, worker.digest, { requestHash: null, responseHash: null, clientNonce: null })),
    ).toBe('accepted')
  })
  it.each(full.filter(({ type }) => type !== 'upstream.verified').map((event) => [event.type, event] as const))(
    'S10: refuses a second event %s, which could say something else',
    async (_, event) => {
      expect(await parse([...full.slice(0, -1), event, returned])).toBe('receipt_malformed')
    },
  )
  it('takes further failed attempts at upstreams, but one that served', async () => {
    expect(await parse([received, failed, verified, returned])).toBe('accepted')
    expect(upstreamOf(parseReceipt(worker.receipt([received, failed, verified, failed, returned])))).toEqual(verified)
    expect(upstreamOf(parseReceipt(worker.receipt([received, failed, returned])))).toEqual(failed)
    expect(upstreamOf(parseReceipt(worker.receipt([received, returned])))).toBeUndefined()
    expect(await parse([received, verified, { ...verified, session_id: nonceOf('other') }, returned])).toBe('receipt_malformed')
  })
  it.each<[string, readonly (ReceiptEvent | Json)[]]>([
    ['no events', []],
    ['another first event', [echoed, received, returned]],
    ['no request', [returned]],
    ['no response', [received, echoed]],
    ['an event that is no object', [received, 'x', returned]],
    ['an event without a type', [received, {}, returned]],
    ['a type past its bound', [received, { type: 'x'.repeat(65) }, returned]],
    ['too many events', [received, ...Array.from({ length: 255 }, () => ({ type: 'x' })), returned]],
    ['a fraction in an unknown event', [received, { type: 'x', value: 0.5 }, returned]],
    ['an unsafe integer in an unknown event', [received, { type: 'x', value: [{ v: 1e300 }] }, returned]],
    ['a verified upstream without a session', [received, { ...verified, session_id: null } as Json, returned]],
    ['a verified upstream with a reason', [received, { ...verified, reason: 'x' } as Json, returned]],
    ['a failed upstream with a session', [received, { ...failed, session_id: nonceOf('session') } as Json, returned]],
    ['an upstream name that is no text', [received, { ...verified, upstream_name: 7 } as Json, returned]],
    ['an upstream with a third result', [received, { ...verified, result: 'unknown' } as Json, returned]],
    ['a nonce in capitals', [received, { type: 'veritee.request', client_nonce: 'AB'.repeat(32) }, returned]],
    ['a digest without its prefix', [received, { type: 'response.returned', body_hash: 'ab'.repeat(32) }]],
    ['another member in a known event', [received, { ...returned, note: 1 }]],
    ['weights of unknown provenance', [received, { ...modelEvent, provenance: 'trust_me' } as Json, returned]],
    ['weights with a size below zero', [received, { ...modelEvent, files: [{ name: 'a', sha256: sha('a'), size: -1 }] } as Json, returned]],
    ['a parameter that is an object', [received, { ...inference, parameters: { a: {} } } as Json, returned]],
    ['a parameter that is a negative number', [received, { ...inference, parameters: { a: -1 } } as Json, returned]],
    [
      'one choice only',
      [
        received,
        { type: 'veritee.choices', choices: [{ completion_tokens: 3, completion_tokens_hmac: 'ab'.repeat(32), outcome: 'complete' }] },
        returned,
      ],
    ],
    [
      'a choice without its digest',
      [received, { type: 'veritee.choices', choices: Array(2).fill({ completion_tokens: 3, outcome: 'complete' }) }, returned],
    ],
    ['an unknown outcome', [received, { type: 'veritee.outcome', outcome: 'fine' }, returned]],
    [
      'an unknown result of the check of the upstream',
      [received, { type: 'veritee.upstream_receipt', digest: null, result: 'ok', reason: null }, returned],
    ],
  ])('refuses %s', async (_, events) => {
    const unsigned = { event_log: events as Json, workload_keyset_digest: worker.digest }
    const text = JSON.stringify({ ...(JSON.parse(worker.receipt([received, returned])) as object), ...unsigned })
    expect(await refusal(() => parseReceipt(text))).toBe('receipt_malformed')
  })
  it.each<[string, Json]>([
    ['api_version', 'aci/2'],
    ['receipt_id', 7],
    ['receipt_id', 'x'.repeat(129)],
    ['chat_id', 0],
    ['model', {}],
    ['workload_keyset_digest', 'sha256:00'],
    ['endpoint', null],
    ['method', 17],
    ['method', 'P'.repeat(17)],
    ['served_at', -1],
    ['served_at', 1.5],
    ['served_at', '1750000000'],
    ['key_id', null],
    ['signature', '00'],
    ['signature', 'ZZ'.repeat(64)],
  ])('refuses a %s of %j', async (name, value) => {
    const document = { ...(JSON.parse(worker.receipt(full)) as object), [name]: value }
    expect(await refusal(() => parseReceipt(JSON.stringify(document)))).toBe('receipt_malformed')
  })
  it.each(['', 'null', '[]', '{}', '{"a":1,"a":2}', ' '.repeat(maxReceiptBytes + 1)])('%#: refuses what is no receipt', async (text) => {
    expect(await refusal(() => parseReceipt(text))).toBe('receipt_malformed')
  })
  it('refuses a duplicate member: what was signed could differ from what is read', async () => {
    const text = worker.receipt(full).replace('"served_at"', '"model":"other","served_at"')
    expect(await refusal(() => parseReceipt(text))).toBe('receipt_malformed')
  })
  it('has one digest for every encoding, and another for every other signature', async () => {
    const text = worker.receipt(full)
    const document = JSON.parse(text) as Record<string, Json>
    const shuffled = JSON.stringify(Object.fromEntries(Object.entries(document).reverse()), null, 1)
    expect(await receiptDigest(parseReceipt(shuffled))).toBe(await receiptDigest(parseReceipt(text)))
    expect(await receiptDigest(parseReceipt(JSON.stringify({ ...document, signature: '00'.repeat(64) })))).not.toBe(
      await receiptDigest(parseReceipt(text)),
    )
  })
})

describe('verification of a receipt', () => {
  const matching = { requestHash: sha('request'), responseHash: sha('response'), clientNonce: nonceOf('mine') }
  const outcome = (text: string, expected = matching, keyset: Keyset = worker.keyset, digest = worker.digest): Promise<string> =>
    refusal(() => verifyReceipt(parseReceipt(text), keyset, digest, expected))

  it('accepts the rightful one', async () => {
    expect(await outcome(worker.receipt(full))).toBe('accepted')
  })
  it('compares request, response and nonce, each with its own code', async () => {
    const text = worker.receipt(full)
    expect(await outcome(text, { ...matching, requestHash: sha('other') })).toBe('receipt_request_mismatch')
    expect(await outcome(text, { ...matching, responseHash: sha('other') })).toBe('receipt_response_mismatch')
    expect(await outcome(text, { ...matching, clientNonce: nonceOf('other') })).toBe('receipt_nonce_mismatch')
  })
  it('S10: an older receipt over equal bytes, with another nonce or none, does not pass', async () => {
    expect(await outcome(worker.receipt([received, { type: 'veritee.request', client_nonce: null }, ...others, returned]))).toBe(
      'receipt_nonce_mismatch',
    )
    expect(await outcome(worker.receipt([received, ...others, returned]))).toBe('receipt_nonce_mismatch')
  })
  it('refuses a key that the keyset does not hold, of another name, role or algorithm', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519')
    const raw = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('hex')
    const foreign = resigned(worker.receipt(full), privateKey, () => undefined)
    expect(await outcome(foreign)).toBe('receipt_signature_invalid')
    const named = resigned(worker.receipt(full), privateKey, (document) => {
      document.key_id = 'receipt-2'
    })
    expect(await outcome(named)).toBe('receipt_key_unknown')
    const withKey = (key: Keyset['receipt_signing_keys'][number]): Keyset => ({ ...worker.keyset, receipt_signing_keys: [key] })
    expect(await outcome(foreign, matching, withKey({ key_id: 'receipt-1', algo: 'ed25519', public_key: raw }))).toBe('accepted')
    expect(await outcome(foreign, matching, withKey({ key_id: 'receipt-1', algo: 'ecdsa-p256', public_key: raw }))).toBe('receipt_key_unknown')
    expect(await outcome(foreign, matching, withKey({ key_id: 'receipt-1', algo: 'ed25519', public_key: raw.toUpperCase() }))).toBe(
      'receipt_key_unknown',
    )
    expect(await outcome(foreign, matching, withKey({ key_id: 'receipt-1', algo: 'ed25519', public_key: raw.slice(2) }))).toBe('receipt_key_unknown')
    const e2ee = { ...worker.keyset, receipt_signing_keys: [], e2ee_public_keys: [{ key_id: 'receipt-1', algo: 'ed25519', public_key: raw }] }
    expect(await outcome(foreign, matching, e2ee)).toBe('receipt_key_unknown')
  })
  it('refuses a receipt of another keyset, though its signature verifies', async () => {
    const text = worker.receipt(full, { workload_keyset_digest: sha('other keyset') })
    expect(await outcome(text)).toBe('receipt_keyset_mismatch')
    expect(await outcome(worker.receipt(full), matching, worker.keyset, sha('other keyset'))).toBe('receipt_keyset_mismatch')
  })
  it('refuses a receipt served when its keyset had ended', async () => {
    expect(await outcome(worker.receipt(full, { served_at: worker.keyset.not_after - 1 }))).toBe('accepted')
    expect(await outcome(worker.receipt(full, { served_at: worker.keyset.not_after }))).toBe('keyset_expired')
  })
  it('no member can be changed, added or removed: every one is under the signature', async () => {
    const document = JSON.parse(worker.receipt(full)) as Record<string, Json>
    const events = document.event_log as Record<string, Json>[]
    const texts: string[] = []
    const flip = (value: Json): Json =>
      typeof value === 'number'
        ? value + 1
        : typeof value === 'boolean'
          ? !value
          : typeof value === 'string'
            ? bump(value)
            : value === null
              ? sha('x')
              : null
    for (const name of Object.keys(document)) texts.push(JSON.stringify({ ...document, [name]: flip(document[name] ?? null) }))
    for (const [i, event] of events.entries())
      for (const name of Object.keys(event))
        texts.push(JSON.stringify({ ...document, event_log: events.with(i, { ...event, [name]: flip(event[name] ?? null) }) }))
    for (const [i] of events.entries()) texts.push(JSON.stringify({ ...document, event_log: events.toSpliced(i, 1) }))
    const codes = new Set<string>()
    for (const text of texts) codes.add(await outcome(text))
    expect(texts.length).toBeGreaterThan(60)
    expect([...codes].sort()).toEqual(['receipt_key_unknown', 'receipt_malformed', 'receipt_signature_invalid'])
  })
  it('a signature over the document with its signature is not one over the document without', async () => {
    const document = JSON.parse(worker.receipt(full)) as Record<string, Json>
    expect(await outcome(JSON.stringify({ ...document, signature: signed(document, worker.receiptKey) }))).toBe('receipt_signature_invalid')
  })
  it('says what was expected and found, and no more than digests', async () => {
    await expect(
      verifyReceipt(parseReceipt(worker.receipt(full)), worker.keyset, worker.digest, { ...matching, requestHash: sha('other') }),
    ).rejects.toThrow(`expected ${sha('other')}, found ${sha('request')}`)
  })
})

/** Another string of the same form: the last character that has a neighbour in hex is moved. */
function bump(text: string): string {
  const last = text.at(-1) ?? ''
  return text.slice(0, -1) + (last === '0' ? '1' : last === 'd' ? 'c' : last === '' ? 'x' : /[1-9a-f]/.test(last) ? '0' : 'd')
}

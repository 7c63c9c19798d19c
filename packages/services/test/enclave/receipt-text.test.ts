import fc from 'fast-check'
import { type Json, jcs } from 'veritee/bytes'
import type { ReceiptEvent, UnsignedReceipt } from 'veritee/receipt'
import { expect, test } from 'vitest'
import { receiptText } from '../../src/enclave/runtime/receipts/receipt-text.ts'

/** Whatever JSON escapes, and what it does not. */
const text = fc.oneof(
  fc.string({ maxLength: 10 }),
  fc.string({ unit: 'grapheme', maxLength: 10 }).map((any) => any.toWellFormed()),
  fc.string({ unit: fc.constantFrom('"', '\\', '/', '\n', '\u0000', '\u007f', '\u2028', '\u{1f600}', 'a'), maxLength: 6 }),
)
const nullable = fc.option(text)
const integer = fc.oneof(fc.constantFrom(0, -0, Number.MAX_SAFE_INTEGER), fc.maxSafeNat())
const flag = fc.boolean()

/** In another order than the canonical one, as whoever makes an event may have it. */
const event = (type: string, members: Record<string, fc.Arbitrary<Json>>): fc.Arbitrary<ReceiptEvent> =>
  fc.record(members).map((others) => ({ type, ...others }) as unknown as ReceiptEvent)

const events: readonly fc.Arbitrary<ReceiptEvent>[] = [
  ...['request.received', 'request.forwarded', 'response.returned'].map((type) => event(type, { body_hash: text })),
  event('veritee.request', { client_nonce: nullable }),
  event('upstream.verified', { result: fc.constant('verified'), required: flag, model_id: text, session_id: text }),
  event('upstream.verified', { result: fc.constant('failed'), required: flag, model_id: text, reason: text }),
  event('veritee.upstream_receipt', { digest: nullable, result: fc.constantFrom('match', 'mismatch', 'absent'), reason: nullable }),
  event('veritee.stream', { events: integer, bytes: integer, root: text }),
  event('veritee.outcome', { outcome: fc.constantFrom('complete', 'refused') }),
  event('veritee.receipt_key', { commitment: text }),
  event('veritee.log', { origin: text, promised_by: integer }),
  event('veritee.chain', { sequence: integer, previous: nullable }),
  event('veritee.opaque', { extension: text, session_id: text, enc: text }),
  event('veritee.inference', { parameters: fc.dictionary(text, text, { noNullPrototype: true }), prompt_tokens: integer, seed: nullable }),
]

const receipts: fc.Arbitrary<UnsignedReceipt> = fc.record({
  receipt_id: text,
  chat_id: nullable,
  model: nullable,
  api_version: fc.constant('aci/1' as const),
  workload_keyset_digest: text,
  endpoint: text,
  method: text,
  served_at: integer,
  event_log: fc.array(fc.oneof(...events), { maxLength: 12 }),
  key_id: text,
})

test('a receipt is written in its canonical form, whatever it says', () => {
  fc.assert(
    fc.property(receipts, (receipt) => {
      const { head, tail } = receiptText(receipt)
      expect(head + tail).toBe(jcs(receipt as unknown as Json))
      const signed = { ...receipt, signature: 'ab'.repeat(64) }
      expect(`${head},"signature":"${signed.signature}"${tail}`).toBe(jcs(signed as unknown as Json))
    }),
    { numRuns: 1000 },
  )
})

const sample: UnsignedReceipt = {
  api_version: 'aci/1',
  receipt_id: 'r',
  chat_id: null,
  model: 'm',
  workload_keyset_digest: 'd',
  endpoint: '/',
  method: 'POST',
  served_at: 1,
  event_log: [],
  key_id: 'k',
}

test.for([
  [{ model: '\ud800' }],
  [{ chat_id: 'a\udc00' }],
  [{ served_at: 0.5 }],
  [{ served_at: 2 ** 53 }],
  [{ event_log: [{ type: 'veritee.chain', sequence: Number.NaN, previous: null }] }],
  [
    {
      event_log: [
        { type: 'veritee.outcome', outcome: 'complete' },
        { type: 'veritee.request', client_nonce: '\udfff' },
      ],
    },
  ],
  [{ event_log: [{ type: 'veritee.model', name: '\ud800' }] }],
] as readonly (readonly [object])[])('what has no canonical form is a wrong argument: %j', ([change]) => {
  expect(() => jcs({ ...sample, ...change } as unknown as Json)).toThrow(TypeError)
  expect(() => receiptText({ ...sample, ...change })).toThrow(TypeError)
})

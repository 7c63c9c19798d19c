import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { type Json, jcs } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import { type Keyset, maxReceiptBytes, parseReceipt } from 'veritee/receipt'
import { expect, test } from 'vitest'
import { ReceiptReader } from '../../src/controller/worker-receipts/reader.ts'
import { workerReceiptOf } from '../../src/controller/worker-receipts/worker-receipt.ts'
import { type Form, forms, mutationsAt, mutationsOfMembers, receiptOf } from './worker-receipts.ts'

/** Rule S10: a receipt that is read by a template is one that the strict reader reads, as the same. */

const keyset: Keyset = { not_after: 0, receipt_signing_keys: [], e2ee_public_keys: [], tls_public_keys: [] }
const ordinary: Form = {
  stream: false,
  choices: 1,
  external: false,
  first: false,
  nonce: true,
  chat: true,
  logged: true,
  seeded: true,
  name: 'model',
}

function readerOf(...learnt: readonly string[]): ReceiptReader {
  const reader = new ReceiptReader(keyset)
  for (const text of learnt) reader.learn(parseReceipt(text))
  return reader
}

/** What came of reading: the receipt, or what refused it. */
function outcome(read: () => unknown): unknown {
  try {
    return read()
  } catch (error) {
    return error instanceof VeriteeError ? `${error.code}: ${error.message}` : error
  }
}

function differs(reader: ReceiptReader, text: string): boolean {
  return !isDeepStrictEqual(
    outcome(() => reader.read(text).receipt),
    outcome(() => workerReceiptOf(parseReceipt(text))),
  )
}

const [sample = ''] = fc.sample(receiptOf(ordinary), 1)

test('S10: receipts of one form are read by one template, as the strict reader reads them', () => {
  fc.assert(
    fc.property(
      forms.chain((form) => fc.tuple(receiptOf(form), receiptOf(form))),
      ([learnt, other]) => {
        const reader = readerOf(learnt)
        for (const text of [other, learnt]) expect(reader.read(text)).toEqual({ receipt: workerReceiptOf(parseReceipt(text)), strict: null })
        expect(reader.counts).toEqual({ template: 2, strict: 0 })
      },
    ),
    { numRuns: 200 },
  )
})

test.for([
  ['a plain answer', ordinary],
  ['a stream of several choices', { ...ordinary, stream: true, choices: 2 }],
  ['an engine of another process', { ...ordinary, external: true }],
] as const)('S10: whatever is one step away from a receipt of %s is read, or refused, as by the strict reader', ([, form], { expect }) => {
  const [learnt, text] = fc.sample(receiptOf(form), 2) as [string, string]
  const reader = readerOf(learnt)
  let tried = 0
  // Every place of the first, and of the others those that it does not have.
  const step = form === ordinary ? 1 : 7
  for (let at = 0; at < text.length; at += step)
    for (const other of mutationsAt(text, at)) {
      tried++
      if (differs(reader, other)) expect.fail(`read otherwise: ${other}`)
    }
  for (const other of mutationsOfMembers(text)) {
    tried++
    if (differs(reader, other)) expect.fail(`read otherwise: ${other}`)
  }
  expect(reader.counts.template + reader.counts.strict).toBe(tried)
  // Other digits are nearly all that a template takes of them.
  expect(reader.counts.template).toBeGreaterThan(tried / 100)
  expect(reader.counts.strict).toBeGreaterThan(tried / 2)
})

test('S10: steps away from receipts of any form, several at a time', () => {
  fc.assert(
    fc.property(
      forms.chain((form) => fc.tuple(receiptOf(form), receiptOf(form))),
      fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(30)), { minLength: 1, maxLength: 20 }),
      ([learnt, other], steps) => {
        const reader = readerOf(learnt)
        let text = other
        for (const [where, which] of steps) {
          const at = Math.min(Math.floor(where * text.length), text.length - 1)
          const found = [...mutationsAt(text, at)][which] as string
          if (differs(reader, found)) expect.fail(`read otherwise: ${found}`)
          // Of what is still a receipt the next step is taken.
          if (typeof outcome(() => parseReceipt(found)) === 'object') text = found
        }
      },
    ),
    { numRuns: 300 },
  )
})

/** The sample with other values at places of its document. */
function changed(change: (document: Record<string, Json>, inference: Record<string, Json>) => void, text = sample): string {
  const document = JSON.parse(text) as Record<string, Json>
  const log = document.event_log as unknown as Record<string, Json>[]
  change(document, log.find(({ type }) => type === 'veritee.inference') as Record<string, Json>)
  return jcs(document)
}

test.for([
  ['an integer of 16 digits', (document) => (document.served_at = 1_000_000_000_000_000)],
  ['the greatest', (document) => (document.served_at = Number.MAX_SAFE_INTEGER)],
  ['an id of as many characters as there may be', (document) => (document.receipt_id = 'x'.repeat(128))],
  ['one more', (document) => (document.receipt_id = 'x'.repeat(129))],
  ['an id that is escaped', (document) => (document.receipt_id = 'x"')],
  ['none', (document) => (document.chat_id = null)],
  ['a seed of 64 bytes', (_, inference) => (inference.seed = 'ab'.repeat(64))],
  ['of 65', (_, inference) => (inference.seed = 'ab'.repeat(65))],
  ['of none', (_, inference) => (inference.seed = '')],
  ['of one and a half', (_, inference) => (inference.seed = 'abc')],
  ['an unknown outcome', (_, inference) => (inference.outcome = 'completed')],
  ['a list of 256', (_, inference) => (inference.ignored_parameters = Array(256).fill('x'))],
  ['of 257', (_, inference) => (inference.ignored_parameters = Array(257).fill('x'))],
  ['a string of 4,096 characters', (_, inference) => (inference.ignored_parameters = ['x'.repeat(4096)])],
  ['of 4,097', (_, inference) => (inference.ignored_parameters = ['x'.repeat(4097)])],
  ['more than a receipt may have', (_, inference) => (inference.ignored_parameters = Array(256).fill('x'.repeat(4000)))],
  ['a list of lists', (_, inference) => (inference.ignored_parameters = [['x']])],
  ['an unknown event', (document) => (document.event_log as Json[]).push({ type: 'vendor.note' })],
  [
    'an event of which there is one',
    (document) => (document.event_log as Json[]).push({ type: 'request.forwarded', body_hash: `sha256:${'0'.repeat(64)}` }),
  ],
] as readonly (readonly [string, (document: Record<string, Json>, inference: Record<string, Json>) => unknown])[])('S10: %s', ([, change]) => {
  expect(differs(readerOf(sample), changed(change))).toBe(false)
})

test('S10: a text that is too long for a receipt is none, though each of its parts has the form', () => {
  const text = changed((_, inference) => (inference.ignored_parameters = Array(256).fill('x'.repeat(4000))))
  expect(text.length).toBeGreaterThan(maxReceiptBytes)
  expect(outcome(() => readerOf(sample).read(text).receipt)).toMatch(/^receipt_malformed: /)
})

test('what a worker writes does not widen a form: what is no value of its place, and events that are not known here, make no template', () => {
  const unfit = [
    changed((document) => (document.receipt_id = 'x"')),
    changed((document) => (document.served_at = 1_000_000_000_000_000)),
    changed((_, inference) => (inference.parameters = { stop: ['é'] })),
    changed((document) => (document.event_log as Json[]).push({ type: 'vendor.note' })),
    // Which of both is counted is for the strict reader to say.
    changed((document, inference) => {
      const [external = ''] = fc.sample(receiptOf({ ...ordinary, external: true }), 1)
      const log = (JSON.parse(external) as { event_log: { type: string }[] }).event_log
      document.event_log = [
        ...(document.event_log as Json[]).filter((event) => event !== inference),
        ...log.filter(({ type }) => type === 'veritee.external_engine'),
        inference,
      ]
    }),
    // The same document in another order.
    JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(sample) as object).toReversed())),
    changed((_, inference) => (inference.parameters = Object.fromEntries(Array.from({ length: 2000 }, (__, i) => [`p${i}`, '1'])))),
  ]
  for (const text of unfit) {
    const reader = readerOf(text)
    reader.read(text)
    reader.read(parseReceipt(text).canonical)
    expect(reader.counts).toEqual({ template: 0, strict: 2 })
  }
})

test('S10: nothing is learnt of a text that is not canonical, whose constants may be other values', () => {
  const reader = new ReceiptReader(keyset)
  for (const text of [sample.replace('"size":1000000', '"size":-0'), sample.replace('{', '{ '), sample.replace('"model"', '"mod\\u0065l"')]) {
    expect(text).not.toBe(sample)
    expect(reader.read(text)).toEqual({ receipt: workerReceiptOf(parseReceipt(text)), strict: null })
  }
  expect(reader.read(sample).strict).not.toBeNull()
})

test('S10: names of parameters that objects order or treat in their own way are read as by the strict reader', () => {
  const named = (names: readonly string[], value: Json): string =>
    jcs({ ...(JSON.parse(sample) as Record<string, Json>), event_log: logWith(names, value) })
  const logWith = (names: readonly string[], value: Json): Json =>
    (JSON.parse(sample) as { event_log: Record<string, Json>[] }).event_log.map((event) =>
      event.type === 'veritee.inference' ? { ...event, parameters: Object.fromEntries(names.map((name) => [name, value])) } : event,
    )
  for (const [names, learnable] of [
    [['constructor', 'hasOwnProperty', 'toString', 'type'], true],
    [['2', '3', 'a'], true],
    // Objects have 2 before 10, canonical forms after it.
    [['10', '2', 'a'], false],
    [['', ' ', '\u{1f600}', '\u007f', '\u2028'], true],
  ] as const)
    for (const value of [1, 'x', ['x', '']]) {
      const [text, other] = [named(names, value), named(names, typeof value === 'number' ? 20 : typeof value === 'string' ? '' : [])]
      const reader = readerOf(text)
      expect([differs(reader, text), differs(reader, other)]).toEqual([false, false])
      expect(reader.counts.template).toBe(learnable ? 2 : 0)
    }
  const proto = named(['q'], 'x').replace('"q":', '"__proto__":')
  expect(outcome(() => readerOf(sample).read(proto))).toMatch(/^receipt_malformed: /)
  expect(outcome(() => readerOf(named(['q'], 'x')).read(proto))).toMatch(/^receipt_malformed: /)
})

test('a worker has eight templates at most, and those in use stay', () => {
  const named = (name: string): string => fc.sample(receiptOf({ ...ordinary, name }), 1)[0] as string
  const reader = readerOf(sample)
  for (let i = 0; i < 20; i++) {
    reader.learn(parseReceipt(named(`other ${i}`)))
    expect(reader.read(sample).strict).toBeNull()
  }
  const known = Array.from({ length: 20 }, (_, i) => reader.read(named(`other ${i}`)).strict === null)
  expect(known.filter(Boolean)).toHaveLength(7)
  expect(known.slice(13)).toEqual(Array(7).fill(true))
})

import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import fc from 'fast-check'
import { ehbpHeaders } from 'veritee/ehbp'
import { expect, test } from 'vitest'
import { addReceipt, offerReceipt, receiptOfTrailers } from '../../src/http/receipt-trailer.ts'

/** The trailers that a worker adds to its answer. */
function trailersOf(headers: IncomingHttpHeaders, receipt: string): IncomingHttpHeaders {
  const set = new Map<string, unknown>()
  const added: [string, string][] = []
  const response = {
    setHeader: (name: string, value: unknown) => void set.set(name, value),
    hasHeader: (name: string) => set.has(name),
    addTrailers: (trailers: [string, string][]) => void added.push(...trailers),
  } as unknown as ServerResponse
  offerReceipt({ headers } as IncomingMessage, response)
  addReceipt(response, Buffer.from(receipt))
  return Object.fromEntries(added)
}

test('S10: a receipt of up to 4,096 characters of base64url comes with the answer, of a longer one its digest', () => {
  const receipt = `{"x":"${'é'.repeat(100)}"}`
  expect(receiptOfTrailers(trailersOf({ te: 'trailers' }, receipt))).toEqual({ text: receipt })
  expect(receiptOfTrailers(trailersOf({ te: 'trailers' }, 'x'.repeat(3072)))).toEqual({ text: 'x'.repeat(3072) })
  const long = 'x'.repeat(3073)
  expect(receiptOfTrailers(trailersOf({ te: 'trailers' }, long))).toEqual({ digest: `sha256:${createHash('sha256').update(long).digest('hex')}` })
})

test.for([[{}], [{ te: '' }], [{ te: 'deflate' }], [{ te: 'nottrailers' }]] as const)(
  'nobody gets it who does not take trailers: %j',
  ([headers]) => {
    expect(trailersOf(headers, '{}')).toEqual({})
  },
)

test('S4: it is never in clear with an answer to an encrypted request, whatever header whoever passes that on has added', () => {
  expect(trailersOf({ te: 'trailers', [ehbpHeaders.encapsulatedKey]: '00'.repeat(32) }, '{}')).toEqual({})
})

test.for([[''], ['a b'], ['x'.repeat(4097)], [['a', 'b']], [undefined]] as const)('a trailer that is no receipt is none: %j', ([value]) => {
  expect(receiptOfTrailers({ 'x-veritee-receipt': value as string })).toBeNull()
})

test('a trailer with anything but digits of base64url is none, wherever it stands', () => {
  const digit = fc.constantFrom(...'ABYZabyz0189-_')
  const other = fc.oneof(fc.constantFrom(...'+/= \t\n.,"\u0000\u00e9\u0130\u2028\ud800'), fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }))
  fc.assert(
    fc.property(fc.array(digit, { minLength: 1, maxLength: 40 }), fc.array(fc.tuple(fc.nat(40), other), { maxLength: 3 }), (digits, others) => {
      for (const [at, character] of others) digits.splice(at, 0, character)
      const value = digits.join('')
      const wanted = /^[\w-]+$/.test(value) && value.length % 4 !== 1 ? { text: Buffer.from(value, 'base64url').toString('utf8') } : null
      expect(receiptOfTrailers({ 'x-veritee-receipt': value })).toEqual(wanted)
    }),
    { numRuns: 5000, endOnFailure: true },
  )
})

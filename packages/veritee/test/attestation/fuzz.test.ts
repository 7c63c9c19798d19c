import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Collateral,
  formatCollateral,
  intelSgxRootCa,
  parseCertificate,
  parseCollateral,
  parseCrl,
  parsePem,
  parseQeIdentity,
  parseQuote,
  parseTcbInfo,
  verifyQuote,
} from '../../src/attestation/index.ts'
import { VeriteeError } from '../../src/errors.ts'
import { at as madeAt, synthesize } from './synthetic.ts'
import { genuinePairs, intel, load } from './vectors.ts'

/** Runs, and lets nothing but a VeriteeError out. */
function total(run: () => unknown): void {
  try {
    run()
  } catch (error) {
    if (!(error instanceof VeriteeError)) throw error
  }
}

async function totalAsync(run: () => Promise<unknown>): Promise<'accepted' | 'refused'> {
  try {
    await run()
    return 'accepted'
  } catch (error) {
    if (!(error instanceof VeriteeError)) throw error
    return 'refused'
  }
}

/** One edit of a byte string: overwrite, delete, repeat or insert a run. */
interface Edit {
  readonly at: number
  readonly length: number
  readonly kind: 'overwrite' | 'delete' | 'repeat' | 'insert'
  readonly bytes: Uint8Array
}
const edits: fc.Arbitrary<readonly Edit[]> = fc.array(
  fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    length: fc.integer({ min: 1, max: 64 }),
    kind: fc.constantFrom('overwrite', 'delete', 'repeat', 'insert'),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 16 }),
  }),
  { minLength: 1, maxLength: 4 },
)

function edited(input: Uint8Array, list: readonly Edit[]): Uint8Array {
  return list.reduce((bytes, { at, length, kind, bytes: value }) => {
    const from = Math.floor(at * bytes.length)
    const head = bytes.subarray(0, from)
    const run = bytes.subarray(from, from + length)
    const tail = bytes.subarray(from + length)
    switch (kind) {
      case 'overwrite':
        return Uint8Array.from([...head, ...value, ...bytes.subarray(from + value.length)])
      case 'delete':
        return Uint8Array.from([...head, ...tail])
      case 'repeat':
        return Uint8Array.from([...head, ...run, ...run, ...tail])
      default:
        return Uint8Array.from([...head, ...value, ...run, ...tail])
    }
  }, input)
}

const simulated = await synthesize({ version: 5, td: { kind: 'td15' } })
const plain = await synthesize()
const real = genuinePairs.filter((_, index) => index % 8 === 0).map(load)
const quotes = [simulated.quote, plain.quote, ...real.map(({ bytes }) => bytes)]
const collaterals: readonly Collateral[] = [simulated.collateral, plain.collateral, ...real.map(({ collateral }) => collateral)]
const fromUtf8Lossy = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
const toUtf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

describe('parsers let nothing but a VeriteeError out', () => {
  const parsers: readonly (readonly [string, (bytes: Uint8Array) => unknown, readonly Uint8Array[]])[] = [
    ['parseQuote', parseQuote, quotes],
    ['parseCertificate', parseCertificate, [intelSgxRootCa, ...parsePem(plain.collateral.tcbInfoIssuerChain)]],
    ['parseCrl', parseCrl, collaterals.flatMap(({ rootCaCrl, pckCrl }) => [rootCaCrl, pckCrl])],
    ['parsePem', (bytes) => parsePem(fromUtf8Lossy(bytes)), collaterals.map(({ tcbInfoIssuerChain }) => toUtf8(tcbInfoIssuerChain))],
    ['parseTcbInfo', (bytes) => parseTcbInfo(fromUtf8Lossy(bytes)), collaterals.map(({ tcbInfo }) => toUtf8(tcbInfo))],
    ['parseQeIdentity', (bytes) => parseQeIdentity(fromUtf8Lossy(bytes)), collaterals.map(({ qeIdentity }) => toUtf8(qeIdentity))],
    ['parseCollateral', (bytes) => parseCollateral(fromUtf8Lossy(bytes)), collaterals.map((collateral) => toUtf8(formatCollateral(collateral)))],
  ]

  it.each(parsers)('%s on arbitrary bytes', (_, parse) => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1200 }), (bytes) => total(() => parse(bytes))),
      { numRuns: 500 },
    )
  })

  it.each(parsers)('%s on edited real input', (_, parse, seeds) => {
    fc.assert(
      fc.property(fc.constantFrom(...seeds), edits, (seed, list) => total(() => parse(edited(seed, list)))),
      { numRuns: 500 },
    )
  })

  it('parseTcbInfo and parseQeIdentity on arbitrary JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(plain.collateral.tcbInfo, plain.collateral.qeIdentity), fc.nat(), (value, text, pick) => {
        const document = JSON.parse(text) as Record<string, unknown>
        const names = Object.keys(document)
        const name = names[pick % names.length] as string
        for (const candidate of [value, { ...document, [name]: value }]) {
          total(() => parseTcbInfo(JSON.stringify(candidate)))
          total(() => parseQeIdentity(JSON.stringify(candidate)))
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('verifyQuote lets nothing but a VeriteeError out', () => {
  const cases = [
    { quote: simulated.quote, collateral: simulated.collateral, trust: simulated.trust, at: madeAt },
    { quote: plain.quote, collateral: plain.collateral, trust: plain.trust, at: madeAt },
    ...real.map(({ bytes, collateral, at }) => ({ quote: bytes, collateral, trust: intel, at })),
  ]

  it('on edited quotes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...cases), edits, async ({ quote, collateral, trust, at }, list) => {
        await totalAsync(() => Promise.resolve().then(() => verifyQuote(parseQuote(edited(quote, list)), collateral, trust, at)))
      }),
      { numRuns: 600 },
    )
  })

  it('on edited collateral, and an edit is never accepted unless it changed nothing that is read', async () => {
    const names = ['rootCaCrl', 'pckCrl', 'tcbInfoSignature', 'qeIdentitySignature', 'tcbInfo', 'qeIdentity'] as const
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...cases), fc.constantFrom(...names), edits, async ({ quote, collateral, trust, at }, name, list) => {
        const value = collateral[name]
        const changed = typeof value === 'string' ? fromUtf8Lossy(edited(toUtf8(value), list)) : edited(value, list)
        const same = typeof value === 'string' ? changed === value : Buffer.from(changed as Uint8Array).equals(value)
        const found = await totalAsync(() => verifyQuote(parseQuote(quote), { ...collateral, [name]: changed }, trust, at))
        expect(found).toBe(same ? 'accepted' : 'refused')
      }),
      { numRuns: 600 },
    )
  })

  it('on edited chains', async () => {
    const names = ['pckCrlIssuerChain', 'tcbInfoIssuerChain', 'qeIdentityIssuerChain'] as const
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...cases), fc.constantFrom(...names), edits, async ({ quote, collateral, trust, at }, name, list) => {
        const changed = fromUtf8Lossy(edited(toUtf8(collateral[name]), list))
        await totalAsync(() => verifyQuote(parseQuote(quote), { ...collateral, [name]: changed }, trust, at))
      }),
      { numRuns: 300 },
    )
  })
})

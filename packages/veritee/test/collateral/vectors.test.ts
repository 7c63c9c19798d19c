import { describe, expect, test } from 'vitest'
import { parseCollateral, parseQuote, type Quote } from '../../src/attestation/index.ts'
import { fetchCollateral } from '../../src/client/index.ts'
import { collateralText, genuinePairs, haveVectors, intel, type Pair, quoteOf, titleOf, vectorsNote } from '../attestation/vectors.ts'
import { judged, options, refusal } from './evidence.ts'
import { startPccs } from './pccs.ts'

/** Two documents of one evaluation: what a service would serve together. */
function isOneEvaluation(pair: Pair): boolean {
  const { tcbInfo, qeIdentity } = parseCollateral(collateralText(pair))
  const numberOf = (text: string): unknown => (JSON.parse(text) as { tcbEvaluationDataNumber: unknown }).tcbEvaluationDataNumber
  return numberOf(tcbInfo) === numberOf(qeIdentity)
}

const whole = genuinePairs.filter(isOneEvaluation)
const mixed = genuinePairs.filter((pair) => !isOneEvaluation(pair))

async function fetchPair(pair: Pair): Promise<{ quote: Quote; fetched: Awaited<ReturnType<typeof fetchCollateral>> }> {
  const pccs = await startPccs(parseCollateral(collateralText(pair)), { headerNames: 'v3', chainOrder: 'root first', crl: 'pem' })
  try {
    const quote = parseQuote(quoteOf(pair.vector))
    return { quote, fetched: await fetchCollateral(quote, options(pccs.url, { now: () => new Date(pair.at * 1000) })) }
  } finally {
    await pccs.close()
  }
}

describe.skipIf(!haveVectors)(`real collateral through a PCCS${vectorsNote}`, () => {
  test('there are pairs to test', () => {
    expect(whole.length).toBeGreaterThan(10)
  })

  test.for(whole.map((pair) => [titleOf(pair), pair] as const))('P6, P17, P18: %s', async ([, pair]) => {
    const { quote, fetched } = await fetchPair(pair)
    const original = parseCollateral(collateralText(pair))
    expect([fetched.tcbInfo, fetched.qeIdentity]).toEqual([original.tcbInfo, original.qeIdentity])
    expect([fetched.rootCaCrl, fetched.pckCrl]).toEqual([original.rootCaCrl, original.pckCrl])
    expect(await judged(quote, fetched, intel, new Date(pair.at * 1000))).toBe('accepted')
  })

  test.for(mixed.map((pair) => [titleOf(pair), pair] as const))('P23: %s: documents of two evaluations are refused', async ([, pair]) => {
    expect((await refusal(fetchPair(pair))).message).toContain('of one evaluation')
  })
})

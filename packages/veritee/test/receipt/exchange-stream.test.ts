import { beforeAll, describe, expect, it } from 'vitest'
import type { Json } from '../../src/bytes/index.ts'
import type { ReceiptEvent } from '../../src/receipt/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { sha } from './enclaves.ts'
import { makeScenario, prefixText, type Scenario, streamEvents, treeOf, verifyScenario } from './scenario.ts'

let scenario: Scenario
beforeAll(async () => {
  scenario = await makeScenario({ stream: true })
})
type Changes = Parameters<typeof verifyScenario>[1]
const outcome = (changes: Changes = {}, of: Scenario = scenario): Promise<string> => refusal(() => verifyScenario(of, changes))

/** What a requester holds that stopped after k events, with both proofs. */
async function stopped(k: number, events: readonly string[] = streamEvents.slice(0, k)): Promise<NonNullable<Changes>> {
  const proof = await prefixText(streamEvents, Math.max(1, k))
  return {
    exchange: { stream: await treeOf(events), complete: false, responseHash: sha(events.join('')) },
    records: { prefixProof: proof, workerPrefixProof: proof },
  }
}

describe('a stream', () => {
  it('read to its end is verified', async () => {
    expect((await verifyScenario(scenario)).outcome).toBe('verified')
  })
  it('S9: left early is verified as a prefix, never as the whole', async () => {
    for (let k = 1; k <= streamEvents.length; k++) expect((await verifyScenario(scenario, await stopped(k))).outcome).toBe('verified-prefix')
  })
  it('S9: left early without a proof is not verified at all', async () => {
    const { exchange, records } = await stopped(2)
    expect(await outcome({ exchange: exchange ?? {} })).toBe('receipt_missing')
    expect(await outcome({ exchange: exchange ?? {}, records: { ...records, prefixProof: null } })).toBe('receipt_missing')
    expect(await outcome({ exchange: exchange ?? {}, records: { ...records, workerPrefixProof: null } })).toBe('receipt_missing')
  })
  it('S9: left early before the first whole event is not verified', async () => {
    expect(await outcome(await stopped(0, []))).toBe('receipt_stream_mismatch')
  })
  it('S9: with an event changed, dropped or added it is not verified', async () => {
    const [a, b, c] = streamEvents
    for (const events of [
      [a, 'data: {"b":9}\n\n'],
      [b, c],
      [a, c],
      [a + b, c],
    ])
      expect(await outcome(await stopped(2, events))).toBe('receipt_stream_mismatch')
    expect(await outcome({ exchange: { stream: await treeOf([...streamEvents, 'data: more\n\n']) } })).toBe('receipt_stream_mismatch')
  })
  it('S9: a proof of another length, or one that is no proof, is not taken', async () => {
    const { exchange = {}, records } = await stopped(2)
    const proof = await prefixText(streamEvents, 3)
    expect(await outcome({ exchange, records: { ...records, prefixProof: proof } })).toBe('receipt_stream_mismatch')
    expect(await outcome({ exchange, records: { ...records, workerPrefixProof: proof } })).toBe('receipt_stream_mismatch')
    expect(await outcome({ exchange, records: { ...records, prefixProof: '{' } })).toBe('malformed_json')
  })
  it('S9: that a receipt does not commit to is not verified', async () => {
    const without = (events: readonly ReceiptEvent[]): readonly (ReceiptEvent | Json)[] => events.filter(({ type }) => type !== 'veritee.stream')
    expect(await outcome({}, await makeScenario({ stream: true, controllerEvents: without }))).toBe('receipt_stream_mismatch')
    expect(await outcome({}, await makeScenario({ stream: true, workerEvents: without }))).toBe('receipt_stream_mismatch')
  })
  it('S9: whose tree is not that of the worker', async () => {
    const other = (events: readonly ReceiptEvent[]): ReceiptEvent[] =>
      events.map((event) => (event.type === 'veritee.stream' ? { ...event, root: sha('another tree') } : event))
    expect(await outcome({}, await makeScenario({ stream: true, workerEvents: other }))).toBe('receipt_stream_mismatch')
    expect(await outcome({}, await makeScenario({ stream: true, controllerEvents: other }))).toBe('receipt_stream_mismatch')
  })
  it('a part of a plain body cannot be verified', async () => {
    expect(await outcome({ exchange: { complete: false } }, await makeScenario())).toBe('receipt_stream_mismatch')
  })
})

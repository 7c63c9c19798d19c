import { parseReport } from 'veritee/receipt'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ServedModel } from '../../src/enclave/worker/served-model.ts'
import { type ExchangeRecord, openReplayModel, type ReplayModel, replayFile } from '../../src/replay/index.ts'
import { demoPath } from '../engine/demo.ts'
import { exchangeWithReport, replayed, serveFile, story } from './worker.ts'

let served: ServedModel
let model: ReplayModel
let record: ExchangeRecord
let other: string
beforeAll(async () => {
  served = await serveFile()
  model = await openReplayModel(demoPath, 512)
  const members = { messages: [{ role: 'user', content: story }], temperature: 0, max_tokens: 8 }
  record = (await exchangeWithReport(served, members)).record
  other = (await exchangeWithReport(served, members)).report
}, 60_000)
afterAll(async () => {
  for (const { engine } of [served, model]) await engine.dispose()
})

/** With a receipt that somebody else edited. */
function edited(edit: (document: Record<string, unknown>) => Record<string, unknown>): ExchangeRecord {
  return { ...record, receipt: JSON.stringify(edit(JSON.parse(record.receipt) as Record<string, unknown>)) }
}

test('under the report of the worker that signed it is valid, in whatever way the receipt is written', async () => {
  expect(await replayed(record, model)).toMatchObject({ verdict: 'pass', signature: 'valid' })
  const pretty = { ...record, receipt: JSON.stringify(JSON.parse(record.receipt), null, 2) }
  expect(await replayed(pretty, model)).toMatchObject({ verdict: 'pass', signature: 'valid' })
})

test('S5: without a report a pass says that no signature was checked, so it is nobody`s answer', async () => {
  const report = await replayed({ ...record, signer: null }, model)
  expect(report).toMatchObject({ verdict: 'pass', signature: 'not checked' })
  expect(report.checks[0]).toMatchObject({ id: 'replay.signature', status: 'waived', detail: expect.stringContaining('signature: not checked') })
})

test.for([
  ['a member changed', (d) => ({ ...d, served_at: (d.served_at as number) + 1 }), 'signature_invalid'],
  [
    'an event changed',
    (d) => ({ ...d, event_log: (d.event_log as object[]).map((e, i) => (i === 2 ? { ...e, client_nonce: 'a'.repeat(64) } : e)) }),
    'signature_invalid',
  ],
  ['a signature of zeros', (d) => ({ ...d, signature: '0'.repeat(128) }), 'signature_invalid'],
  ['a key that the keyset does not have', (d) => ({ ...d, key_id: 'other' }), 'signature_invalid'],
  ['another keyset named', (d) => ({ ...d, workload_keyset_digest: `sha256:${'0'.repeat(64)}` }), 'keyset_differs'],
] as [string, (document: Record<string, unknown>) => Record<string, unknown>, string][])(
  'S5: %s is found before anything runs',
  async ([, edit, reason]) => {
    // Nothing runs: this model file does not even exist.
    const report = await replayFile(edited(edit), '/does/not/exist.gguf')
    expect(report).toMatchObject({ verdict: 'fail', level: null, reason, signature: 'invalid', engines: null })
    expect(report.checks).toHaveLength(1)
  },
)

test('S5: the report of another worker, and one that states the digest of the receipt over other keys', async () => {
  const report = parseReport(other)
  const refused = { verdict: 'fail', reason: 'keyset_differs', signature: 'invalid' }
  expect(await replayFile({ ...record, signer: report }, '/does/not/exist.gguf')).toMatchObject(refused)
  const digest = record.signer?.keysetDigest ?? ''
  expect(await replayFile({ ...record, signer: { ...report, keysetDigest: digest } }, '/does/not/exist.gguf')).toMatchObject(refused)
})

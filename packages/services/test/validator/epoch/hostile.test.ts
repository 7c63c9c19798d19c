import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fail } from 'veritee/errors'
import { type AuditRecord, parseAuditRecord, signAuditRecord, type UnsignedAuditRecord } from 'veritee/scoring'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import type { Audited } from '../../../src/validator/audit/audit.ts'
import { undecided } from '../../../src/validator/audit/undecided.ts'
import type { EpochOptions } from '../../../src/validator/epoch/run.ts'
import type { Probe } from '../../../src/validator/probes/probe.ts'
import type { EpochStore } from '../../../src/validator/store/epoch-store.ts'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { confirmations, imitateEpoch, imitationRecord, probes, validatorKey } from './imitation.ts'

const folder = mkdtempSync(join(tmpdir(), 'veritee-hostile-'))
const stores: EpochStore[] = []
afterAll(async () => {
  for (const one of stores) await one.close()
  rmSync(folder, { recursive: true, force: true })
})
let store: EpochStore
let lines: string[]
beforeEach(async () => {
  store = await openSqliteEpochStore(join(folder, `${stores.length}.sqlite`))
  stores.push(store)
  lines = []
})

const evidence = { request: '', response: '', contentType: '', report: null, workerReceipt: null, receiptKey: null, replay: null }
const auditing = (change: (record: UnsignedAuditRecord) => Audited): Partial<EpochOptions> => ({
  audit: async (probe) => (probe.index % 3 === 0 ? change(imitationRecord(probe)) : { record: imitationRecord(probe), evidence }),
  report: (line) => void lines.push(line),
})
const whole = (record: UnsignedAuditRecord): Audited => ({ record, evidence })

/** What no record can say, by which member it is. */
const unsignable: readonly (readonly [string, (record: UnsignedAuditRecord) => UnsignedAuditRecord])[] = [
  ['a name of 300 characters', (r) => ({ ...r, model: { name: 'x'.repeat(300), weights: r.model?.weights ?? '' } })],
  ['a name that is no Unicode', (r) => ({ ...r, model: { name: '\ud800', weights: r.model?.weights ?? '' } })],
  ['times that go back', (r) => ({ ...r, timings: { worker: { first_ms: 9, total_ms: 1 }, validator: { first_ms: 1, total_ms: 1 } } })],
  ['more tokens than there are', (r) => ({ ...r, output_tokens: 2 ** 40 })],
  ['half a token', (r) => ({ ...r, output_tokens: 0.5 })],
  ['a place that is none', (r) => ({ ...r, view: { digest: r.view?.digest ?? '', log: { origin: 'x', index: -1, leaf: '00' } } })],
  ['more equal tokens than all', (r) => ({ ...r, replay: r.replay && { ...r.replay, tokens: { total: 1, equal: 2, near: null } } })],
  ['a code that is none', (r) => ({ ...r, attestation: { verdict: 'unavailable', code: 'NO!', evidence: null, collateral: null } })],
]

describe('S5: whatever a worker brings about in its own audit', () => {
  it.each(unsignable)('%s is one audit that establishes nothing, and the epoch goes on', async (_, change) => {
    const { records } = await imitateEpoch({ store, changes: auditing((record) => whole(change(record))) })
    expect(records).toHaveLength(probes)
    for (const [i, text] of records.entries()) {
      const record = parseAuditRecord(text)
      if (i % 3 === 0)
        expect(record).toMatchObject({ verdict: 'inconclusive', reason: 'replay_unavailable', charged: null, worker: { slot: expect.any(Number) } })
      else expect(record).toMatchObject(imitationRecord({ ...(await probeAt(i)) }))
    }
    expect(lines).toHaveLength(probes / 3)
    for (const line of lines) expect(line).toMatch(/^epoch 5: of audit \d+ something was left out: [\w]+$/)
  })

  it('receipts that cannot be read, and a search for proofs that fails, leave its record as it is', async () => {
    const changes = auditing(({ ...record }) => ({ record, evidence: { ...evidence, report: '{', workerReceipt: '{' } }))
    const searching: Partial<EpochOptions> = { findFraud: async () => Promise.reject(new RangeError('over an answer')) }
    const { records, proofs } = await imitateEpoch({ store, changes: { ...changes, ...searching } })
    for (const [i, text] of records.entries()) expect(parseAuditRecord(text)).toMatchObject(imitationRecord(await probeAt(i)))
    expect([records.length, proofs.size, lines.length]).toEqual([probes, 0, probes + probes / 3])
    expect(lines.join()).not.toContain('over an answer')
  })

  it('a confirmation that fails is one that came to nothing', async () => {
    await store.keep(5, 'ask cc 1', '')
    await store.keep(5, 'request cc 1', 'a request')
    const failing = { ...confirmations, confirm: async () => Promise.reject(new TypeError('over an answer')), giveUp: async () => whole(undone()) }
    const { records } = await imitateEpoch({ store, changes: { confirmations: failing, report: (line) => void lines.push(line) } })
    expect(parseAuditRecord(records[probes] ?? '')).toMatchObject({ kind: 'confirmation', verdict: 'inconclusive', reason: 'not_confirmable' })
    expect(lines).toEqual([`epoch 5: of audit ${probes} something was left out: TypeError`])
  })

  it('a memory that is gone still ends the epoch: without it nothing can be kept', async () => {
    const changes: Partial<EpochOptions> = { findFraud: async () => Promise.reject(fail('validator_store_unavailable', 'gone')) }
    await expect(imitateEpoch({ store, changes })).rejects.toMatchObject({ code: 'validator_store_unavailable' })
  })

  it('there is a record of every kind that anybody takes, whatever was to be said', async () => {
    const broken = (unsignable[0] as (typeof unsignable)[0])[1](imitationRecord({ index: 0, after: 0 } as Probe))
    const log = { origin: 'log', index: 3, leaf: '00'.repeat(32) }
    for (const kind of ['probe', 'organic', 'canary', 'confirmation'] satisfies AuditRecord['kind'][])
      for (const worker of kind === 'confirmation' ? [broken.worker] : [broken.worker, null]) {
        const model = kind === 'confirmation' ? { name: 'm', weights: broken.model?.weights ?? '' } : broken.model
        const canary = kind === 'canary' ? (broken.view?.digest ?? null) : null
        const path = kind === 'probe' || kind === 'canary' ? broken.path : []
        const record = { ...broken, kind, worker, model, canary, path, view: broken.view && { ...broken.view, log } }
        const { verdict } = parseAuditRecord(await signAuditRecord(undecided(record), validatorKey))
        expect(verdict).toBe(worker === null && path.length > 0 ? 'unattributable' : 'inconclusive')
      }
  })
})

const planned = new Map<number, Probe>()
/** As it was planned, by what an undisturbed epoch asks. */
async function probeAt(index: number): Promise<Probe> {
  if (planned.size === 0) {
    const other = await openSqliteEpochStore(join(folder, 'undisturbed.sqlite'))
    stores.push(other)
    await imitateEpoch({ store: other, onAudit: (probe) => void planned.set(probe.index, probe) })
  }
  return planned.get(index) as Probe
}

function undone(): UnsignedAuditRecord {
  const record = imitationRecord({ index: probes, after: 0 } as Probe)
  return undecided({ ...record, kind: 'confirmation', path: [] })
}

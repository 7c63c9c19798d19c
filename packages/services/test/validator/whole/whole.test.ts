import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SigningKey } from 'veritee/crypto'
import { type AuditRecord, parseAuditRecord, signAuditRecord, type UnsignedAuditRecord } from 'veritee/scoring'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { veritee } from '../../../../veritee/test/bin/cli.ts'
import { readBundle } from '../../../src/validator/publish/directory.ts'
import type { EpochStore } from '../../../src/validator/store/epoch-store.ts'
import { conduct } from './conduct.ts'
import { probes, type System, startSystem, startValidators, type WholeNetwork, type WholeValidator } from './system.ts'

vi.setConfig({ testTimeout: 600_000, hookTimeout: 600_000 })

let system: System
beforeEach(async () => {
  system = await startSystem()
})
afterEach(async () => {
  for (const stop of system.closing.reverse()) await stop()
})

/** What anybody finds of an epoch with the command, at each of those who publish it: with the log and without. */
async function verdictsAt(validators: readonly WholeValidator[]): Promise<readonly { readonly code: number | null; readonly found: Found }[]> {
  const { admission, log, evidence, folder } = system
  const { network, keys, threshold, minimumVersion } = admission.anchors
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const trust = file('trust.json', JSON.stringify({ network, keys, threshold, minimum_version: minimumVersion }))
  const brought = ['--trust', trust, '--manifest', file('manifest.json', admission.text), '--policy', file('policy.json', JSON.stringify(evidence))]
  const found = []
  for (const { url } of validators)
    for (const more of [[], ['--log', log.place.url]]) {
      const { code, stdout } = await veritee(['epoch', 'verify', `${url}/combined-0/`, ...brought, ...more, '--json'])
      found.push({ code, found: JSON.parse(stdout) as Found })
    }
  return found
}

interface Found {
  readonly verdict: string
  readonly signers: readonly string[]
  readonly missed: readonly { readonly validator: string; readonly duty: string }[]
  readonly checks: readonly { readonly id: string; readonly status: string; readonly detail: string }[]
  readonly scores: { readonly convictions: readonly { readonly operator: string; readonly grounds: readonly { readonly kind: string }[] }[] }
}

async function recordsAt({ out }: WholeValidator, of: WholeValidator): Promise<readonly AuditRecord[]> {
  const bytes = await readBundle(join(out, 'combined-0'))(`validators/${of.name}/records.jsonl`, 1 << 26)
  return Buffer.from(bytes).toString().split('\n').slice(0, -1).map(parseAuditRecord)
}

/** One result everywhere, with everything judged that was brought. Gives it. */
async function oneResult(alive: readonly WholeValidator[]): Promise<Found> {
  const verdicts = await verdictsAt(alive)
  for (const { code, found } of verdicts) {
    const statusOf = (id: string): string | undefined => found.checks.find((check) => check.id === id)?.status
    expect([code, found.verdict, found.checks.filter(({ status }) => status === 'fail')]).toEqual([0, 'verified', []])
    expect(['policy', 'roster', 'log', 'duties', 'signatures'].map(statusOf)).toEqual(Array(5).fill('pass'))
  }
  expect(verdicts.map(({ found }) => found.checks.find(({ id }) => id === 'log-itself')?.status)).toEqual(
    alive.flatMap(() => [expect.not.stringMatching('pass'), 'pass']),
  )
  const [first] = verdicts
  if (first === undefined) throw new TypeError('expected a validator')
  for (const { found } of verdicts)
    expect([found.signers, found.missed, found.scores]).toEqual([first.found.signers, first.found.missed, first.found.scores])
  return first.found
}

const honestStore = (store: EpochStore): EpochStore => store

describe('S16, S18, S19, S21: validators of several operators under one log', () => {
  test('commit, audit probes and receipts of others, confirm each other, and publish one bundle that anybody verifies at each of them', async () => {
    const network = await startValidators(system, 3, honestStore)
    const alive = await conduct(system, network, { midway: async (all) => all })
    const found = await oneResult(alive)
    expect([found.signers, found.missed]).toEqual([network.validators.map(({ name }) => name), []])
    expect(convicted(found)).toEqual([[system.cheat, ['level1']]])
    for (const one of alive) {
      const records = await recordsAt(alive[0] as WholeValidator, one)
      const of = (kind: AuditRecord['kind']): number => records.filter((record) => record.kind === kind).length
      expect([of('probe'), of('organic') > 0, of('confirmation')]).toEqual([probes, true, (await one.store.facts(0, 'ask ')).length])
      // No honest worker is charged with anything, by anybody.
      for (const { worker, charged } of records) if (charged === 'worker') expect(worker?.operator).toBe(system.cheat)
      expect(one.lines.filter((line) => /left out|not handed over|duty/.test(line))).toEqual([])
    }
  })

  test('of five one is killed in the middle and one lies of all that it found: the others convict the cheat and nobody else, with one result', async () => {
    const network = await startValidators(system, 5, (store, key, i) => (i === liar ? lying(store, key) : store))
    const alive = await conduct(system, network, {
      midway: async (all) => {
        const dying = all[killed] as WholeValidator
        await expect.poll(async () => (await dying.store.records(0)).length, { timeout: 200_000, interval: 20 }).toBeGreaterThan(0)
        dying.die()
        return all.filter((one) => one !== dying)
      },
    })
    const found = await oneResult(alive)
    expect(found.signers, alive.map(({ name, lines }) => [name, ...lines].join('\n')).join('\n')).toEqual(alive.map(({ name }) => name))
    expect(found.missed.map(({ validator, duty }) => [validator, duty])).toEqual([[nameOf(network, killed), 'seed_opened']])
    expect(convicted(found)).toEqual([[system.cheat, ['level1']]])
    // It did accuse them, and was not confirmed.
    const lies = (await recordsAt(alive[0] as WholeValidator, network.validators[liar] as WholeValidator)).filter(({ kind }) => kind === 'probe')
    expect(lies.some(({ worker, verdict }) => system.honest.includes(worker?.operator ?? '') && verdict === 'fail')).toBe(true)
    expect(lies.some(({ worker, verdict }) => worker?.operator === system.cheat && verdict !== 'pass')).toBe(false)
  })
})

const [liar, killed] = [1, 3]
const nameOf = ({ validators }: WholeNetwork, i: number): string => validators[i]?.name ?? ''
const convicted = ({ scores }: Found): readonly (readonly [string, readonly string[]])[] =>
  scores.convictions.map(({ operator, grounds }) => [operator, [...new Set(grounds.map(({ kind }) => kind))]])

/** Of answers of honest workers it writes that they came out otherwise, of those of the cheat that they passed: of probes, and of what it is asked to confirm. */
function lying(store: EpochStore, key: SigningKey): EpochStore {
  const lie = async (text: string): Promise<string> => {
    const { signature: _, ...record } = parseAuditRecord(text)
    return signAuditRecord(lieOf(record), key)
  }
  return new Proxy(store, {
    get: (target, name) => {
      if (name === 'finish')
        return async (...[epoch, index, done, seen]: Parameters<EpochStore['finish']>) =>
          target.finish(epoch, index, { ...done, record: await lie(done.record) }, seen)
      const found: unknown = Reflect.get(target, name)
      return typeof found === 'function' ? found.bind(target) : found
    },
  })
}

function lieOf(record: UnsignedAuditRecord): UnsignedAuditRecord {
  const { replay, worker, verdict } = record
  if (replay === null || worker === null || (verdict !== 'pass' && verdict !== 'fail')) return record
  const frames = worker.operator !== system.cheat
  const tokens = { ...replay.tokens, equal: frames ? 0 : replay.tokens.total }
  return frames
    ? { ...record, verdict: 'fail', reason: 'replay_mismatch', charged: 'worker', replay: { ...replay, outcome: 'fail', tokens } }
    : { ...record, verdict: 'pass', reason: null, charged: null, replay: { ...replay, outcome: 'pass', tokens } }
}

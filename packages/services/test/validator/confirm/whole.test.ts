import { parseAuditRecord, readFrom } from 'veritee/scoring'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { combineEpoch } from '../../../src/validator/combine/combine.ts'
import { requestsFor } from '../../../src/validator/confirm/hand-over.ts'
import { localBeacon } from '../../../src/validator/epoch/beacon-source.ts'
import type { Concluded } from '../../../src/validator/epoch/conclude.ts'
import { runValidator } from '../../../src/validator/service.ts'
import { length, type Network, type NetworkValidator, startNetwork } from './network.ts'

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 })

let network: Network
beforeAll(async () => {
  network = await startNetwork(3)
})
afterAll(() => network.close())

const probes = 10

/** One epoch of a validator as the command runs it, with the others as its confirmers. Gives what it published. */
async function runWhole({ key, store, listening }: NetworkValidator, lines: string[], failed: AbortController): Promise<Concluded> {
  const { machine, model, replay, evidencePolicy, text, policy, roster, beacon, workers, validators, now } = network
  const published: Concluded[] = []
  await runValidator(
    {
      key,
      store,
      beacon: localBeacon(beacon, now),
      scoring: { text, policy },
      roster,
      evidence: { trust: machine.trust, policy: evidencePolicy },
      controllers: [],
      workers: workers.filter(({ name }) => name === 'honest' || name === 'other model').map(({ running }) => running.server.url),
      apiKeys: async () => [],
      accountsPerEpoch: 1,
      warmEpochs: 0,
      models: new Map([[`sha256:${replay.engine.model.sha256}`, { name: model.served.name, replay }]]),
      calibrations: [],
      log: null,
      contents: null,
      probesPerEpoch: probes,
      templates: null,
      traffic: null,
      canariesPerEpoch: 0,
      encrypted: { controller: 0, worker: 0.3 },
      probingPart: 0.00002,
      parallel: 2,
      now,
      clockMs: () => performance.now(),
      signal: failed.signal,
      report: (line) => void lines.push(line),
      publish: async (_, concluded) => void published.push(concluded),
      publishAgain: async () => undefined,
      peers: null,
      confirmers: validators.filter((one) => one.listening !== listening).map((one) => one.listening.url),
    },
    1,
  ).catch((error: unknown) => {
    failed.abort(error)
    throw error
  })
  const [concluded] = published
  if (concluded === undefined) throw new TypeError(`expected a bundle: ${lines.join('\n')}`)
  return concluded
}

test('S18: validators that are run whole hand their mismatches over, confirm those of the others, and convict who made them', async () => {
  const { validators, workers, roster } = network
  const lines: string[] = []
  const failed = new AbortController()
  const running = Promise.all(validators.map((one) => runWhole(one, lines, failed)))
  running.catch(() => undefined)
  // The epoch ends when all that was found has been handed over to both others.
  const handedOver = async (): Promise<boolean> => {
    failed.signal.throwIfAborted()
    let given = 0
    let taken = 0
    for (const { store, key } of validators) {
      if ((await store.records(0)).length < probes) return false
      given += 2 * (await requestsFor(store, 0, key)).length
      taken += (await store.facts(0, 'ask ')).length
    }
    return taken === given
  }
  await expect.poll(handedOver, { timeout: 250_000, interval: 250 }).toBe(true)
  network.forward((length + 1) * 1000)
  const concluded = await running

  const records = await Promise.all(validators.map(async ({ store }) => (await store.records(0)).map(parseAuditRecord)))
  const cheat = workers.find(({ name }) => name === 'other model')?.operator ?? ''
  const mismatches = records.flat().filter(({ kind, reason }) => kind === 'probe' && reason === 'replay_mismatch')
  expect(mismatches.length).toBeGreaterThan(0)
  expect(new Set(mismatches.map(({ worker }) => worker?.operator))).toEqual(new Set([cheat]))
  // What one found, both others found by themselves.
  for (const [i, { store, key }] of validators.entries())
    for (const text of await requestsFor(store, 0, key)) {
      const { view, index } = JSON.parse(text) as { view: string; index: number }
      const asked = records[i]?.find((record) => record.index === index)
      const about = records.flat().filter((record) => record.kind === 'confirmation' && record.view?.digest === view)
      expect(about.map(({ verdict, replay }) => [verdict, replay?.tokens])).toEqual(Array(2).fill(['fail', asked?.replay?.tokens]))
    }
  const sources = concluded.map(({ written }, i) => ({ name: String(i), read: readFrom(written.bundle) }))
  const context = { trust: null, roster, verifyProof: null }
  const { written } = await combineEpoch(sources, { context, before: null, keys: validators.map(({ key }) => key) })
  expect(written.scores.convictions.map(({ operator, grounds }) => [operator, new Set(grounds.map(({ kind }) => kind))])).toEqual([
    [cheat, new Set(['level1'])],
  ])
  expect([...written.missed.values()]).toEqual([])
  expect(lines.filter((line) => line.includes('not handed over') || line.includes('left out'))).toEqual([])
})

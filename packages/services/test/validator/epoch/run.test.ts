import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { probeSeed, seedCommitment, verifyBeaconRound } from 'veritee/beacon'
import { fromHex, toHex } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { type Canaries, type CanaryOpening, canaryCommitment, seedOfCanaries } from 'veritee/scoring'
import { afterAll, expect, test } from 'vitest'
import { keepRequest } from '../../../src/validator/confirm/queue.ts'
import { localBeacon } from '../../../src/validator/epoch/beacon-source.ts'
import { type ConfirmingEpoch, commitToEpoch } from '../../../src/validator/epoch/run.ts'
import { type Probe, planProbes } from '../../../src/validator/probes/probe.ts'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { fixedKey } from '../keys.ts'
import { begins, confirmations, imitateEpoch, imitationBeacon, imitationPlan, probes, validatorKey } from './imitation.ts'

const folder = mkdtempSync(join(tmpdir(), 'veritee-epoch-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
let files = 0
const open = () => openSqliteEpochStore(join(folder, `${files++}.sqlite`))

test('S16: the commitment goes out before the beacon is asked, opens to the seed, and the round is a real one', async () => {
  const store = await open()
  const order: string[] = []
  const beacon = await imitationBeacon()
  const result = await imitateEpoch({
    store,
    changes: {
      commit: async (commitment) => void order.push(commitment),
      beacon: {
        chain: beacon.chain,
        round: async (round) => {
          order.push('beacon')
          return beacon.round(round)
        },
      },
    },
  })
  expect(order).toEqual([result.commitment, 'beacon'])
  const validator = toHex(validatorKey.publicKey)
  expect(await seedCommitment({ epoch: 5, seed: fromHex(result.seed), validator })).toBe(result.commitment)
  await verifyBeaconRound(beacon.chain, result.opened)
  expect(result.records).toHaveLength(probes)
  await store.close()
})

test('S16: an epoch that has opened without a commitment is not begun', async () => {
  const store = await open()
  const late = { epoch: 6, now: (): Date => new Date((begins + 10) * 1000) }
  await expect(imitateEpoch({ store, changes: late })).rejects.toMatchObject({ code: 'epoch_late' })
  expect(await store.fact(6, 'seed')).toBeNull()
  await store.close()
})

test('S18: what others hand over is run again after all else, once, also by several processes and after a crash', async () => {
  const store = await open()
  const order: string[] = []
  const asked = (n: number) => ({ epoch: 5, validator: 'ee'.repeat(32), view: `sha256:${String(n).padStart(64, '0')}` })
  for (const n of [1, 2, 3]) await keepRequest(store, asked(n), `request ${n}`, 3)
  const confirming: ConfirmingEpoch = {
    ...confirmations,
    handOver: async () => {
      order.push(`handed over after ${(await store.records(5)).length}`)
      // Before the time is over; after it there is another time.
      expect(await keepRequest(store, asked(4), 'request 4', 3)).toBe('kept')
    },
    confirm: async (index, request) => {
      order.push(request)
      return confirmations.confirm(index, request)
    },
  }
  // Killed at the second one.
  const killed = { ...confirming, confirm: async () => Promise.reject(fail('validator_store_unavailable', 'killed')) }
  await expect(imitateEpoch({ store, changes: { confirmations: killed } })).rejects.toThrow('killed')
  expect(order).toEqual([`handed over after ${probes}`])
  expect(await keepRequest(store, asked(5), 'request 5', 3)).toBe('closed')
  const again = { ...confirming, handOver: async () => undefined }
  const [one, other] = await Promise.all([1, 2].map(() => imitateEpoch({ store, changes: { confirmations: again } })))
  expect(order.slice(1).sort()).toEqual([1, 2, 3, 4].map((n) => `request ${n}`))
  expect(one?.records).toEqual(other?.records)
  const kinds = (one?.records ?? []).map((text) => (JSON.parse(text) as { kind: string }).kind)
  expect(kinds).toEqual([...Array.from({ length: probes }, () => 'probe'), ...Array.from({ length: 4 }, () => 'confirmation')])
  await store.close()
})

test('S20: the seed commits to the canaries that were made before it, and they take the place of as many probes', async () => {
  const store = await open()
  const canary = (n: number): CanaryOpening => ({
    prompt: JSON.stringify([{ role: 'user', content: `How much is ${n} and ${n}?` }]),
    parameters: { model: 'm', stream: false, temperature: 0, max_tokens: 9 },
    expected: `${2 * n}`,
    salt: String(n).repeat(64),
  })
  const beacon = localBeacon(await imitationBeacon(), () => new Date((begins - 10) * 1000))
  const asked: string[] = []
  const commit = (made: readonly CanaryOpening[], key = validatorKey) =>
    commitToEpoch({
      store,
      epoch: 7,
      begins,
      beacon,
      key,
      now: () => new Date((begins - 10) * 1000),
      canaries: async (secret) => {
        asked.push(toHex(secret))
        return made
      },
    })
  const { seed, commitment } = await commit([canary(1), canary(2)])
  // Killed after that, or another process of the same store: nothing is made again.
  expect(await commit([canary(3)])).toMatchObject({ commitment })
  expect(asked.length).toBe(1)

  const sent: Probe[] = []
  const result = await imitateEpoch({ store, onAudit: (probe) => void sent.push(probe), changes: { epoch: 7 } })
  const validator = toHex(validatorKey.publicKey)
  expect(result.canaries?.commitments).toEqual([await canaryCommitment(canary(1)), await canaryCommitment(canary(2))])
  expect(await seedOfCanaries({ epoch: 7, validator }, result.canaries as Canaries)).toEqual(seed)
  const canaries = sent.filter((probe) => probe.canary !== null)
  expect(canaries.map((probe) => probe.canary?.expected).sort()).toEqual(['2', '4'])
  expect(new Set(sent.map(({ index }) => index)).size).toBe(probes)
  // Time and account are those of the probe in whose place it is.
  const plan = planProbes({ ...imitationPlan(probes), seed: await probeSeed(seed, 7, fromHex(result.opened.randomness)) })
  for (const { index, after, account } of canaries) expect(plan[index]).toMatchObject({ index, after, account })
  await store.close()
})

test('S16: canaries that took longer than there was time are no commitment', async () => {
  const store = await open()
  const beacon = localBeacon(await imitationBeacon(), () => new Date(begins * 1000))
  let seconds = begins - 10
  const late = commitToEpoch({
    store,
    epoch: 7,
    begins,
    beacon,
    key: validatorKey,
    now: () => new Date(seconds * 1000),
    canaries: async () => {
      seconds = begins + 10
      return []
    },
  })
  await expect(late).rejects.toMatchObject({ code: 'epoch_late' })
  expect(await store.fact(7, 'seed')).toBeNull()
  await store.close()
})

test('an epoch that another key has begun is not gone on with', async () => {
  const store = await open()
  await imitateEpoch({ store })
  await expect(imitateEpoch({ store, changes: { key: fixedKey(8) } })).rejects.toMatchObject({ code: 'usage' })
  await store.close()
})

test('a wrong round of the beacon is asked for again and never used', async () => {
  const store = await open()
  const beacon = await imitationBeacon()
  let asked = 0
  const result = await imitateEpoch({
    store,
    changes: {
      beacon: {
        chain: beacon.chain,
        round: async (round) => (asked++ === 0 ? { ...(await beacon.round(round + 1)), round } : beacon.round(round)),
      },
    },
  })
  expect(asked).toBe(2)
  await verifyBeaconRound(beacon.chain, result.opened)
  await store.close()
})

test('the file is for its owner only: it holds the seeds of epochs to come', async () => {
  const path = join(folder, 'mode.sqlite')
  const store = await openSqliteEpochStore(path)
  expect(statSync(path).mode & 0o777).toBe(0o600)
  await store.close()
})

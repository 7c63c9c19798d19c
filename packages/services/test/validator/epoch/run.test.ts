import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { seedCommitment, verifyBeaconRound } from 'veritee/beacon'
import { fromHex, toHex } from 'veritee/bytes'
import { afterAll, expect, test } from 'vitest'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { fixedKey } from '../keys.ts'
import { begins, imitateEpoch, imitationBeacon, probes, validatorKey } from './imitation.ts'

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

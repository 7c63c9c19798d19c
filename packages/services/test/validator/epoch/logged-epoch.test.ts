import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLocalBeacon } from 'veritee/beacon'
import { utf8 } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { fail } from 'veritee/errors'
import { checkpointText, cosign, noteSigner, noteText, parseLogTrust, parseNote, signCheckpoint, verifierKeyText, verifyFork } from 'veritee/log'
import { parseAuditRecord, verifyAuditRecord } from 'veritee/scoring'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { keepRequest } from '../../../src/validator/confirm/queue.ts'
import { localBeacon } from '../../../src/validator/epoch/beacon-source.ts'
import { statusOf } from '../../../src/validator/explain.ts'
import { LogAccess } from '../../../src/validator/log/access.ts'
import { logCommitment } from '../../../src/validator/log/commitment.ts'
import { runValidator, type ValidatorOptions } from '../../../src/validator/service.ts'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { fixedKey } from '../keys.ts'
import { begins, confirmations, probes } from './imitation.ts'
import { type LoggedImitation, logForEpoch, obliged, runLogged } from './logged-imitation.ts'

const closing: (() => Promise<unknown>)[] = []
const folder = mkdtempSync(join(tmpdir(), 'veritee-logged-epoch-'))
closing.push(async () => rmSync(folder, { recursive: true, force: true }))
const half = 5n * 10n ** 17n
let world: LoggedImitation
beforeAll(async () => {
  world = await logForEpoch(closing, 40)
}, 60_000)
afterAll(async () => {
  for (const stop of closing.reverse()) await stop()
})
let files = 0
const open = async (path = join(folder, `${files++}.sqlite`)) => {
  const store = await openSqliteEpochStore(path)
  closing.push(() => store.close())
  return { store, path }
}
const organicOf = (records: readonly string[]) => records.map(parseAuditRecord).filter(({ kind }) => kind === 'organic')

describe('S16: organic audits of an epoch', () => {
  test('exactly the leaves that the seed and the closing round oblige to, but for the receipt of an own probe, which has been audited as that', async () => {
    const chosen = await obliged(world, half)
    expect(chosen.length).toBeGreaterThan(3)
    const [own, ...others] = chosen
    const { store } = await open()
    const { records, log } = await runLogged(world, { store, probability: half, ...(own === undefined ? {} : { own }) })
    expect(organicOf(records).map(({ view }) => view?.log)).toEqual(others.map((leaf) => ({ origin: world.log.policy.origin, ...leaf })))
    const indices = await Promise.all(records.map(async (record) => (await verifyAuditRecord(record)).index))
    expect(indices).toEqual(Array.from({ length: probes + others.length }, (_, i) => i))
    expect(log?.leaves.length).toBeGreaterThanOrEqual(40)
  }, 60_000)

  test('S18: what others hand over comes after them, and changes no place when the epoch is gone on with', async () => {
    const { store } = await open()
    const alone = await runLogged(world, { store: (await open()).store, probability: half })
    await keepRequest(store, { epoch: 5, validator: 'ee'.repeat(32), view: `sha256:${'0'.repeat(64)}` }, 'a request', 3)
    const first = await runLogged(world, { store, probability: half, confirmations })
    const again = await runLogged(world, { store, probability: half, confirmations })
    expect(first.records.slice(0, -1)).toEqual(alone.records)
    expect(parseAuditRecord(first.records.at(-1) ?? '')).toMatchObject({ kind: 'confirmation', index: alone.records.length })
    expect(again.records).toEqual(first.records)
  }, 60_000)

  test('ended in the middle and gone on with by two processes, no leaf is left out or recorded twice, and all is as in an undisturbed epoch', async () => {
    const undisturbed = await runLogged(world, { store: (await open()).store, probability: half })
    const { store, path } = await open()
    let left = 3
    const killed = runLogged(world, {
      store,
      probability: half,
      onAudit: () => {
        if (left-- <= 0) throw fail('validator_store_unavailable', 'ended here')
      },
    })
    await expect(killed).rejects.toThrow('ended here')
    const begun: number[] = []
    const runs = await Promise.all(
      [store, (await open(path)).store].map((one) =>
        runLogged(world, { store: one, probability: half, onAudit: ({ index }) => void begun.push(index) }),
      ),
    )
    expect(runs.map(({ records }) => records)).toEqual([undisturbed.records, undisturbed.records])
    expect(new Set(begun).size).toBe(begun.length)
    // What the first had begun is begun again where it had come to no record.
    const all = organicOf(undisturbed.records).length
    expect(begun.length).toBeGreaterThanOrEqual(all - 3)
    expect(begun.length).toBeLessThanOrEqual(all)
  }, 60_000)

  test('a log whose tiles do not lead to what it signed is not taken: it is asked again until the time is over', async () => {
    const { log, notes } = world
    const lying = createServer((request, response) => {
      // What it shows of the lowest tiles is another's.
      void fetch(`${log.place.url}${request.url}`).then(async (found) => {
        const bytes = new Uint8Array(await found.arrayBuffer())
        if (request.url?.startsWith('/tile/0/')) bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
        response.writeHead(found.status).end(bytes)
      })
    })
    await new Promise<void>((resolve) => void lying.listen(0, '127.0.0.1', resolve))
    closing.push(async () => lying.close())
    const url = `http://127.0.0.1:${(lying.address() as AddressInfo).port}`
    const { readRange } = await import('../../../src/validator/log/range.ts')
    const access = new LogAccess(await parseLogTrust(log.policy), { ...log.place, url })
    const clock = { now: () => new Date(begins * 1000), signal: new AbortController().signal }
    await expect(readRange(access, notes, begins - 1, clock)).rejects.toMatchObject({ code: 'epoch_log_invalid' })
  }, 60_000)
})

describe('S16: commitments', () => {
  const of = { network: 'test', epoch: 5, validator: 'aa'.repeat(32), purpose: 'seed', commitment: `sha256:${'0'.repeat(64)}` } as const
  const clockAt = (unixSeconds: number) => ({ now: () => new Date(unixSeconds * 1000), signal: AbortSignal.timeout(60_000) })

  test('one that the log shows under a checkpoint from after its time is late, also for who asks as if it were not', async () => {
    const access = new LogAccess(await parseLogTrust(world.log.policy), world.log.place)
    await expect(logCommitment(access, of, begins, clockAt(begins - 10))).rejects.toMatchObject({ code: 'epoch_late' })
    const proof = await logCommitment(access, of, begins + 7200, clockAt(begins))
    expect(proof).toContain('c2sp.org/tlog-proof')
    expect(await logCommitment(access, of, begins + 7200, clockAt(begins))).toBe(proof)
  }, 60_000)

  test('an epoch whose commitment the log does not show in time is left out, with the code, and nothing is published', async () => {
    const { store } = await open()
    const genesis = begins + 86_400
    // Each look at the clock is later.
    let seconds = genesis - 290
    const now = (): Date => {
      seconds += 20
      return new Date(seconds * 1000)
    }
    const beacon = await createLocalBeacon(new Uint8Array(32).fill(6), { period: 3, genesisTime: begins })
    const policy = { network: 'test', log: world.log.policy, epoch: { genesis, length: 600 }, organic: { probability: half }, validators: [] }
    const options = {
      key: fixedKey(3),
      store,
      beacon: localBeacon(beacon, now),
      scoring: { text: '', policy },
      apiKeys: async () => [],
      accountsPerEpoch: 1,
      models: new Map([['sha256:', {}]]),
      canariesPerEpoch: 0,
      log: { ...world.log.place, url: 'http://127.0.0.1:9' },
      now,
      signal: AbortSignal.timeout(60_000),
      report: () => undefined,
      publish: () => Promise.reject(new Error('published')),
      peers: null,
      confirmers: null,
    } as unknown as ValidatorOptions
    await runValidator(options, 1)
    expect(await statusOf(store)).toMatchObject([
      { epoch: 0, phase: 'left out', leftOut: expect.stringMatching(/^epoch_late: the commitment to the seed of epoch 0/) },
    ])
  }, 60_000)
})

test('S21: a log that signs two histories before its witness is not gone on with, and the two checkpoints convict it', async () => {
  const signer = await noteSigner('log.example/two', 'ed25519', await generateEd25519())
  const witness = await noteSigner('witness.example', 'cosignature', await generateEd25519())
  const noteOf = async (root: number): Promise<string> => {
    const head = { origin: 'log.example/two', size: 7, root: new Uint8Array(32).fill(root), extensions: [] }
    const { text, signatures } = parseNote(await signCheckpoint(head, signer))
    return noteText({ text, signatures: [...signatures, await cosign(checkpointText(head), witness, begins)] })
  }
  const notes = [await noteOf(1), await noteOf(2)]
  let asked = 0
  const server = createServer((_, response) => void response.end(notes[asked++]))
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  closing.push(async () => server.close())
  const keys = { key: verifierKeyText(signer.verifier), witnesses: [verifierKeyText(witness.verifier)] }
  const trust = await parseLogTrust({ origin: 'log.example/two', ...keys, quorum: 1 })
  const access = new LogAccess(trust, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, writeToken: '', viewsToken: null })
  expect((await access.checkpoint()).size).toBe(7)
  await expect(access.checkpoint()).rejects.toMatchObject({ code: 'log_fork' })
  expect((await verifyFork(access.contradiction ?? '', trust)).size).toBe(7)
  // Another process goes on from what an epoch rests on.
  const again = new LogAccess(trust, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, writeToken: '', viewsToken: null })
  await again.resume(notes[0] ?? '')
  notes[2] = notes[1] ?? ''
  await expect(again.checkpoint()).rejects.toMatchObject({ code: 'log_fork' })
})

test('what the log gives of an entry is not believed', async () => {
  const access = new LogAccess(await parseLogTrust(world.log.policy), world.log.place)
  expect(await access.find(utf8('never put there'))).toBeNull()
  expect((await access.find(utf8('leaf 3')))?.index).toBeGreaterThan(0)
})

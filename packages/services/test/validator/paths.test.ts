import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jcsDigest, toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { signAuditRecord, verifyAuditRecord } from 'veritee/scoring'
import { afterAll, expect, test } from 'vitest'
import { loadModel, policyOf, simulateMachine, startWorker } from '../../src/demo/system.ts'
import { resolveModel } from '../../src/models/locate.ts'
import { type AuditContext, unreachable } from '../../src/validator/audit/audit.ts'
import { Clients } from '../../src/validator/clients.ts'
import { accountsAhead, accountsOf, Paths, targetsOf } from '../../src/validator/paths.ts'
import type { Probe } from '../../src/validator/probes/probe.ts'
import { openSqliteEpochStore } from '../../src/validator/store/sqlite-store.ts'

const now = (): Date => new Date()
const client = { account: 7, encryptTo: 'none' } as const
const folder = mkdtempSync(join(tmpdir(), 'veritee-paths-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('S5, S19: a worker of the list is asked directly; once known, it is charged where it does not answer, and never known, it is left out', async () => {
  const machine = await simulateMachine(now)
  const model = await loadModel(await resolveModel('demo'))
  const operator = await generateEd25519()
  const log = { origin: 'log.example/test', promiseSeconds: 600, keep: async () => undefined }
  const worker = await startWorker(machine, [model.served], 0, now, undefined, { operator, log })
  const { url } = worker.server
  const nobody = 'http://127.0.0.1:1'
  const store = await openSqliteEpochStore(join(folder, 'validator.sqlite'))
  const said: string[] = []
  const key = await generateEd25519()
  const salt = '5a'.repeat(32)
  const setting = {
    store,
    controllers: [],
    workers: [nobody, url],
    apiKeys: [],
    evidence: { trust: machine.trust, policy: policyOf(machine, [model]) },
    roster: { manifest: await jcsDigest({}), salt, operators: [], shared: [] },
    now,
    signal: new AbortController().signal,
    report: (line: string) => void said.push(line),
  }
  try {
    const targets = await targetsOf(setting, 4)
    expect(targets).toMatchObject([{ url, silent: { worker: { operator: toHex(operator.publicKey), slot: 0 } } }])
    expect(said.at(-1)).toBe(`${nobody}: left out of epoch 4: it has never shown which operator's worker it is`)
    const clients = new Clients(now)
    const paths = new Paths({ ...setting, clients, epoch: 4 }, targets)
    expect(await paths.of(client)).toMatchObject({ operators: [], connection: { service: { report: { descriptor: { role: 'worker' } } } } })
    clients.close()
    await expect(targetsOf({ ...setting, workers: [nobody] }, 4)).rejects.toMatchObject({ code: 'usage' })

    await worker.server.close()
    const later = await targetsOf(setting, 5)
    expect(later).toEqual(targets)
    const silent = await new Paths({ ...setting, clients, epoch: 5 }, later).of(client)
    if (!('code' in silent)) throw new Error('expected no path to a worker that is gone')
    expect(silent).toMatchObject({ silent: targets[0]?.silent, code: 'service_unavailable' })
    const context = { network: 'test', salt, validator: toHex(key.publicKey), epoch: 5, now } as unknown as AuditContext
    const { record } = unreachable(context, silent.silent, { index: 3, canary: null } as Probe, silent.code)
    // What readers of records take, and nobody is convicted by.
    expect(await verifyAuditRecord(await signAuditRecord(record, key))).toMatchObject({
      path: [],
      worker: { operator: toHex(operator.publicKey) },
      verdict: 'unattributable',
      reason: 'attestation_unavailable',
      charged: 'worker',
    })
  } finally {
    await worker.server.close()
    await model.engine.dispose()
    await store.close()
  }
}, 120_000)

test('S20: an account serves in one epoch, also where that is begun again', async () => {
  const store = await openSqliteEpochStore(join(folder, 'accounts.sqlite'))
  try {
    const keys = ['a', 'b', 'c']
    expect(await accountsOf(store, 1, [], 2)).toEqual([])
    expect(await accountsAhead(store, keys, 2, 3)).toEqual([['a', 'b']])
    expect(await accountsOf(store, 1, keys, 2)).toEqual(['a', 'b'])
    expect(await accountsOf(store, 1, keys, 2)).toEqual(['a', 'b'])
    expect(await accountsOf(store, 2, keys, 2)).toEqual(['c'])
    expect(await accountsOf(store, 3, keys, 2)).toBeNull()
    expect(await accountsOf(store, 3, [...keys, 'd'], 2)).toEqual(['d'])
    // What is kept of an account is not its key.
    expect((await store.facts(2, 'account ')).every(({ name }) => /^account [0-9a-f]{64}$/.test(name))).toBe(true)
  } finally {
    await store.close()
  }
})

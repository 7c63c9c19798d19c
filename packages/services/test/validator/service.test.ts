import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLocalBeacon } from 'veritee/beacon'
import { type Json, jcsDigest, toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import type { Policy } from 'veritee/policy'
import { parseAuditRecord, parseScoringPolicy, readFrom, verifyEpoch } from 'veritee/scoring'
import { afterAll, expect, test } from 'vitest'
import { replayModelOf, startFleet } from '../../src/demo/fleet.ts'
import { keyOf, signDemoScoringPolicy } from '../../src/demo/scoring-policy.ts'
import { loadModel, policyOf, simulateMachine, startController } from '../../src/demo/system.ts'
import { policyRules } from '../../src/enclave/runtime/admission/rules.ts'
import { resolveModel } from '../../src/models/locate.ts'
import { localBeacon } from '../../src/validator/epoch/beacon-source.ts'
import type { Concluded } from '../../src/validator/epoch/conclude.ts'
import { openDueCanaries } from '../../src/validator/epoch/openings.ts'
import { statusOf, whyOf } from '../../src/validator/explain.ts'
import { runValidator, type ValidatorOptions } from '../../src/validator/service.ts'
import { openSqliteEpochStore } from '../../src/validator/store/sqlite-store.ts'

const closing: (() => unknown)[] = []
afterAll(async () => {
  for (const stop of closing.reverse()) await stop()
})

/** The clock is put forward to the end of the epoch once all audits are done: epochs are long, and this test is not. */
let ahead = 0
const now = (): Date => new Date(Date.now() + ahead)
const realNow = (): Date => new Date()

test('an epoch of the service: committed, audited, published; the bundle verifies, the cheat is convicted, and why is told in words', async () => {
  const machine = await simulateMachine(realNow)
  const found = await resolveModel('demo')
  const model = await loadModel(found)
  closing.push(() => model.engine.dispose())
  const policy: Policy = policyOf(machine, [model])
  const rules = async () => policyRules(async () => ({ policy, trust: machine.trust }))
  const controller = await startController(machine, policy, { api: 0, control: 0 }, realNow)
  closing.push(
    () => controller.controller.close(),
    () => controller.control.close(),
    () => controller.api.close(),
  )
  const log = { origin: 'log.example/test', promiseSeconds: 600, keep: async () => undefined }
  const setting = {
    machine,
    rules,
    controller,
    model,
    path: found.path,
    memoryDirectory: tmpdir(),
    log,
    now: realNow,
    closing: closing as (() => Promise<unknown>)[],
  }
  const fleet = await startFleet(setting)
  const replay = await replayModelOf(setting)
  const folder = mkdtempSync(join(tmpdir(), 'veritee-service-'))
  closing.push(() => rmSync(folder, { recursive: true, force: true }))
  const store = await openSqliteEpochStore(join(folder, 'validator.sqlite'))
  closing.push(() => store.close())

  const key = await generateEd25519()
  // Far enough that every canary is made; the clock is then put forward.
  const genesis = Math.floor(now().getTime() / 1000) + 200
  const beacon = await createLocalBeacon(new Uint8Array(32).fill(5), { period: 3, genesisTime: genesis - 3000 })
  const text = await signDemoScoringPolicy({
    network: 'test',
    genesis,
    length: 600,
    log: null,
    probability: '0.1',
    validator: keyOf(key),
    weights: await jcsDigest(model.served.described.files as unknown as Json),
    beacon: beacon.chain,
    signers: [key],
  })
  const published: Concluded[] = []
  const again: ReadonlyMap<string, string>[] = []
  const roster = {
    manifest: `sha256:${'0'.repeat(64)}`,
    salt: '5a'.repeat(32),
    operators: fleet.map(({ operator }) => keyOf(operator)).sort(),
    shared: [],
  }
  const options: ValidatorOptions = {
    key,
    store,
    beacon: localBeacon(beacon, now),
    scoring: { text, policy: (await parseScoringPolicy(text)).policy },
    roster,
    evidence: { trust: machine.trust, policy },
    controllers: [{ url: controller.api.url, operator: 'c0'.repeat(32) }],
    workers: [],
    apiKeys: async () => [],
    warmEpochs: 0,
    accountsPerEpoch: 1,
    log: null,
    models: new Map([[`sha256:${replay.engine.model.sha256}`, { name: model.served.name, replay }]]),
    calibrations: [],
    probesPerEpoch: 12,
    templates: null,
    traffic: null,
    canariesPerEpoch: 4,
    encrypted: { controller: 0.3, worker: 0.3 },
    probingPart: 0.005,
    parallel: 2,
    now,
    clockMs: () => performance.now(),
    signal: AbortSignal.timeout(400_000),
    report: (line) => {
      if (line.includes('committed to')) ahead = (genesis + 1) * 1000 - Date.now()
    },
    publish: async (_, concluded) => void published.push(concluded),
    contents: null,
    peers: null,
    confirmers: null,
    publishAgain: async (_, files) => void again.push(files),
  }
  const watching = setInterval(async () => {
    if ((await store.records(0)).length === 12) ahead = 900_000
  }, 200)
  await runValidator(options, 1).finally(() => clearInterval(watching))

  const [concluded] = published
  const bundle = concluded?.written.bundle ?? new Map<string, string>()
  const verdict = await verifyEpoch(readFrom(bundle), { trust: null, verifyProof: null, roster: null, previous: null })
  expect([verdict.verdict, verdict.first]).toEqual(['verified', null])
  const [honest, cheat] = fleet.map(({ operator }) => toHex(operator.publicKey))
  expect(new Set(concluded?.frauds.map(({ proven }) => proven.accused.operatorKey))).toEqual(new Set([cheat]))
  expect(concluded?.written.scores.convictions.map(({ operator }) => operator)).toEqual([cheat])

  expect(await statusOf(store)).toMatchObject([{ epoch: 0, phase: 'published', records: 12, left: 0 }])
  const whyCheat = await whyOf(store, 0, cheat?.slice(0, 12) ?? '')
  expect(whyCheat?.sentences.join('\n')).toMatch(
    /fail: its own receipt names other weights than it announced, or another model than was asked for \(against it; records [0-9, ]+\)/,
  )
  expect(whyCheat?.sentences.join('\n')).toContain('It convicted itself: a fraud proof of the kind model_contradicted')
  const whyHonest = await whyOf(store, 0, honest ?? '')
  expect(whyHonest?.sentences.at(-1)).toMatch(/^Its score is [0-9.]+: [0-9]+ tokens of work/)
  expect(await whyOf(store, 0, 'ff'.repeat(32))).toBeNull()

  // S20: canaries are among the records, with the answers that this validator's engine gave before; they are opened an epoch later, in the same bundle.
  const canaries = (await store.records(0)).map(parseAuditRecord).filter(({ kind }) => kind === 'canary')
  expect(canaries.length).toBe(4)
  expect(canaries.filter(({ worker }) => worker?.operator === honest).every(({ verdict: found }) => found === 'pass')).toBe(true)
  expect(verdict.checks.find(({ id }) => id === 'canaries')?.detail).toBe('0 of 4 opened')
  await openDueCanaries(options)
  expect(again).toEqual([])
  ahead = 1_500_000
  await openDueCanaries(options)
  await openDueCanaries(options)
  expect(again.length).toBe(1)
  expect([...(again[0]?.keys() ?? [])].map((name) => name.split('/').at(-1))).toEqual(['openings.jsonl', 'manifest.json', 'signatures.json'])
  const opened = await verifyEpoch(readFrom(new Map([...bundle, ...(again[0] ?? [])])), {
    trust: null,
    verifyProof: null,
    roster: null,
    previous: null,
  })
  expect([opened.verdict, opened.checks.find(({ id }) => id === 'canaries')?.detail]).toEqual(['verified', '4 of 4 opened'])

  // One byte of a record, and its line is named.
  const path = `validators/${keyOf(key)}/records.jsonl`
  const records = bundle.get(path) ?? ''
  const at = records.indexOf('"output_tokens":', records.indexOf('\n')) + '"output_tokens":'.length
  const changed = new Map(bundle).set(path, `${records.slice(0, at)}${records[at] === '1' ? '2' : '1'}${records.slice(at + 1)}`)
  const refused = await verifyEpoch(readFrom(changed), { trust: null, verifyProof: null, roster: null, previous: null })
  expect(refused).toMatchObject({ verdict: 'rejected', first: { file: path, record: { validator: keyOf(key), line: 1 } } })
}, 480_000)

test('parameters that name a log without being told where it is, a log that they do not name, epochs too short for one, and no weights at all, are refused before anything is committed to', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'veritee-service-'))
  closing.push(() => rmSync(folder, { recursive: true, force: true }))
  const store = await openSqliteEpochStore(join(folder, 'validator.sqlite'))
  closing.push(() => store.close())
  const refusal = (log: unknown, place: object | null, length = 600) =>
    runValidator({ store, scoring: { policy: { log, epoch: { length } } }, log: place, models: new Map() } as unknown as ValidatorOptions, 1)
  await expect(refusal({ origin: 'x' }, null)).rejects.toMatchObject({ code: 'usage' })
  await expect(refusal('any', { url: 'http://127.0.0.1:9' })).rejects.toMatchObject({ code: 'usage' })
  await expect(refusal({ origin: 'x' }, { url: 'http://127.0.0.1:9' }, 120)).rejects.toMatchObject({ code: 'policy_invalid' })
  await expect(refusal('any', null)).rejects.toMatchObject({ code: 'usage' })
  expect(await store.epochs()).toEqual([])
})

import { tmpdir } from 'node:os'
import { intelSgxRootCa } from 'veritee/attestation'
import { type Json, jcsDigest, toHex } from 'veritee/bytes'
import { nodeTransport, type Transport } from 'veritee/client'
import { generateEd25519, type SigningKey } from 'veritee/crypto'
import { type EngineFacts, parseReport, verifyReport } from 'veritee/receipt'
import {
  type CanaryOpening,
  canaryCommitment,
  type ScoringPolicy,
  signAuditRecord,
  type UnsignedAuditRecord,
  verifyAuditRecord,
} from 'veritee/scoring'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cheatingModel, type FleetWorker, replayModelOf, startFleet } from '../../src/demo/fleet.ts'
import {
  type LoadedModel,
  loadModel,
  policyOf,
  type RunningController,
  type SimulatedMachine,
  simulateMachine,
  startController,
  startWorker,
} from '../../src/demo/system.ts'
import { policyRules } from '../../src/enclave/runtime/admission/rules.ts'
import type { LogLink } from '../../src/enclave/runtime/receipts/log-link.ts'
import { resolveModel } from '../../src/models/locate.ts'
import { type Calibration, formatCalibration, type ReplayModel, replayWith } from '../../src/replay/index.ts'
import { appealAudit } from '../../src/validator/audit/appeal.ts'
import { type AuditContext, type Audited, auditProbe } from '../../src/validator/audit/audit.ts'
import { findFraud } from '../../src/validator/audit/fraud.ts'
import { type EncryptTo, openPath, type Path } from '../../src/validator/audit/path.ts'
import { replayReasonOf } from '../../src/validator/audit/reasons.ts'
import { calibrationFor, type NamedCalibration, namedCalibrations } from '../../src/validator/calibrations.ts'
import { InTurn } from '../../src/validator/in-turn.ts'
import { makeCanaries, placeCanaries } from '../../src/validator/probes/canaries.ts'
import { type Probe, planProbes } from '../../src/validator/probes/probe.ts'
import type { Traffic } from '../../src/validator/probes/traffic.ts'
import { meddled } from '../e2e/network.ts'
import { passedOff } from '../replay/worker.ts'

const now = (): Date => new Date()
const closing: (() => unknown)[] = []
let machine: SimulatedMachine
let model: LoadedModel
let controller: RunningController
let fleet: readonly FleetWorker[]
let replay: ReplayModel
let key: SigningKey
let policy: ReturnType<typeof policyOf>
/** Promised, and kept by nobody: what a log does with it has tests of its own. */
const log: LogLink = { origin: 'log.example/test', promiseSeconds: 600, keep: async () => undefined }
const controllerOperator = 'c0'.repeat(32)

beforeAll(async () => {
  machine = await simulateMachine(now)
  const found = await resolveModel('demo')
  model = await loadModel(found)
  closing.push(() => model.engine.dispose())
  policy = policyOf(machine, [model])
  const rules = async () => policyRules(async () => ({ policy, trust: machine.trust }))
  controller = await startController(machine, policy, { api: 0, control: 0 }, now)
  closing.push(
    () => controller.controller.close(),
    () => controller.control.close(),
    () => controller.api.close(),
  )
  const setting = {
    machine,
    rules,
    controller,
    model,
    path: found.path,
    memoryDirectory: tmpdir(),
    log,
    now,
    closing: closing as (() => Promise<unknown>)[],
  }
  fleet = await startFleet(setting)
  replay = await replayModelOf(setting)
  key = await generateEd25519()
}, 240_000)
afterAll(async () => {
  for (const stop of closing.reverse()) await stop()
})

const context = (): AuditContext => ({
  network: 'test',
  salt: '5a'.repeat(32),
  validator: toHex(key.publicKey),
  epoch: 1,
  trust: machine.trust,
  now,
  clockMs: () => performance.now(),
  replay: async (record) => ({ report: await replayWith(record, replay), calibration: null }),
  findInLog: null,
  named: null,
  timeoutMs: 20_000,
})

const encrypted = { controller: 0, worker: 0 }
/** Answers with a limit: those without one take long here. */
const traffic: Traffic = {
  habits: (['openai', 'langchain'] as const).flatMap((program) =>
    [{ stream: true }, { temperature: 0, stream: false }, { temperature: 0.7, top_p: 0.95, stream: true }].map((options) => ({
      program,
      sittings: [[{ after: 0, options: { ...options, max_tokens: 16 }, order: null, before: [], kept: 0, said: 80 }]],
      cut: null,
    })),
  ),
  phrases: null,
  digest: null,
}
const pathOver = (transport: Transport, operators: readonly string[], encryptTo: EncryptTo = 'none'): Promise<Path> =>
  openPath(transport.origin, { policy, trust: machine.trust, now, operators, encryptTo, apiKey: null, openTransport: () => transport })

async function audits(
  count: number,
  transport: Transport,
  seed = 1,
  operators: readonly string[] = [controllerOperator],
  encryptTo: EncryptTo = 'none',
): Promise<readonly Audited[]> {
  const path = await pathOver(transport, operators, encryptTo)
  const found: Audited[] = []
  const plan = { seed: new Uint8Array(32).fill(seed), count, seconds: 60, maxTokens: 16, maxPrompt: 300, clients: 1, encrypted, traffic }
  for (const probe of planProbes(plan)) found.push(await auditProbe(context(), path, model.served.name, probe))
  // Whatever came of it, it is a record that readers of records take.
  for (const { record } of found) await verifyAuditRecord(await signAuditRecord(record, key))
  return found
}

const of = (found: readonly Audited[], { operator }: FleetWorker): readonly Audited[] =>
  found.filter(({ record }) => record.worker?.operator === toHex(operator.publicKey))
const [honestAt, cheatAt] = [0, 1]
const proofsOf = (audited: Audited) => findFraud(audited.evidence, [], { trust: machine.trust, policy, at: now() }, null)

test.each([
  [-400, 'receipt_malformed'],
  [400, 'receipt_malformed'],
  [-200, null],
])('S18, S19: a worker whose clock is %i seconds off: %s', async (seconds, reason) => {
  const operator = await generateEd25519()
  // Its keys are of now: with others nobody connects.
  let off = 0
  const running = await startWorker(machine, [model.served], 0, () => new Date(Date.now() + off), undefined, { operator, log })
  closing.push(() => running.server.close())
  off = seconds * 1000
  for (const { record } of await audits(2, nodeTransport(running.server.url), 30, []))
    expect(record).toMatchObject({ reason, ...(reason === null ? { verdict: 'pass' } : { verdict: 'fail', charged: 'worker' }) })
})

describe('through a controller', () => {
  let found: readonly Audited[]
  beforeAll(async () => {
    found = await audits(16, nodeTransport(controller.api.url))
  }, 240_000)

  test('an honest worker passes, at level 1, with its view and its machine named', async () => {
    const own = of(found, fleet[honestAt] as FleetWorker)
    expect(own.length).toBeGreaterThan(0)
    for (const { record } of own) {
      expect(record).toMatchObject({
        verdict: 'pass',
        reason: null,
        charged: null,
        replay: { level: 1, outcome: 'pass' },
        attestation: { verdict: 'accepted' },
      })
      expect(record.output_tokens).toBe(record.replay?.tokens.total)
    }
  })

  test('S5: a worker that runs other weights under the announced name fails by its own receipt, and the proof convicts its operator', async () => {
    const own = of(found, fleet[cheatAt] as FleetWorker)
    expect(own.length).toBeGreaterThan(0)
    for (const audited of own) {
      expect(audited.record).toMatchObject({ verdict: 'fail', reason: 'model_mismatch', charged: 'worker' })
      const proofs = await proofsOf(audited)
      expect(proofs.map(({ proven }) => proven.kind)).toEqual(['model_contradicted'])
      expect(proofs[0]?.proven.accused.operatorKey).toBe(toHex((fleet[cheatAt] as FleetWorker).operator.publicKey))
    }
  })

  test('S5: nothing of what an honest worker signed is a proof', async () => {
    for (const audited of of(found, fleet[honestAt] as FleetWorker)) expect(await proofsOf(audited)).toEqual([])
  })

  test('an appeal finds the same again, of a pass and of a fault, and says where the record or its evidence is another', async () => {
    const [pass, other] = of(found, fleet[honestAt] as FleetWorker)
    const [fault] = of(found, fleet[cheatAt] as FleetWorker)
    if (pass === undefined || other === undefined || fault === undefined) throw new Error('expected audits of both workers')
    const appeal = async ({ record, evidence }: Audited, own = true, roots = machine.trust) =>
      appealAudit({
        record: await signAuditRecord(record, key),
        evidence: JSON.stringify(evidence),
        trust: roots,
        replay: async (exchange) => (own ? replayWith(exchange, replay) : null),
      })
    expect(await appeal(pass)).toMatchObject({ outcome: 'same', found: null, replay: { verdict: 'pass', level: 1 } })
    expect(await appeal(fault)).toMatchObject({ outcome: 'same', found: 'model_mismatch', recorded: { verdict: 'fail' } })
    expect(await appeal(pass, false)).toMatchObject({ outcome: 'undecided', why: expect.stringContaining('no weights') })
    expect(await appeal(pass, true, { roots: [intelSgxRootCa] })).toMatchObject({
      outcome: 'undecided',
      why: expect.stringContaining('does not verify'),
    })

    // A validator that says of an honest worker what is not so.
    const charged = { verdict: 'fail', reason: 'outcome_mismatch', charged: 'worker', replay: null } as const
    expect(await appeal({ ...pass, record: { ...pass.record, ...charged } })).toMatchObject({
      outcome: 'different',
      found: null,
      why: 'the record says outcome_mismatch, found pass',
    })
    const unseen = { verdict: 'unattributable', reason: 'timeout', charged: 'controller', replay: null } as const
    expect(await appeal({ ...pass, record: { ...pass.record, ...unseen } })).toMatchObject({ outcome: 'undecided', found: null })
    // One byte of the answer, or the evidence of another audit.
    const bytes = { ...pass.evidence, response: `${pass.evidence.response} ` }
    expect(await appeal({ ...pass, evidence: bytes })).toMatchObject({ outcome: 'different', found: 'response_mismatch' })
    expect(await appeal({ ...pass, evidence: other.evidence })).toMatchObject({ outcome: 'different', why: expect.stringMatching(/^the re/) })
    expect(await appeal({ ...pass, evidence: fault.evidence })).toMatchObject({
      outcome: 'different',
      why: expect.stringContaining('another keyset'),
    })
    const gone = { ...pass.evidence, report: null }
    expect(await appeal({ ...pass, evidence: gone })).toMatchObject({ outcome: 'undecided' })
  })

  test('S6: a record holds no content and no digest of it that is not keyed', async () => {
    for (const { record, evidence } of found) {
      const text = JSON.stringify(record)
      const receipt = JSON.parse(evidence.workerReceipt ?? '{"event_log":[]}') as { event_log: { body_hash?: string }[] }
      for (const { body_hash: hash } of receipt.event_log) if (hash !== undefined) expect(text).not.toContain(hash.slice(7))
      expect(text).not.toContain(JSON.parse(evidence.request).messages.at(-1).content.slice(0, 20))
    }
  })
})

describe.each(['controller', 'worker'] as const)('S4, S20: bodies encrypted to the %s', (encryptTo) => {
  test('are audited in full: an honest worker passes at level 1, a cheat convicts itself, and nothing of either is on the wire', {
    timeout: 240_000,
  }, async () => {
    const wire: string[] = []
    const transport = meddled(controller.api.url, {
      response: (_, body) => {
        wire.push(body.toString('latin1'))
        return body
      },
    })
    const found = await audits(3, transport, encryptTo === 'worker' ? 6 : 7, [controllerOperator], encryptTo)
    for (const { record } of found) expect(record.worker).not.toBeNull()
    for (const audited of of(found, fleet[honestAt] as FleetWorker)) {
      expect(audited.record).toMatchObject({
        verdict: 'pass',
        reason: null,
        replay: { level: 1, outcome: 'pass' },
        attestation: { verdict: 'accepted' },
      })
      expect(audited.record.timings?.validator.total_ms).toBeGreaterThan(0)
      expect(await proofsOf(audited)).toEqual([])
      const appeal = { record: await signAuditRecord(audited.record, key), evidence: JSON.stringify(audited.evidence), trust: machine.trust }
      expect(await appealAudit({ ...appeal, replay: async (exchange) => replayWith(exchange, replay) })).toMatchObject({
        outcome: 'same',
        found: null,
      })
    }
    for (const audited of of(found, fleet[cheatAt] as FleetWorker)) {
      expect(audited.record).toMatchObject({ verdict: 'fail', reason: 'model_mismatch', charged: 'worker' })
      expect((await proofsOf(audited)).map(({ proven }) => proven.kind)).toEqual(['model_contradicted'])
    }
    const sent = transport.sent.map(({ body }) => Buffer.from(body ?? []).toString('latin1'))
    for (const { evidence } of found) {
      const asked = JSON.parse(evidence.request).messages.at(-1).content.slice(0, 20)
      expect([...sent, ...wire].some((text) => text.includes(asked))).toBe(false)
    }
  })

  test('S19: what is changed on the way is nobody`s fault but of whoever delivered it', { timeout: 240_000 }, async () => {
    const changed = meddled(controller.api.url, {
      response: ({ path }, body) => (path === '/v1/chat/completions' ? Buffer.from(body.map((byte, i) => (i === 40 ? byte ^ 1 : byte))) : body),
    })
    for (const { record } of await audits(2, changed, 8, [controllerOperator], encryptTo))
      expect(record).toMatchObject({ verdict: 'unattributable', charged: 'controller' })
  })
})

test('S5: a worker that was asked directly, in sealed bodies, convicts itself by other weights', { timeout: 240_000 }, async () => {
  const { path } = await resolveModel('demo')
  const run = await cheatingModel({ model, path, memoryDirectory: tmpdir(), closing: closing as (() => Promise<unknown>)[] })
  const cheat = await startWorker(machine, [run], 0, now, undefined, { operator: await generateEd25519(), log })
  try {
    const found = await audits(1, nodeTransport(cheat.server.url), 6, [], 'worker')
    expect(found.map(({ record }) => [record.verdict, record.charged])).toEqual([['fail', 'worker']])
  } finally {
    await cheat.server.close()
  }
})

test('S20: what is sealed to a worker rests on its evidence over a nonce of the validator, fetched as every client does', async () => {
  const transport = meddled(controller.api.url, {})
  const [audited] = await audits(1, transport, 6, [controllerOperator], 'worker')
  const asked = transport.sent.filter(({ path }) => /^\/v1\/veritee\/workers\/[0-9a-f]{64}\/attestation\?nonce=[0-9a-f]{64}$/.test(path))
  expect(asked.length).toBe(1)
  const nonce = asked[0]?.path.slice(-64) ?? ''
  const report = parseReport(audited?.evidence.report ?? '')
  expect((await verifyReport(report, nonce, machine.trust, now())).keysetDigest).toBe(audited?.record.keyset)
})

describe('S20: a canary', () => {
  const seed = new Uint8Array(32).fill(9)
  const plan = { seed, count: 1, seconds: 60, maxTokens: 16, maxPrompt: 300, clients: 1, encrypted, traffic }
  let right: readonly CanaryOpening[]
  let worker: Awaited<ReturnType<typeof startWorker>>
  const auditOf = async (canary: CanaryOpening, changes: Partial<AuditContext> = {}): Promise<Audited> => {
    const transport = nodeTransport(worker.server.url)
    const path = await pathOver(transport, [])
    const [probe] = await placeCanaries(seed, planProbes(plan), [canary])
    const audited = await auditProbe({ ...context(), ...changes }, path, model.served.name, probe as Probe)
    await verifyAuditRecord(await signAuditRecord(audited.record, key))
    transport.close()
    return audited
  }
  afterAll(() => worker.server.close())
  beforeAll(async () => {
    worker = await startWorker(machine, [model.served], 0, now, undefined, { operator: await generateEd25519(), log })
    const models = [{ name: model.served.name, replay }]
    right = await makeCanaries({
      secret: seed,
      count: 2,
      models,
      maxTokens: 16,
      maxPrompt: 300,
      turn: new InTurn(),
      signal: AbortSignal.timeout(60_000),
    })
  })

  test('has the answer that an honest worker gives, and is recorded under its commitment', async () => {
    expect(right.length).toBe(2)
    for (const canary of right)
      expect((await auditOf(canary)).record).toMatchObject({ kind: 'canary', canary: await canaryCommitment(canary), verdict: 'pass', reason: null })
  })

  test('with another answer is a fault only where nothing else was established, and the engine is the same', async () => {
    const wrong = { ...(right[0] as CanaryOpening), expected: 'something else' }
    // Two answers of one engine of this validator: no worker is charged with that.
    expect((await auditOf(wrong)).record).toMatchObject({ verdict: 'inconclusive', reason: 'engine_not_replayable', charged: null })
    // A receipt with a parameter that nobody knows keeps the replay from an end, and not the canary.
    const dodged: AuditContext['replay'] = async (record) => ({
      report: { ...(await replayWith(record, replay)), verdict: 'inconclusive', reason: 'parameters_unknown' },
      calibration: null,
    })
    expect((await auditOf(wrong, { replay: dodged })).record).toMatchObject({ verdict: 'fail', reason: 'canary_mismatch', charged: 'worker' })
    expect((await auditOf(right[0] as CanaryOpening, { replay: dodged })).record).toMatchObject({ verdict: 'inconclusive' })
    const elsewhere: AuditContext['replay'] = async (record) => {
      const report = await replayWith(record, replay)
      const here = { ...(report.engines as NonNullable<typeof report.engines>).here, cpu_variant: 'other' }
      return { report: { ...report, verdict: 'inconclusive', reason: 'engine_differs', engines: { receipt: here, here } }, calibration: null }
    }
    expect((await auditOf(wrong, { replay: elsewhere })).record).toMatchObject({ verdict: 'inconclusive', reason: 'engine_not_replayable' })
  })
})

describe('S18: on an engine that is another one than the worker`s', () => {
  /** The same engine under another name, so that what is near is known. */
  const there = (): EngineFacts => replay.facts
  const elsewhere = (): ReplayModel => ({ ...replay, facts: { ...replay.facts, cpu_variant: 'another' } })
  const calibrationOf = (p0_upper: string): Calibration => ({
    version: 'veritee.calibration.v1',
    model: { sha256: `sha256:${replay.engine.model.sha256}`, size: replay.engine.model.size },
    engines: { there: there(), here: elsewhere().facts },
    // What is here is the same engine under another name: an honest answer is no farther than nothing.
    margin: { greedy: '0.0000', sampled: '0.0000' },
    min_share: '1.0000',
    min_tokens: 1,
    measured: { answers: 4000, tokens: 90_000, failed: 0, p0: '0.0002', p0_upper },
    created: 1_800_000_000,
  })
  const policyNaming = async (calibration: Calibration, p0Upper: bigint): Promise<ScoringPolicy> => {
    const level2 = { calibration: await jcsDigest(calibration as unknown as Json), p0: 2n * 10n ** 14n, p0Upper }
    return { models: [{ level2 }], sprt: { maxP0Upper: 10n ** 15n } } as unknown as ScoringPolicy
  }
  const replayBy =
    (calibrations: readonly NamedCalibration[]): AuditContext['replay'] =>
    async (record, { files }) => {
      const named = calibrationFor(calibrations, { model: files[0]?.sha256 ?? '', there: there(), here: elsewhere().facts })
      return { report: await replayWith(record, elsewhere(), named?.calibration ?? null), calibration: named?.digest ?? null }
    }

  test('without a calibration nothing is established; with one, an honest answer passes and one of other weights fails, at level 2', {
    timeout: 240_000,
  }, async () => {
    const calibrations = await namedCalibrations(
      [formatCalibration(calibrationOf('0.0009'))],
      await policyNaming(calibrationOf('0.0009'), 9n * 10n ** 14n),
    )
    expect(calibrations[0]?.convicts).toBe(true)
    const { path } = await resolveModel('demo')
    const run = await cheatingModel({ model, path, memoryDirectory: tmpdir(), closing: closing as (() => Promise<unknown>)[] })
    for (const [served, expected] of [
      [model.served, { verdict: 'pass', reason: null, charged: null }],
      [passedOff(run, model.served), { verdict: 'fail', reason: 'replay_mismatch', charged: 'worker' }],
    ] as const) {
      const worker = await startWorker(machine, [served], 0, now, undefined, { operator: await generateEd25519(), log })
      const over = await pathOver(nodeTransport(worker.server.url), [])
      // Greedy: a text that was sampled may be that of several sequences of tokens, which another engine then cannot tell.
      const greedy = { ...traffic, habits: traffic.habits.filter(({ sittings }) => sittings[0]?.[0]?.options.temperature === 0) }
      const plan = { seed: new Uint8Array(32).fill(5), count: 3, seconds: 60, maxTokens: 16, maxPrompt: 300, clients: 1, encrypted, traffic: greedy }
      const found: UnsignedAuditRecord[] = []
      for (const probe of planProbes(plan)) {
        const { record } = await auditProbe({ ...context(), replay: replayBy(calibrations) }, over, model.served.name, probe)
        found.push(await verifyAuditRecord(await signAuditRecord(record, key)))
      }
      // Not each answer of slightly other weights is another one.
      const judged = expected.verdict === 'pass' ? found : found.filter(({ verdict }) => verdict === 'fail')
      expect(judged.length).toBeGreaterThan(0)
      for (const record of judged) {
        expect(record).toMatchObject({ ...expected, replay: { level: 2, calibration: calibrations[0]?.digest, outcome: expected.verdict } })
        expect(record.replay?.tokens.near).toBe(expected.verdict === 'pass' ? record.replay?.tokens.total : record.replay?.tokens.equal)
      }
      const [probe] = planProbes(plan)
      const without = await auditProbe({ ...context(), replay: replayBy([]) }, over, model.served.name, probe as Probe)
      expect(without.record).toMatchObject({ verdict: 'inconclusive', reason: 'engine_not_replayable', replay: null })
      over.connection.close()
      await worker.server.close()
    }
  })

  test('a calibration that the parameters do not name, or say otherwise of, is refused; one whose p0 may be large convicts nobody', async () => {
    const large = calibrationOf('0.0030')
    const read = async (calibration: Calibration, named: Calibration, p0Upper: bigint) =>
      namedCalibrations([formatCalibration(calibration)], await policyNaming(named, p0Upper))
    expect((await read(large, large, 3n * 10n ** 15n))[0]?.convicts).toBe(false)
    await expect(read(large, calibrationOf('0.0009'), 3n * 10n ** 15n)).rejects.toMatchObject({ code: 'policy_invalid' })
    await expect(read(large, large, 9n * 10n ** 14n)).rejects.toMatchObject({ code: 'policy_invalid' })
    const [named] = await read(large, large, 3n * 10n ** 15n)
    const other = { ...there(), cpu_variant: 'third' }
    expect(calibrationFor(named === undefined ? [] : [named], { model: large.model.sha256, there: other, here: elsewhere().facts })).toBeNull()
  })
})

test('S5: a worker that answers another prompt, or what is no completion, has a record of its fault, and ends no validator', async () => {
  const { served } = model
  const otherPrompt = { ...served, template: { ...served.template, render: () => served.template.render([{ role: 'user', content: 'Hello!' }]) } }
  const liar = await startWorker(machine, [otherPrompt], 0, now, undefined, { operator: await generateEd25519(), log })
  try {
    for (const { record } of await audits(2, nodeTransport(liar.server.url), 5, [])) {
      expect(record).toMatchObject({ verdict: 'fail', reason: 'parameters_mismatch', charged: 'worker', replay: null })
      await verifyAuditRecord(await signAuditRecord(record, key))
    }
  } finally {
    await liar.server.close()
  }
  const early = { level: null, engines: null } as const
  expect(replayReasonOf({ reason: 'text_differs', ...early })).toBe('answer_malformed')
  expect(replayReasonOf({ reason: 'prompt_differs', ...early })).toBe('parameters_mismatch')
})

test('S19: what is changed on the way is nobody`s fault but of whoever delivered it', async () => {
  const changed = meddled(controller.api.url, {
    response: ({ path }, body) =>
      path === '/v1/chat/completions' ? Buffer.from(body.toString('latin1').replace('"created":1', '"created":2'), 'latin1') : body,
  })
  for (const { record } of await audits(3, changed, 2))
    expect(record).toMatchObject({ verdict: 'unattributable', reason: 'response_mismatch', charged: 'controller' })
})

test('S19: a controller that hides receipts, or answers nothing, is charged itself', async () => {
  const hiding = meddled(controller.api.url, { response: ({ path }, body) => (path.includes('/upstream') ? Buffer.from('{}') : body) })
  for (const { record } of await audits(2, hiding, 3)) expect(record).toMatchObject({ verdict: 'unattributable', charged: 'controller' })
  const refusing = meddled(controller.api.url, {
    request: (request) => (request.method === 'POST' ? { ...request, path: '/v1/nothing' } : request),
  })
  for (const { record } of await audits(1, refusing, 4))
    expect(record).toMatchObject({ verdict: 'unattributable', reason: 'refused', charged: 'controller', worker: null })
})

test('S23: a worker that lies in its receipts too is found by replay, and that is a fail without a proof', async () => {
  const { path } = await resolveModel('demo')
  const run = await cheatingModel({ model, path, memoryDirectory: tmpdir(), closing: closing as (() => Promise<unknown>)[] })
  const operator = await generateEd25519()
  const liar = await startWorker(machine, [passedOff(run, model.served)], 0, now, undefined, { operator, log })
  try {
    for (const audited of await audits(3, nodeTransport(liar.server.url), 5, [])) {
      expect(audited.record).toMatchObject({ verdict: 'fail', reason: 'replay_mismatch', charged: 'worker', path: [] })
      expect(audited.record.replay).toMatchObject({ level: 1, outcome: 'fail' })
      expect(await proofsOf(audited)).toEqual([])
    }
  } finally {
    await liar.server.close()
  }
})

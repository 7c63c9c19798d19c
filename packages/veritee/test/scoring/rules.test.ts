import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Json, jcs } from '../../src/bytes/index.ts'
import {
  type AuditRecord,
  auditRecordFromJson,
  type EpochInput,
  type EpochScores,
  emptyState,
  parseScoringPolicy,
  type ScoringState,
  scoreEpoch,
  scoresToJson,
  stateToJson,
} from '../../src/scoring/index.ts'
import { judge } from '../../src/scoring/rules/charge.ts'
import { refusal } from '../bytes/refusal.ts'
import { digest, hex, policyText, randomEpochs, randomFrom } from './random-epoch.ts'

const { policy } = await parseScoringPolicy(policyText({ log: 'any' }))
const [v1, v2, v3] = policy.validators.map(({ key }) => key) as [string, string, string]
const a = hex(0xa0)
const b = hex(0xa4)
const c = hex(0xa5)
const roster = { operators: [a, hex(0xa1), b, c, hex(0xb0), hex(0xb1)].sort(), shared: [] as string[] }
const worker = (operator: string, platform = 0xc0, slot = 0) => ({ operator, platform: hex(platform), slot })

let next = 0
type Change = { readonly [Name in keyof AuditRecord]?: AuditRecord[Name] }

/** A probe that passed, with changes; indices are given where a test needs none of its own. */
function record(change: Change = {}, epoch = 0): AuditRecord {
  next++
  return auditRecordFromJson({
    version: 'veritee.audit.v1',
    network: 'test',
    validator: v1,
    epoch,
    index: next % 1_000_000,
    at: policy.epoch.genesis + epoch * policy.epoch.length + 1800,
    kind: 'probe',
    worker: worker(a),
    keyset: digest(0x70),
    model: { name: 'm', weights: digest(0xd1) },
    path: [hex(0xb0)],
    attestation: { verdict: 'accepted', code: null, evidence: digest(2), collateral: digest(3) },
    view: { digest: digest(0x10), log: { origin: 'test/log', index: 1, leaf: hex(1) } },
    replay: { level: 1, outcome: 'pass', engine: digest(0xe5), calibration: null, tokens: { total: 9, equal: 9, near: null } },
    timings: { worker: null, validator: { first_ms: 250, total_ms: 2500 } },
    output_tokens: 100,
    canary: null,
    verdict: 'pass',
    reason: null,
    charged: null,
    signature: '00'.repeat(64),
    ...change,
  })
}
const times = (n: number, change: Change = {}, epoch = 0): AuditRecord[] => Array.from({ length: n }, () => record(change, epoch))
const fault = (reason: AuditRecord['reason'], change: Change = {}): Change => ({
  verdict: 'unattributable',
  reason,
  charged: 'controller',
  replay: null,
  ...change,
})
const mismatch: Change = {
  verdict: 'fail',
  reason: 'replay_mismatch',
  charged: 'worker',
  replay: { level: 1, outcome: 'fail', engine: digest(0xe5), calibration: null, tokens: { total: 9, equal: 1, near: null } },
}

function score(records: readonly AuditRecord[], change: Partial<EpochInput> = {}): EpochScores {
  return scoreEpoch({ policy, epoch: 0, before: emptyState, roster, records, proven: [], failed: [], ...change })
}
const documents = (epoch: number, scores: EpochScores): string =>
  jcs({ scores: scoresToJson(epoch, scores), state: stateToJson('test', scores.after) } as Json)
const ofOperator = (scores: EpochScores, operator: string, validator = v1) =>
  scores.validators.find((one) => one.validator === validator)?.operators.find((one) => one.operator === operator)
const ofController = (scores: EpochScores, operator: string) => scores.validators[0]?.controllers.find((one) => one.operator === operator)
const entry = (scores: EpochScores, operator: string): bigint => ofOperator(scores, operator)?.entry ?? 0n
const share = (scores: EpochScores, operator: string): bigint => scores.network.operators.find((one) => one.operator === operator)?.share ?? 0n

describe('scores of an epoch', () => {
  it('no evidence, no score: without records nothing is shared out, and what was there fades', () => {
    const nothing = score([])
    expect(nothing.network).toEqual({ operators: [], workers: [], unassigned: { share: 10n ** 9n, weight: 65_535 }, controllers: [] })
    const first = score(times(20))
    expect(entry(first, a)).toBeGreaterThan(0n)
    const second = score([], { epoch: 1, before: first.after })
    expect(entry(second, a)).toBe(entry(first, a) / 2n)
  })

  it('a few answers are worth less than their share: the bound is below what was seen', () => {
    expect(ofOperator(score(times(1)), a)?.qualityBound).toBeLessThan(25n * 10n ** 16n)
    expect(ofOperator(score(times(200)), a)?.qualityBound).toBeGreaterThan(98n * 10n ** 16n)
  })

  it('rises slower than it falls', () => {
    const first = score(times(20))
    const raw = ofOperator(first, a)?.raw as bigint
    expect(entry(first, a)).toBe((raw * 2n + 5n) / 10n)
  })

  it('the order of records, operators and proofs changes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(5000), fc.nat(), async (seed, shuffle) => {
        const random = randomFrom(shuffle)
        const mixed = <T>(items: readonly T[]): T[] =>
          items
            .map((item) => ({ item, at: random(1 << 30) }))
            .sort((x, y) => x.at - y.at)
            .map(({ item }) => item)
        let before = emptyState
        for (const input of await randomEpochs(seed, 2)) {
          const found = scoreEpoch({ ...input, before })
          const again = scoreEpoch({
            ...input,
            before,
            records: mixed(input.records),
            roster: { operators: mixed(input.roster.operators), shared: mixed(input.roster.shared) },
            proven: mixed(input.proven),
          })
          expect(documents(input.epoch, again)).toBe(documents(input.epoch, found))
          before = found.after
        }
      }),
      { numRuns: 30 },
    )
  }, 180_000)

  it('S18: no split of the same work over more workers or platforms raises the total of an operator', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(5000), fc.nat(), fc.integer({ min: 2, max: 6 }), async (seed, shuffle, parts) => {
        const random = randomFrom(shuffle)
        // What is a fact about one worker goes with that worker: a ban of its machine, a pause, a fault that repeats on two paths. Here it is about work.
        const inputs = (await randomEpochs(seed, 3)).map((input) => ({
          ...input,
          proven: [],
          policy: { ...input.policy, confirmations: 63, sprt: { ...input.policy.sprt, maxP0Upper: 1n } },
          records: input.records.filter(
            ({ kind, worker: who, charged, reason }) =>
              kind !== 'confirmation' && who !== null && charged !== 'controller' && reason !== 'attestation_rejected' && reason !== 'keyset_expired',
          ),
        }))
        const placed = (place: (record: AuditRecord) => { platform: string; slot: number }): bigint[][] => {
          let before: ScoringState = emptyState
          return inputs.map((input) => {
            const records = input.records.map((one) => ({ ...one, worker: { operator: one.worker?.operator ?? '', ...place(one) } }))
            const found = scoreEpoch({ ...input, before, records })
            before = found.after
            return [hex(0xa0), hex(0xa1), hex(0xa2), hex(0xa3)].flatMap((operator) =>
              found.validators.map(({ operators }) => operators.find((one) => one.operator === operator)?.entry ?? 0n),
            )
          })
        }
        const machine = (one: AuditRecord): string => `${one.worker?.operator.slice(0, 62)}00`
        const whole = placed((one) => ({ platform: machine(one), slot: 0 }))
        const split = placed((one) => {
          const part = random(parts)
          return { platform: `${machine(one).slice(0, 62)}0${part % 3}`, slot: part }
        })
        for (const [epoch, totals] of split.entries())
          for (const [i, total] of totals.entries()) expect(total).toBeLessThanOrEqual(whole[epoch]?.[i] as bigint)
      }),
      { numRuns: 30 },
    )
  }, 180_000)

  it('S18: two workers with the same work as one share the score of one', () => {
    const records = times(40)
    const one = score(records)
    const two = score(records.map((item, i) => ({ ...item, worker: worker(a, 0xc0 + (i % 2)) })))
    expect(entry(two, a)).toBe(entry(one, a))
    expect(two.network.workers).toHaveLength(2)
    expect(two.network.operators).toEqual(one.network.operators)
  })

  it('S18: the cap holds, over the whole that is shared out, and what does not fit goes to nobody', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(5000), async (seed) => {
        let before = emptyState
        for (const input of await randomEpochs(seed, 3)) {
          const found = scoreEpoch({ ...input, before })
          const { operators, workers, unassigned } = found.network
          const equal = 10n ** 18n / BigInt(operators.length || 1)
          const cap = input.policy.cap > equal ? input.policy.cap : equal
          for (const { share: of } of operators) expect(of * 10n ** 9n).toBeLessThanOrEqual(cap + 10n ** 9n)
          expect(workers.reduce((sum, { share: of }) => sum + of, unassigned.share)).toBe(10n ** 9n)
          expect(workers.reduce((sum, { weight }) => sum + weight, unassigned.weight)).toBe(65_535)
          before = found.after
        }
      }),
      { numRuns: 30 },
    )
    const two = score([...times(50), ...times(2, { worker: worker(b, 0xc1) })])
    expect(share(two, a)).toBe(500_000_000n)
    expect(share(two, b)).toBeLessThan(100_000_000n)
    expect(two.network.unassigned.share).toBe(500_000_000n - share(two, b))
  }, 180_000)

  it('S18: requests that others make earn nothing', () => {
    const organic = times(100, { kind: 'organic', path: [], timings: null, replay: null, worker: worker(b, 0xc1) })
    expect(entry(score([...times(20), ...organic]), b)).toBe(0n)
    expect(entry(score([...times(20), ...organic.map((item) => ({ ...item, worker: worker(a) }))]), a)).toBe(entry(score(times(20)), a))
  })

  it('S23: more than a fifth of inconclusive audits leave the worker and the operator without a score', () => {
    const unclear: Change = { verdict: 'inconclusive', reason: 'engine_not_replayable', replay: null }
    expect(entry(score([...times(20), ...times(5, unclear)]), a)).toBeGreaterThan(0n)
    const over = score([...times(20), ...times(6, unclear)])
    expect([ofOperator(over, a)?.unscored, entry(over, a)]).toEqual([true, 0n])
    const oneOfTwo = score([...times(40), ...times(6, { ...unclear, worker: worker(a, 0xc1) }), ...times(20, { worker: worker(a, 0xc1) })])
    expect(oneOfTwo.validators[0]?.workers.map(({ notCounted }) => notCounted)).toEqual([null, 'inconclusive'])
  })

  it('a pass outside of the log, or of a model that the policy does not list, is inconclusive', async () => {
    const { policy: logged } = await parseScoringPolicy(policyText())
    for (const change of [
      { view: { digest: digest(0x10), log: null } },
      { view: { digest: digest(0x10), log: { origin: 'other', index: 1, leaf: hex(1) } } },
      { model: { name: 'm', weights: digest(0xdf) } },
    ])
      expect(ofOperator(score(times(20, change), { policy: logged }), a)).toMatchObject({ work: 0n, inconclusive: 20 })
  })

  it('evidence that is not accepted pauses, and convicts nobody', () => {
    const late = policy.epoch.genesis + 3599
    const rejected = record({
      at: late,
      path: [],
      verdict: 'fail',
      reason: 'attestation_rejected',
      charged: 'worker',
      replay: null,
      attestation: { verdict: 'rejected', code: 'policy_tcb_status', evidence: digest(2), collateral: null },
    })
    const found = score([...times(20), rejected])
    expect(found.validators[0]?.workers[0]?.notCounted).toBe('paused')
    expect([entry(found, a), found.convictions]).toEqual([0n, []])
    expect(entry(score([...times(20), { ...rejected, at: policy.epoch.genesis }]), a)).toBeGreaterThan(0n)
  })

  it('refuses records that do not belong here', async () => {
    const wrong: Change[] = [
      { network: 'other' },
      { epoch: 1 },
      { validator: hex(0x5f) },
      { at: policy.epoch.genesis - 1 },
      { at: policy.epoch.genesis + 3600 },
    ]
    for (const change of wrong) expect(await refusal(() => score([record(change)]))).toBe('scoring_input_invalid')
    const twice = record()
    expect(await refusal(() => score([twice, twice]))).toBe('scoring_input_invalid')
    for (const epoch of [0, 1]) expect(await refusal(() => score([], { epoch, before: score([], { epoch: 1 }).after }))).toBe('scoring_input_invalid')
  })
})

describe('S19: who is charged', () => {
  const b0 = hex(0xb0)
  const b1 = hex(0xb1)

  it('one controller that starves a worker harms itself only', () => {
    const good = times(40, { path: [b1] })
    const starved = score([...good, ...times(40, fault('timeout', { path: [b0] }))])
    expect(entry(starved, a)).toBe(entry(score(good), a))
    expect(ofController(starved, b0)?.score).toBe(0n)
    expect(ofController(starved, b1)?.score).toBeGreaterThan(0n)
  })

  it('a fault that repeats through controllers of two operators within the window is the worker`s', () => {
    const at = policy.epoch.genesis + 1800
    const faults = (second: number, path = [b1], reason: AuditRecord['reason'] = 'timeout') => [
      record(fault('timeout', { path: [b0], at })),
      record(fault(reason, { path, at: second })),
    ]
    const availability = (records: AuditRecord[]) => ofOperator(score([...times(20), ...records]), a)?.availability
    const alone = availability([])
    expect(availability(faults(at + 600))?.trials).toBeGreaterThan(alone?.trials as bigint)
    expect(availability(faults(at + 601))).toEqual(alone)
    expect(availability(faults(at + 60, [b0]))).toEqual(alone)
    expect(availability(faults(at + 60, [b1], 'response_mismatch'))).toEqual(alone)
  })

  it('takes a number of steps that grows with the records, also where all are of one path and moment', () => {
    let reads = 0
    const all = times(2000, fault('timeout', { path: [b0] })).map((one) =>
      Object.defineProperty({ ...one }, 'path', { get: () => [b0].slice(reads++ * 0) }),
    )
    expect(judge(all, policy.repeatWindow, () => true).every(({ charged }) => charged === 'controller')).toBe(true)
    expect(reads).toBeLessThan(10 * all.length)
  })

  it('a direct connection tells', () => {
    const at = policy.epoch.genesis + 1800
    const both = [record(fault('timeout', { at })), record(fault('timeout', { at, path: [], charged: 'worker' }))]
    const found = score([...times(20), ...both])
    const { trials, successes } = ofOperator(found, a)?.availability ?? { trials: 0n, successes: 0n }
    expect(trials - successes).toBeGreaterThan(19n * 10n ** 8n)
    expect(ofController(found, b0)?.availabilityBound).toBe(ofController(score([...times(20), record()]), b0)?.availabilityBound)
  })

  it('a controller that delays is outweighed by one that does not', () => {
    const slow = { timings: { worker: null, validator: { first_ms: 60_000, total_ms: 80_000 } } }
    const fast = times(10, { path: [b1] })
    const found = score([...fast, ...times(30, { ...slow, path: [b0] })])
    expect(ofOperator(found, a)?.latency).toBe(ofOperator(score(fast), a)?.latency)
    expect(ofOperator(found, a)?.speed).toBe(ofOperator(score(fast), a)?.speed)
  })

  it('what a worker signs of its own speed can only make it slower', () => {
    const signed = (first_ms: number, total_ms: number) =>
      ofOperator(score(times(10, { timings: { worker: { first_ms, total_ms }, validator: { first_ms: 250, total_ms: 2500 } } })), a)
    const none = ofOperator(score(times(10)), a)
    expect([signed(1, 1)?.latency, signed(1, 1)?.speed]).toEqual([none?.latency, none?.speed])
    expect(signed(900, 9000)?.latency).toBeLessThan(none?.latency as bigint)
    expect(signed(900, 9000)?.speed).toBeLessThan(none?.speed as bigint)
  })
})

describe('S5, S17, S18: convictions', () => {
  const proof = { keyset: digest(0x70), operator: a, platform: hex(0xc0) }

  it('a proof convicts at once, bans operator and machine, and longer each time; a keyset convicts once', () => {
    const first = score([...times(20), ...times(20, { worker: worker(b, 0xc1) })], { proven: [proof] })
    expect(first.convictions).toEqual([{ operator: a, platforms: [hex(0xc0)], grounds: [{ kind: 'proof', keyset: digest(0x70) }], until: 1 }])
    expect([entry(first, a), share(first, a), share(first, b) > 0n]).toEqual([0n, 0n, true])
    const second = score(times(20, {}, 1), { epoch: 1, before: first.after, proven: [proof] })
    expect([second.convictions, entry(second, a)]).toEqual([[], 0n])
    const onMachine = score(times(20, { worker: worker(b) }, 1), { epoch: 1, before: first.after })
    expect(onMachine.validators[0]?.workers.find(({ id }) => id.operator === b && id.platform === hex(0xc0))?.notCounted).toBe('platform_banned')
    const third = score(times(20, {}, 2), { epoch: 2, before: second.after, proven: [{ ...proof, keyset: digest(0x71) }] })
    expect(third.convictions[0]?.until).toBe(2 + 2)
    const free = score(times(20, {}, 2), { epoch: 2, before: second.after })
    expect(entry(free, a)).toBeGreaterThan(0n)
  })

  it('a machine that several operators share is not banned with one of them', () => {
    const found = score(times(20), { proven: [proof], roster: { ...roster, shared: [hex(0xc0)] } })
    expect([found.convictions[0]?.platforms, found.after.platforms.size]).toEqual([[], 0])
  })

  const level2 = (outcome: 'pass' | 'fail', change: Change = {}): Change => ({
    model: { name: 'm', weights: digest(0xd2) },
    ...(outcome === 'fail' ? mismatch : {}),
    replay: {
      level: 2,
      outcome,
      engine: digest(0xe5),
      calibration: digest(0xe1),
      tokens: { total: 64, equal: 9, near: outcome === 'fail' ? 20 : 64 },
    },
    ...change,
  })

  it('failures at level 2 convict by the votes of validators of more than half of the weight', () => {
    const cheat = (validators: readonly string[]) => validators.flatMap((validator) => times(8, level2('fail', { validator })))
    expect(score(cheat([v1])).convictions).toEqual([])
    expect(score(cheat([v2, v3])).convictions).toHaveLength(1)
    const early = score(cheat([v2]))
    expect(early.after.votes).toHaveLength(2)
    const late = score(times(8, level2('fail', { validator: v3 }), 1), { epoch: 1, before: early.after })
    expect(late.convictions).toHaveLength(1)
    expect(late.after.votes).toEqual([])
  })

  it('passes at level 2 do not store up against later failures', () => {
    const honest = score([v2, v3].flatMap((validator) => times(1000, level2('pass', { validator }))))
    expect([...(honest.after.validators.get(v2)?.ratios.values() ?? [])].every((ratio) => ratio > -5n * 10n ** 9n)).toBe(true)
    const then = [v2, v3].flatMap((validator) => times(10, level2('fail', { validator }), 1))
    expect(score(then, { epoch: 1, before: honest.after }).convictions).toHaveLength(1)
  })

  it('S18: a cheat that is spread over many workers is found as one', () => {
    const spread = [v2, v3].flatMap((validator) =>
      Array.from({ length: 8 }, (_, i) => record(level2('fail', { validator, worker: worker(a, 0xc0 + i, i) }))),
    )
    expect(score(spread).convictions).toMatchObject([{ operator: a, platforms: [] }])
  })

  it('S18: a model whose honest answers fail too often, or are not known to be rare, convicts nobody', async () => {
    const failures = [v1, v2, v3].flatMap((validator) => times(50, level2('fail', { validator })))
    const with2 = (level: unknown) =>
      parseScoringPolicy(policyText({ log: 'any', models: [{ weights: digest(0xd2), first_ms: 1, tokens_per_second: '1.0', level2: level }] }))
    for (const level of [
      null,
      { calibration: digest(0xe1), p0: '0.001', p0_upper: '0.0011' },
      { calibration: digest(0xe2), p0: '0.0001', p0_upper: '0.0002' },
    ])
      expect(score(failures, { policy: (await with2(level)).policy }).convictions).toEqual([])
  })

  it('S5: what nothing signed shows convicts nobody, however often', () => {
    const reasons = ['receipt_signature_invalid', 'keyset_mismatch', 'response_mismatch', 'timeout'] as const
    const framed = [v1, v2, v3].flatMap((validator) =>
      reasons.flatMap((reason) => times(50, fault(reason, { validator, path: [hex(0xb0 + (next % 2))] }))),
    )
    expect(score([...times(20), ...framed]).convictions).toEqual([])
  })

  it('S17: a machine serves one operator: who held it keeps it, and of two that claim it at once the heavier', () => {
    const first = score(times(20))
    const contested = score([...times(5, {}, 1), ...times(40, { worker: worker(b) }, 1)], { epoch: 1, before: first.after })
    expect(contested.validators[0]?.workers.map(({ id, notCounted }) => [id.operator, notCounted])).toEqual([
      [a, null],
      [b, 'platform_excluded'],
    ])
    const both = score([...times(5, { validator: v2 }), ...times(5, { validator: v3, worker: worker(b) })])
    expect([both.after.holders.size, both.network.workers]).toEqual([0, []])
    const heavier = score([...times(5, { validator: v2 }), ...times(5, { worker: worker(b) })])
    expect(heavier.after.holders.get(hex(0xc0))).toBe(b)
    const moved = score(times(5, { worker: worker(b) }, 1), { epoch: 1, before: first.after })
    expect(moved.after.holders.get(hex(0xc0))).toBe(b)
    const shared = score([...times(5, { validator: v2 }), ...times(5, { validator: v3, worker: worker(b) })], {
      roster: { ...roster, shared: [hex(0xc0)] },
    })
    expect(shared.network.workers).toHaveLength(2)
  })
})

describe('several validators', () => {
  it('one that praises a worker alone moves its share only as far as the others let it', () => {
    const honest = [v1, v3].flatMap((validator) => [
      ...times(20, { validator }),
      ...times(20, { validator, worker: worker(b, 0xc1) }),
      ...times(20, { validator, worker: worker(c, 0xc2) }),
    ])
    const fair = score([
      ...honest,
      ...times(20, { validator: v2 }),
      ...times(20, { validator: v2, worker: worker(b, 0xc1) }),
      ...times(20, { validator: v2, worker: worker(c, 0xc2) }),
    ])
    const bribed = score([...honest, ...times(200, { validator: v2, worker: worker(b, 0xc1) })])
    expect(share(bribed, b)).toBeLessThanOrEqual(share(fair, b) + 100_000_000n)
  })

  it('S17: nobody judges its own operator', () => {
    const own = hex(0xa1)
    const found = score(times(50, { validator: v2, worker: worker(own) }))
    expect([ofOperator(found, own, v2), share(found, own)]).toEqual([undefined, 0n])
  })

  it('S16: one that failed its duties counts for nothing in this epoch and the next', () => {
    const alone = (epoch: number) => times(20, { validator: v2 }, epoch)
    const first = score(alone(0), { failed: [v2] })
    expect(first.network.workers).toEqual([])
    const second = score(alone(1), { epoch: 1, before: first.after })
    expect(second.network.workers).toEqual([])
    const third = score(alone(2), { epoch: 2, before: second.after })
    expect(third.network.workers).toHaveLength(1)
  })
})

describe('S16, S17: an epoch that was left out', () => {
  const quality = (found: EpochScores): bigint => found.after.validators.get(v1)?.operators.get(a)?.quality.trials ?? 0n

  it('rids nobody of a ban, nor of what was convicted before, and ends a ban with the epoch that it names', () => {
    const keyset = digest(0x71)
    const proven = (of: string) => [{ keyset: of, operator: a, platform: hex(0xc0) }]
    const first = score(times(20), { proven: proven(keyset) })
    // The second conviction lasts two epochs.
    const second = score([], { epoch: 2, before: first.after, proven: proven(digest(0x72)) })
    const { until } = second.after.operators.get(a) ?? { until: 0 }
    expect(until).toBeGreaterThan(2)
    const during = score(times(20, {}, until), { epoch: until, before: second.after })
    expect(during.network.workers).toEqual([])
    const after = score(times(20, {}, until + 1), { epoch: until + 1, before: second.after })
    expect(after.network.workers).toHaveLength(1)
    // A keyset convicts once, whatever was left out.
    const again = score(times(20, {}, until + 1), { epoch: until + 1, before: second.after, proven: proven(keyset) })
    expect(again.convictions).toEqual([])
  })

  it('makes what was counted older by its time, and leaves scores what they were', () => {
    const first = score(times(40))
    const [next, later] = [1, 5].map((epoch) => score([record({}, epoch)], { epoch, before: first.after })) as [EpochScores, EpochScores]
    const half = (epochs: number): number => 2 ** ((-epochs * policy.epoch.length) / policy.halfLife)
    const old = (found: EpochScores): number => Number(quality(found) - quality(score([record()]))) / Number(quality(first))
    expect(old(next)).toBeCloseTo(half(1), 6)
    expect(old(later)).toBeCloseTo(half(5), 6)
    const scores = (found: EpochScores) => ofOperator(found, a)?.before
    expect(scores(later)).toBe(scores(next))
    expect(scores(later)).toBe(ofOperator(first, a)?.score)
  })
})

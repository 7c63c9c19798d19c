// S19: what one controller or one validator can do to shares, rule by rule.
import { describe, expect, it } from 'vitest'
import { type AuditRecord, auditRecordFromJson, type EpochScores, emptyState, parseScoringPolicy, scoreEpoch } from '../../src/scoring/index.ts'
import { digest, hex, policyText } from './random-epoch.ts'

const validators = [0x51, 0x52, 0x53, 0x54, 0x55].map(hex)
const { policy } = await parseScoringPolicy(policyText({ log: 'any', validators: validators.map((key) => ({ key, operator: null, weight: 1 })) }))
const [a, b, c] = [hex(0xa0), hex(0xa1), hex(0xa2)] as [string, string, string]
const paths = [0xb0, 0xb1, 0xb2, 0xb3].map(hex)
const last = paths[3] as string
const many = Array.from({ length: 80 }, (_, i) => hex(i + 1))
const roster = { operators: [...new Set([a, b, c, ...paths, ...many])].sort(), shared: [] }

let next = 0
type Change = { readonly [Name in keyof AuditRecord]?: AuditRecord[Name] }
const worker = (operator: string) => ({ operator, platform: operator, slot: 0 })

function pass(operator: string, path: string, change: Change = {}): AuditRecord {
  next++
  return auditRecordFromJson({
    version: 'veritee.audit.v1',
    network: 'test',
    validator: validators[0],
    epoch: 0,
    index: next % 1_000_000,
    at: policy.epoch.genesis + (change.epoch ?? 0) * policy.epoch.length + 1800,
    kind: 'probe',
    worker: worker(operator),
    keyset: digest(0x70),
    model: { name: 'm', weights: digest(0xd1) },
    path: path === '' ? [] : [path],
    attestation: { verdict: 'accepted', code: null, evidence: digest(2), collateral: digest(3) },
    view: { digest: digest(0x10), log: null },
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
const times = (n: number, make: () => AuditRecord): AuditRecord[] => Array.from({ length: n }, make)
const timeout: Change = { verdict: 'unattributable', reason: 'timeout', charged: 'controller', replay: null }
const mismatch = (level: 1 | 2): Change => ({
  model: { name: 'm', weights: digest(level === 1 ? 0xd1 : 0xd2) },
  verdict: 'fail',
  reason: 'replay_mismatch',
  charged: 'worker',
  replay: {
    level,
    outcome: 'fail',
    engine: digest(0xe5),
    calibration: level === 1 ? null : digest(0xe1),
    tokens: { total: 9, equal: 1, near: level === 1 ? null : 1 },
  },
})
const near: Change = {
  model: { name: 'm', weights: digest(0xd2) },
  replay: { level: 2, outcome: 'pass', engine: digest(0xe5), calibration: digest(0xe1), tokens: { total: 9, equal: 8, near: 9 } },
}

function score(records: readonly AuditRecord[], before = emptyState, epoch = 0): EpochScores {
  return scoreEpoch({ policy, epoch, before, roster, records, proven: [], failed: [] })
}
const ofOperator = (scores: EpochScores, operator: string) => scores.validators[0]?.operators.find((one) => one.operator === operator)
const ofController = (scores: EpochScores, operator: string) => scores.validators[0]?.controllers.find((one) => one.operator === operator)
const failed = (counter = { successes: 0n, trials: 0n }): bigint => counter.trials - counter.successes
const share = (scores: EpochScores, operator: string): bigint => scores.network.operators.find((one) => one.operator === operator)?.share ?? 0n

/** Each operator 20 times by each path; `make` says what becomes of a request. */
const everywhere = (make: (operator: string, path: string) => AuditRecord, among: readonly string[] = paths): AuditRecord[] =>
  among.flatMap((path) => [a, b, c].flatMap((operator) => times(20, () => make(operator, path))))

describe('S19: work is compared over paths', () => {
  const fair = score(everywhere(pass))

  it.each([
    ['spoils every answer', (operator: string, path: string) => pass(operator, path, operator === a && path === last ? timeout : {})],
    ['spoils four of five', (operator: string, path: string) => pass(operator, path, operator === a && path === last && next % 5 > 0 ? timeout : {})],
    ['sends its requests to another', (operator: string, path: string) => pass(operator === a && path === last ? b : operator, path)],
    ['sends all requests to a friend', (_operator: string, path: string) => pass(path === last ? a : _operator, path)],
  ])('one of four controllers %s: nobody`s work, bounds or share change', (_what, make) => {
    const found = score(everywhere(make))
    for (const operator of [a, b, c]) {
      const [now, before] = [ofOperator(found, operator), ofOperator(fair, operator)]
      expect(now?.work).toBe(before?.work)
      for (const name of ['quality', 'availability'] as const) {
        const change = (now?.[name].trials ?? 0n) - (before?.[name].trials ?? 0n)
        expect(change * change).toBeLessThan(10_000n)
      }
      const moved = share(found, operator) - share(fair, operator)
      expect(moved * moved).toBeLessThan(10_000n)
    }
    expect(ofOperator(found, a)?.leftOut).toEqual([last])
    expect(found.convictions).toEqual([])
  })

  it('three of eight that do different things at once, to different operators, are left out where they do, and move nothing', () => {
    const eight = many.slice(0, 8)
    const [spoiler, robber, favourer] = eight.slice(5) as [string, string, string]
    const found = score(
      everywhere((operator, path) => {
        if (path === spoiler) return pass(operator, path, operator === a ? timeout : {})
        if (path === robber) return pass(operator === a ? b : operator, path)
        return pass(path === favourer ? c : operator, path)
      }, eight),
    )
    const leftOut = [a, b, c].map((operator) => ofOperator(found, operator)?.leftOut)
    expect(leftOut).toEqual([[spoiler, robber, favourer], [robber, favourer], [favourer]])
    for (const operator of [a, b, c]) expect(ofOperator(found, operator)?.work).toBe(16_000n)
  })

  it('counts against the controller: for the part of the work on whose operators it does not agree', () => {
    const robbed = score(everywhere((operator, path) => pass(operator === a && path === last ? b : operator, path)))
    expect(ofController(robbed, last)?.agreement).toBeLessThan(7n * 10n ** 17n)
    expect(ofController(robbed, paths[0] as string)?.agreement).toBe(10n ** 18n)
    expect(ofController(robbed, last)?.raw).toBeLessThan(ofController(robbed, paths[0] as string)?.raw as bigint)
    const favoured = score(everywhere((operator, path) => pass(path === last ? a : operator, path)))
    expect(ofController(favoured, last)?.agreement).toBe(0n)
  })

  it('what stays within chance is believed at first, and not once it lasts', () => {
    const leaning = (epoch: number): AuditRecord[] =>
      paths.flatMap((path) =>
        [a, b, c].flatMap((operator) => times(path === last ? (operator === a ? 14 : 23) : 20, () => pass(operator, path, { epoch }))),
      )
    let found = score(leaning(0))
    expect(ofOperator(found, a)?.leftOut).toEqual([])
    for (let epoch = 1; epoch < 4; epoch++) found = score(leaning(epoch), found.after, epoch)
    expect(ofOperator(found, a)?.leftOut).toEqual([last])
    // And it is remembered: the path is not believed again for one fair epoch.
    const again = score(
      everywhere((operator, path) => pass(operator, path, { epoch: 4 })),
      found.after,
      4,
    )
    expect(ofOperator(again, a)?.leftOut).toEqual([last])
  })

  it('a few records are no disagreement; an operator that one path alone shows, often, has no work', () => {
    const once = (n: number) =>
      score([...everywhere((operator, path) => pass(operator === c ? b : operator, path)), ...times(n, () => pass(c, last))])
    expect([ofOperator(once(3), c)?.leftOut, ofOperator(once(3), c)?.work]).toEqual([[], 300n])
    expect([ofOperator(once(20), c)?.leftOut, ofOperator(once(20), c)?.work]).toEqual([[last], 0n])
  })

  it('with one or two paths all are taken, and of four equal ones two stay in any case', () => {
    const two = paths.slice(0, 2)
    const starved = (hostile: readonly string[], among: readonly string[]) =>
      score(everywhere((operator, path) => pass(operator, path, operator === a && hostile.includes(path) ? timeout : {}), among))
    expect(ofOperator(starved(two.slice(1), two), a)).toMatchObject({ leftOut: [], work: 2000n })
    // One goes, then half would go: what is left says what it says.
    expect(ofOperator(starved(paths.slice(2), paths), a)?.leftOut).toHaveLength(1)
  })

  it('a fault that the worker signed stays one, whichever path carried it; what is unclear by a path that is left out is nothing', () => {
    const unclear: Change = { verdict: 'inconclusive', reason: 'receipt_key_missing', replay: null }
    const hidden = score(everywhere((operator, path) => pass(operator, path, operator === a && path === last ? unclear : {})))
    expect(ofOperator(hidden, a)).toMatchObject({ leftOut: [last], inconclusive: 0, unscored: false, work: 8000n })
    const cheat = score(everywhere((operator, path) => pass(operator, path, operator === a && path === last ? mismatch(1) : {})))
    expect(ofOperator(cheat, a)?.leftOut).toEqual([last])
    expect(failed(ofOperator(cheat, a)?.quality)).toBeGreaterThan(19n * 10n ** 9n)
  })

  it('a direct connection is taken as it is, however often it is used, and says nothing of controllers', () => {
    const found = score([...everywhere(pass), ...times(500, () => pass(a, ''))])
    for (const operator of [a, b, c]) expect(ofOperator(found, operator)?.leftOut).toEqual([])
    expect([a, b].map((operator) => ofOperator(found, operator)?.work)).toEqual([58_000n, 8000n])
    const starved = everywhere((operator, path) => pass(operator, path, operator === a && path === last ? timeout : {}))
    expect(ofOperator(score([...starved, ...times(500, () => pass(a, ''))]), a)).toMatchObject({ leftOut: [last], work: 58_000n })
  })

  it('a path that is no operator of the roster is none, and of many the 64 with the most requests are looked at', () => {
    const stranger = hex(0xfe)
    const found = score([...everywhere(pass), ...times(20, () => pass(a, stranger))])
    expect(ofOperator(found, a)?.work).toBe(8000n)
    const crowd = score(many.flatMap((path, i) => times(i < 70 ? 2 : 1, () => pass(a, path))))
    expect(crowd.after.validators.get(validators[0] as string)?.paths.size).toBe(64)
    expect(ofOperator(crowd, a)?.work).toBe(12_800n)
  })

  it('a controller that makes many faults finds no more partners than the worker has by other paths', () => {
    const at = policy.epoch.genesis + 1800
    const made = times(15, () => pass(a, last, { ...timeout, at }))
    const own = pass(a, paths[0] as string, { ...timeout, at: at + 60 })
    const found = failed(ofOperator(score([...everywhere(pass), ...made, own]), a)?.availability)
    expect(found).toBeGreaterThan(19n * 10n ** 8n)
    expect(found).toBeLessThan(21n * 10n ** 8n)
  })
})

describe('S18: mismatches at level 2 beyond what the calibration allows', () => {
  const found = (failures: number, passes: number) =>
    ofOperator(score([...times(failures, () => pass(a, '', mismatch(2))), ...times(passes, () => pass(a, '', near))]), a)

  it('one failure, or what p0 allows, costs what it costs in quality alone; surely more than that costs more', () => {
    for (const [failures, passes] of [
      [0, 10],
      [1, 10],
      [2, 300],
      [5, 3000],
    ] as const)
      expect(found(failures, passes)?.allowance, `${failures} of ${passes}`).toBe(10n ** 18n)
    expect(found(6, 700)?.allowance).toBeLessThan(9n * 10n ** 17n)
    expect(found(18, 3000)?.allowance).toBeLessThan(4n * 10n ** 17n)
  })

  it('is remembered over epochs, and convicts nobody', () => {
    let scores = score([])
    for (let epoch = 1; epoch < 7; epoch++)
      scores = score([pass(a, '', { ...mismatch(2), epoch }), ...times(120, () => pass(a, '', { ...near, epoch }))], scores.after, epoch)
    expect(ofOperator(scores, a)?.allowance).toBeLessThan(9n * 10n ** 17n)
    expect(scores.convictions).toEqual([])
  })
})

describe('S19: one of five validators that lies', () => {
  const told = (of: (validator: string) => readonly AuditRecord[]) => score(validators.flatMap(of))
  const honest = (validator: string) => everywhere((operator, path) => pass(operator, path, { validator }))
  const fair = told(honest)
  const liar = validators[4]

  it.each([
    ['nothing of a rival', (validator: string) => honest(validator).filter(({ worker: who }) => who?.operator !== a)],
    [
      'a hundred times as much of a friend',
      (validator: string) => honest(validator).map((one) => (one.worker?.operator === a ? { ...one, output_tokens: 10_000 } : one)),
    ],
    ['nothing but a friend', (validator: string) => honest(validator).filter(({ worker: who }) => who?.operator === a)],
    [
      'failures of a rival',
      (validator: string) => everywhere((operator, path) => pass(operator, path, { validator, ...(operator === a ? mismatch(1) : {}) })),
    ],
  ])('says %s: no share changes where the others agree', (_what, lie) => {
    const found = told((validator) => (validator === liar ? lie(validator) : honest(validator)))
    for (const operator of [a, b, c]) expect(share(found, operator)).toBe(share(fair, operator))
    expect(found.convictions).toEqual([])
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type AuditRecord,
  auditRecordFromJson,
  type Conviction,
  emptyState,
  parseScoringPolicy,
  type ScoringPolicy,
  scoreEpoch,
} from '../../src/scoring/index.ts'
import { digest, hex, policyText } from './random-epoch.ts'

const validators = [0x51, 0x52, 0x53, 0x54, 0x55].map(hex) as [string, string, string, string, string]
const [v1, v2, v3, v4, v5] = validators
const [accused, other] = [hex(0xa0), hex(0xa1)]

async function policyOf(change: { operators?: readonly (string | null)[]; weights?: readonly number[]; confirmations?: number } = {}) {
  const { operators = [], weights = [], confirmations = 2 } = change
  const list = validators.map((key, i) => ({ key, operator: operators[i] ?? null, weight: weights[i] ?? 1 }))
  return (await parseScoringPolicy(policyText({ log: 'any', validators: list, confirmations }))).policy
}
const usual = await policyOf()

let next = 0
type Change = { readonly [Name in keyof AuditRecord]?: AuditRecord[Name] }
const replay = (outcome: 'pass' | 'fail', equal: number, engine = 0xe5) => ({
  level: 1 as const,
  outcome,
  engine: digest(engine),
  calibration: null,
  tokens: { total: 9, equal, near: null },
})

/** The mismatch that `v1` found, at the fourth token. */
function mismatch(change: Change = {}): AuditRecord {
  next++
  return auditRecordFromJson({
    version: 'veritee.audit.v1',
    network: 'test',
    validator: v1,
    epoch: 0,
    index: next,
    at: usual.epoch.genesis + 1800,
    kind: 'probe',
    worker: { operator: accused, platform: hex(0xc0), slot: 0 },
    keyset: digest(0x70),
    model: { name: 'm', weights: digest(0xd1) },
    path: [hex(0xb0)],
    attestation: { verdict: 'accepted', code: null, evidence: digest(2), collateral: digest(3) },
    view: { digest: digest(0x10), log: null },
    replay: replay('fail', 3),
    timings: { worker: null, validator: { first_ms: 250, total_ms: 2500 } },
    output_tokens: 9,
    canary: null,
    verdict: 'fail',
    reason: 'replay_mismatch',
    charged: 'worker',
    signature: '00'.repeat(64),
    ...change,
  })
}
const confirmation = (validator: string, change: Change = {}): AuditRecord =>
  mismatch({ validator, kind: 'confirmation', path: [], timings: null, ...change })
const passed: Change = { verdict: 'pass', reason: null, charged: null, replay: replay('pass', 9) }
const contradiction = (validator: string, change: Change = {}): AuditRecord => confirmation(validator, { ...passed, ...change })

function convictions(records: readonly AuditRecord[], policy: ScoringPolicy = usual, failed: readonly string[] = []): readonly Conviction[] {
  const roster = { operators: [accused, other, hex(0xb0)], shared: [] }
  return scoreEpoch({ policy, epoch: 0, before: emptyState, roster, records, proven: [], failed }).convictions
}

describe('S18: a mismatch at level 1 that others confirm', () => {
  it('convicts the operator and its machine, and says who confirmed it', () => {
    const record = mismatch()
    expect(convictions([record, confirmation(v3), confirmation(v2)])).toEqual([
      {
        operator: accused,
        platforms: [hex(0xc0)],
        grounds: [{ kind: 'level1', validator: v1, index: record.index, confirmed_by: [v2, v3] }],
        until: 1,
      },
    ])
  })

  const engine = { replay: replay('fail', 3, 0xe6) }
  const unconfirmed: readonly (readonly [what: string, records: readonly AuditRecord[]])[] = [
    ['nobody', []],
    ['one other', [confirmation(v2)]],
    ['one other, twice', [confirmation(v2), confirmation(v2)]],
    ['one other and the accuser', [confirmation(v2), confirmation(v1)]],
    ['another engine build or CPU variant', [confirmation(v2), confirmation(v3, engine)]],
    ['another receipt', [confirmation(v2), confirmation(v3, { view: { digest: digest(0x11), log: null } })]],
    ['another worker of the operator', [confirmation(v2), confirmation(v3, { worker: { operator: accused, platform: hex(0xc1), slot: 0 } })]],
    ['another operator', [confirmation(v2), confirmation(v3, { worker: { operator: other, platform: hex(0xc0), slot: 0 } })]],
    ['one who guessed the token', [confirmation(v2), confirmation(v3, { replay: replay('fail', 4) })]],
    [
      'one that came to no end',
      [confirmation(v2), confirmation(v3, { verdict: 'inconclusive', reason: 'engine_not_replayable', charged: null, replay: null })],
    ],
    ['one that says both', [confirmation(v2), confirmation(v3), contradiction(v3)]],
    ['probes of others that fail', [mismatch({ validator: v2 }), mismatch({ validator: v3 })]],
  ]
  it.each(unconfirmed)('convicts nobody where it is confirmed by %s', (_, records) => {
    expect(convictions([mismatch(), ...records])).toEqual([])
  })

  it('convicts nobody without the mismatch itself, nor where that is not of this level, or charged to a controller', () => {
    const others = [v2, v3, v4].map((validator) => confirmation(validator))
    expect(convictions(others)).toEqual([])
    expect(convictions([mismatch({ verdict: 'inconclusive', reason: 'log_pending', charged: null, replay: replay('pass', 9) }), ...others])).toEqual(
      [],
    )
    const near = {
      level: 2 as const,
      outcome: 'fail' as const,
      engine: digest(0xe5),
      calibration: digest(0xe1),
      tokens: { total: 9, equal: 3, near: 4 },
    }
    expect(convictions([mismatch({ replay: near }), ...others])).toEqual([])
    expect(convictions([mismatch({ charged: 'controller' }), ...others])).toEqual([])
    expect(convictions([mismatch(), ...others])).toHaveLength(1)
  })

  it('takes more weight that agrees than weight that does not: a friend of the worker prevents nothing, and half of all do', async () => {
    const agreed = [mismatch(), confirmation(v2), confirmation(v3)]
    expect(convictions([...agreed, contradiction(v4)])).toHaveLength(1)
    expect(convictions([...agreed, contradiction(v4), contradiction(v5)])).toHaveLength(1)
    expect(convictions([...agreed, contradiction(v4)], await policyOf({ weights: [1, 1, 1, 3] }))).toEqual([])
    expect(convictions([...agreed, contradiction(v4)], await policyOf({ weights: [1, 1, 2, 3] }))).toHaveLength(1)
    // Who finds another token has found that it cannot be told.
    expect(convictions([...agreed, confirmation(v4, { replay: replay('fail', 4) })], await policyOf({ weights: [1, 1, 1, 3] }))).toEqual([])
  })

  it('takes validators of several operators, and none of the accused or the accuser', async () => {
    const agreed = [mismatch(), confirmation(v2), confirmation(v3)]
    const [x, y] = [hex(0xf0), hex(0xf1)]
    expect(convictions(agreed, await policyOf({ operators: [null, x, x] }))).toEqual([])
    expect(convictions(agreed, await policyOf({ operators: [x, x, y] }))).toEqual([])
    expect(convictions(agreed, await policyOf({ operators: [x, y, null] }))).toHaveLength(1)
    expect(convictions(agreed, await policyOf({ operators: [null, null, accused] }))).toEqual([])
    expect(convictions([...agreed, confirmation(v4)], await policyOf({ operators: [null, x, x, y] }))).toHaveLength(1)
  })

  it('counts nobody who failed his duties, on either side', () => {
    const agreed = [mismatch(), confirmation(v2), confirmation(v3)]
    for (const failed of [v1, v2, v3]) expect(convictions(agreed, usual, [failed])).toEqual([])
    expect(convictions(agreed, usual, [v4])).toHaveLength(1)
  })

  it('a validator that lies alone convicts nobody and acquits nobody, whatever it writes', () => {
    // The others replay what they are handed over: a cheat fails, an honest answer passes.
    const lie = fc.constantFrom<(at: number) => AuditRecord>(
      () => mismatch(),
      (at) => mismatch({ view: { digest: digest(0x20 + at), log: null } }),
      () => confirmation(v1),
      () => contradiction(v1),
      (at) => confirmation(v1, { view: { digest: digest(0x20 + at), log: null } }),
      () => confirmation(v1, { replay: replay('fail', 4) }),
    )
    fc.assert(
      fc.property(fc.array(lie, { maxLength: 12 }), fc.boolean(), (lies, cheats) => {
        const told = lies.map((one, at) => one(at % 4))
        // The second found the same answer of its own probe, and asked the others.
        const own: Change = { view: { digest: digest(0x30), log: null } }
        const honest = cheats
          ? [mismatch({ validator: v2, ...own }), confirmation(v3, own), confirmation(v4, own)]
          : told.filter(({ kind }) => kind === 'probe').flatMap(({ view }) => [v3, v4].map((validator) => contradiction(validator, { view })))
        expect(convictions([...told, ...honest]).map(({ operator }) => operator)).toEqual(cheats ? [accused] : [])
      }),
      { numRuns: 200, seed: 18 },
    )
  })

  it('says the same whatever the order of records', () => {
    const records = [mismatch(), confirmation(v2), confirmation(v3), contradiction(v4), mismatch({ validator: v5 }), confirmation(v1)]
    const expected = convictions(records)
    expect(expected).toHaveLength(1)
    fc.assert(
      fc.property(fc.shuffledSubarray(records, { minLength: records.length }), (shuffled) => {
        expect(convictions(shuffled)).toEqual(expected)
      }),
      { numRuns: 50, seed: 18 },
    )
  })
})

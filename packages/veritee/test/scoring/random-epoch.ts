// Random epochs, small and dense: few operators, machines, seconds and validators, so that every rule meets every other.
import { type AuditRecord, auditRecordFromJson, type EpochInput, obstacles, parseScoringPolicy, type ScoringPolicy } from '../../src/scoring/index.ts'

/** mulberry32: the same sequence for a seed everywhere. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

export const hex = (n: number): string => n.toString(16).padStart(2, '0').repeat(32)
export const digest = (n: number): string => `sha256:${hex(n)}`
const length = 3600

export function policyText(changes: { readonly [name: string]: unknown } = {}): string {
  return JSON.stringify({
    version: 'veritee.scoring-policy.v1',
    network: 'test',
    policy_version: 1,
    issued: 1_000_000,
    expires: 2_000_000,
    epoch: { genesis: 1_000_000, length },
    validators: [
      { key: hex(0x51), operator: null, weight: 3 },
      { key: hex(0x52), operator: hex(0xa1), weight: 2 },
      { key: hex(0x53), operator: hex(0xb9), weight: 2 },
    ],
    models: [
      { weights: digest(0xd1), first_ms: 200, tokens_per_second: '50.0', level2: null },
      { weights: digest(0xd2), first_ms: 300, tokens_per_second: '80.5', level2: { calibration: digest(0xe1), p0: '0.0002', p0_upper: '0.0009' } },
    ],
    log: { origin: 'test/log', key: 'key', witnesses: ['witness'], quorum: 1 },
    beacon: { kind: 'none' },
    organic: { probability: '0.25' },
    half_life: 86_400,
    z: '1.96',
    exponents: { quality: 4, availability: 2, work: '0.7' },
    speed_share: '0.5',
    ema: { up: '0.2', down: '0.5' },
    sprt: { p1: '0.05', alpha: '0.000001', beta: '0.01', max_p0_upper: '0.001', vote_epochs: 10 },
    confirmations: 2,
    ban: { max_exponent: 10 },
    cap: '0.2',
    max_inconclusive: '0.2',
    repeat_window: 600,
    min_path_records: 3,
    clip: '0.5',
    signatures: [],
    ...changes,
  })
}

/** A policy whose rare events are frequent, and whose numbers are drawn. */
async function randomPolicy(random: (below: number) => number): Promise<ScoringPolicy> {
  const pick = <T>(...items: readonly T[]): T => items[random(items.length)] as T
  const decimal = (from: number, to: number): string => `0.${String(from + random(to - from)).padStart(4, '0')}`
  const count = 1 + random(4)
  const { policy } = await parseScoringPolicy(
    policyText({
      validators: Array.from({ length: count }, (_, i) => ({
        key: hex(0x51 + i),
        operator: pick(null, null, hex(0xa0 + random(3)), hex(0xb0)),
        weight: 1 + random(5),
      })),
      models: [
        { weights: digest(0xd1), first_ms: 1 + random(500), tokens_per_second: `${1 + random(99)}.${random(10)}`, level2: null },
        {
          weights: digest(0xd2),
          first_ms: 1 + random(500),
          tokens_per_second: `${1 + random(99)}.25`,
          level2: { calibration: digest(0xe1), p0: '0.01', p0_upper: pick('0.02', '0.3') },
        },
      ],
      log: pick<unknown>('any', { origin: 'test/log', key: 'key', witnesses: ['witness'], quorum: 1 }),
      half_life: pick(600, 1200, 3600, 86_400, 7777),
      z: pick('1.96', '1.0', '0.0', '2.5758'),
      exponents: { quality: 1 + random(5), availability: 1 + random(3), work: pick('0.7', '0.5', '1.0', '0.333') },
      speed_share: pick('0.5', '0.0', '1.0', '0.37'),
      ema: { up: pick('0.2', '1.0', '0.07'), down: pick('0.5', '1.0', '0.33') },
      sprt: { p1: '0.4', alpha: pick('0.05', '0.2'), beta: pick('0.05', '0.3'), max_p0_upper: '0.1', vote_epochs: 1 + random(4) },
      confirmations: random(3),
      ban: { max_exponent: random(4) },
      cap: pick('0.2', '0.4', '1.0', decimal(1, 9999)),
      max_inconclusive: pick('0.2', '0.5', '1.0', '0.0'),
      repeat_window: pick(0, 60, 600, 3600),
      min_path_records: 1 + random(4),
      clip: pick('0.5', '0.49', '0.25', decimal(1, 5000)),
    }),
  )
  return policy
}

function randomRecord(
  random: (below: number) => number,
  { policy, cheat }: { readonly policy: ScoringPolicy; readonly cheat: number },
  epoch: number,
  validator: string,
  index: number,
): AuditRecord {
  const pick = <T>(...items: readonly T[]): T => items[random(items.length)] as T
  const found = random(2) === 0 && cheat < 4
  const kind = found ? 'probe' : pick<AuditRecord['kind']>('probe', 'probe', 'probe', 'canary', 'organic', 'confirmation')
  const level: 1 | 2 = found ? 2 : kind === 'confirmation' ? 1 : pick(1, 2)
  const worker = { operator: hex(0xa0 + (found ? cheat : random(4))), platform: hex(0xc0 + random(5)), slot: random(2) }
  const path = kind === 'organic' || kind === 'confirmation' ? [] : pick([], [hex(0xb0)], [hex(0xb0), hex(0xb1)], [hex(0xb1)], [hex(0xa1)])
  const verdict = found
    ? 'fail'
    : kind === 'confirmation'
      ? pick<AuditRecord['verdict']>('pass', 'inconclusive', 'fail', 'fail', 'fail', 'fail')
      : pick<AuditRecord['verdict']>('pass', 'pass', 'pass', 'pass', 'inconclusive', 'fail', 'fail', 'unattributable')
  const mismatch = verdict === 'fail' && (kind === 'confirmation' || found || random(2) === 0)
  const total = random(100)
  // At level 1 mostly the same ones: others are no confirmation.
  const tokens = level === 1 ? { total: 9, equal: pick(3, 3, 3, 3, 4), near: null } : { total, equal: random(total + 1), near: random(total + 1) }
  const replay = (outcome: 'pass' | 'fail' | 'inconclusive') => ({
    level,
    outcome,
    engine: digest(0xe5 + random(2)),
    calibration: level === 2 ? pick(digest(0xe1), digest(0xe1), digest(0xe1), digest(0xe2)) : null,
    tokens,
  })
  const view = {
    digest: digest(0x10 + random(4)),
    log: { origin: pick('test/log', 'test/log', 'test/log', 'other'), index: random(99), leaf: hex(1) },
  }
  const timing = (): { first_ms: number; total_ms: number } => {
    const first = random(800)
    return { first_ms: first, total_ms: first + random(4000) }
  }
  const asked = kind === 'probe' || kind === 'canary'
  const charged =
    verdict === 'pass' || verdict === 'inconclusive' || (verdict === 'unattributable' && kind === 'organic')
      ? null
      : path.length === 0
        ? 'worker'
        : verdict === 'fail'
          ? found
            ? 'worker'
            : pick('worker', 'controller')
          : 'controller'
  const faults = ['refused', 'timeout', 'answer_error', 'model_mismatch', 'response_mismatch', 'attestation_rejected', 'keyset_expired']
  const outcome = verdict === 'pass' ? 'pass' : mismatch ? 'fail' : pick<'pass' | 'inconclusive'>('pass', 'inconclusive')
  const obstacle = verdict === 'inconclusive' ? pick(...obstacles.filter((one) => one !== 'not_confirmable' || kind === 'confirmation')) : null
  const hidden = kind === 'organic' && obstacle === 'view_unavailable'
  const unknown = hidden || (charged === 'controller' && random(4) === 0)
  return auditRecordFromJson({
    version: 'veritee.audit.v1',
    network: 'test',
    validator,
    epoch,
    index,
    at: policy.epoch.genesis + epoch * length + (random(2) === 0 ? random(length) : random(6) * 600),
    kind,
    worker: unknown ? null : worker,
    keyset: unknown ? null : digest(0x70),
    model: { name: 'm', weights: found ? digest(0xd2) : pick(digest(0xd1), digest(0xd2), digest(0xd2), digest(0xd3)) },
    path,
    attestation: { verdict: 'accepted', code: null, evidence: digest(2), collateral: digest(3) },
    view: hidden ? { ...view, digest: null } : view,
    replay: kind === 'organic' && !mismatch && random(2) === 0 ? null : replay(outcome),
    timings: asked ? { worker: pick(null, timing(), timing()), validator: timing() } : null,
    output_tokens: random(300),
    canary: kind === 'canary' ? digest(4) : null,
    verdict,
    reason: verdict === 'pass' ? null : obstacle !== null ? obstacle : mismatch ? 'replay_mismatch' : pick(...faults),
    charged,
    signature: '00'.repeat(64),
  })
}

/** Inputs of a few epochs, without the states between; some epochs between them are left out. Draws everything from `seed`. */
export async function randomEpochs(seed: number, count: number): Promise<Omit<EpochInput, 'before'>[]> {
  const random = randomFrom(seed)
  const policy = await randomPolicy(random)
  const pick = <T>(...items: readonly T[]): T => items[random(items.length)] as T
  // One operator, or nobody, fails replays at level 2 more often than chance.
  const cheat = random(20)
  const some = (items: readonly string[], outOf: number): string[] => items.filter(() => random(outOf) > 0)
  // Some epochs are left out. Drawn apart, so that what is in the others is the same.
  const gap = randomFrom(seed + 0x5eed)
  let last = -1
  const numbers = Array.from({ length: count }, (_, i) => (last += i > 0 && gap(4) === 0 ? 2 + gap(3) : 1))
  return numbers.map((epoch) => ({
    policy,
    epoch,
    roster: {
      operators: some([hex(0xa0), hex(0xa1), hex(0xa2), hex(0xa3), hex(0xb0), hex(0xb1)], 12),
      shared: some([hex(0xc0), hex(0xc1)], 2),
    },
    records: policy.validators.flatMap(({ key }) =>
      random(8) === 0 ? [] : Array.from({ length: random(30) }, (_, index) => randomRecord(random, { policy, cheat }, epoch, key, index)),
    ),
    proven:
      random(6) === 0 ? [{ keyset: digest(0x70 + random(3)), operator: hex(0xa0 + random(4)), platform: pick(null, hex(0xc0 + random(5))) }] : [],
    failed: policy.validators.map(({ key }) => key).filter(() => random(10) === 0),
  }))
}

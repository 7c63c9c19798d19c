import { describe, expect, it } from 'vitest'
import { toHex } from '../../src/bytes/index.ts'
import { generateEd25519 } from '../../src/crypto/index.ts'
import {
  emptyState,
  parseScoringPolicy,
  parseState,
  scoreEpoch,
  signScoringPolicy,
  stateToJson,
  verifyScoringPolicy,
} from '../../src/scoring/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { digest, hex, policyText, randomEpochs } from './random-epoch.ts'

const keys = await Promise.all([1, 2, 3].map(() => generateEd25519()))
const [a, b, c] = keys as [(typeof keys)[0], (typeof keys)[0], (typeof keys)[0]]
const stranger = await generateEd25519()
const trust = { network: 'test', keys: keys.map((key) => toHex(key.publicKey)), threshold: 2, minimumVersion: 1 }
const at = new Date(1_500_000_000)

async function signed(change: { readonly [name: string]: unknown } = {}, by = [a, b]): Promise<string> {
  let text = policyText(change)
  for (const key of by) text = await signScoringPolicy(text, key)
  return text
}

describe('a scoring policy', () => {
  it('is in force by the signatures of enough trusted keys, each counted once', async () => {
    expect((await verifyScoringPolicy(await signed(), trust, at)).policy.cap).toBe(2n * 10n ** 17n)
    expect((await verifyScoringPolicy(await signed({}, [c, stranger, a, a]), trust, at)).signatures).toHaveLength(3)
    for (const by of [[], [a], [a, a], [a, stranger]])
      expect(await refusal(async () => verifyScoringPolicy(await signed({}, by), trust, at))).toBe('scoring_policy_rejected')
  })

  it.each([
    ['another network', { ...trust, network: 'other' }, at],
    ['an old version', { ...trust, minimumVersion: 2 }, at],
    ['a time before', trust, new Date(999_999_000)],
    ['a time after', trust, new Date(2_000_000_000)],
    ['no time at all', trust, new Date(Number.NaN)],
  ])('is refused for %s', async (_, by, when) => {
    expect(await refusal(async () => verifyScoringPolicy(await signed(), by, when))).toBe('scoring_policy_rejected')
  })

  it('is refused where a number of it was changed', async () => {
    const text = (await signed()).replace('"cap":"0.2"', '"cap":"0.3"')
    expect(await refusal(() => verifyScoringPolicy(text, trust, at))).toBe('scoring_policy_signature_invalid')
    await expect(verifyScoringPolicy(await signed(), { ...trust, threshold: 4 }, at)).rejects.toThrow(TypeError)
  })

  it.each(Object.keys(JSON.parse(policyText()) as object))('has no default for %s', async (name) => {
    const { [name]: _, ...rest } = JSON.parse(policyText()) as { [name: string]: unknown }
    expect(await refusal(() => parseScoringPolicy(JSON.stringify(rest)))).toBe('scoring_policy_malformed')
  })

  const model = { weights: digest(1), first_ms: 1, tokens_per_second: '1.0', level2: null }
  const validator = { key: hex(1), operator: null, weight: 1 }
  const ratios = { p1: '0.05', alpha: '0.000001', beta: '0.01', max_p0_upper: '0.001', vote_epochs: 10 }
  const wrong: { readonly [name: string]: unknown } = {
    version: 'veritee.scoring-policy.v2',
    network: '../x',
    policy_version: 0,
    issued: -1,
    expires: 1_000_000 + 366 * 86_400 + 1,
    epoch: { genesis: 0, length: 59 },
    validators: [validator, validator],
    models: [],
    log: 'none',
    beacon: 'none',
    organic: { probability: '0.0' },
    half_life: 0,
    z: '10.1',
    exponents: { quality: 0, availability: 2, work: '0.7' },
    speed_share: '1.1',
    ema: { up: '0.0', down: '0.5' },
    sprt: { ...ratios, max_p0_upper: '0.05' },
    confirmations: 64,
    ban: { max_exponent: 21 },
    cap: '0.0',
    max_inconclusive: '1.000000001',
    repeat_window: -1,
    min_path_records: 0,
    clip: '0.51',
    signatures: [{ key: hex(1), signature: '' }],
    more: 1,
  }
  const also: readonly (readonly [string, unknown])[] = [
    ['cap', 0.2],
    ['beacon', { period: 1e30 }],
    ['z', '1.96e0'],
    ['validators', [{ ...validator, weight: 0 }]],
    ['validators', [{ ...validator, key: hex(2) }, validator]],
    ['models', [{ ...model, tokens_per_second: '0.0' }]],
    ['models', [{ ...model, level2: { calibration: digest(1), p0: '0.002', p0_upper: '0.001' } }]],
    ['models', [{ ...model, level2: { calibration: digest(1), p0: '0.0', p0_upper: '0.001' } }]],
    ['sprt', { ...ratios, alpha: '0.5', beta: '0.5' }],
    ['sprt', { ...ratios, p1: '1.0' }],
    ['exponents', { quality: 4, availability: 2, work: '1.1' }],
    ['log', { origin: 'x', key: 'y', witnesses: [], quorum: 0 }],
  ]
  it.each([...Object.entries(wrong), ...also])('refuses a wrong %s: %j', async (name, value) => {
    expect(await refusal(() => parseScoringPolicy(policyText({ [name]: value })))).toBe('scoring_policy_malformed')
  })
})

describe('the state of scores', async () => {
  let before = emptyState
  for (const input of await randomEpochs(11, 4)) before = scoreEpoch({ ...input, before }).after
  const document = JSON.parse(JSON.stringify(stateToJson('test', before))) as { [name: string]: unknown[] }

  it('is read as it was written', () => {
    expect(stateToJson('test', parseState(JSON.stringify(document), 'test'))).toEqual(document)
    expect(parseState(JSON.stringify(stateToJson('test', emptyState)), 'test')).toEqual(emptyState)
  })

  it('is refused with a member missing, added, twice or out of order, and for another network', async () => {
    const refused = async (change: object): Promise<void> =>
      expect(await refusal(() => parseState(JSON.stringify({ ...document, ...change }), 'test')), Object.keys(change)[0]).toBe(
        'scoring_state_malformed',
      )
    await refused({ more: 1 })
    await refused({ version: 'x' })
    await refused({ network: 'other' })
    await refused({ epoch: -1 })
    for (const name of ['validators', 'holders']) {
      expect(document[name]?.length, name).toBeGreaterThan(0)
      await refused({ [name]: [...(document[name] ?? []), document[name]?.[0]] })
    }
    await refused({ keysets: ['x'] })
    await refused({ operators: [{ operator: hex(1), convictions: -1, until: 0 }] })
    await refused({ votes: [{ validator: hex(1), operator: hex(2), platform: 1, epoch: 0 }] })
    const party = {
      operator: hex(1),
      quality: { successes: '1.000000000', trials: '0.500000000' },
      availability: { successes: '0.000000000', trials: '0.000000000' },
      mismatches: { failures: '0.000000000', allowed: '0.000000000' },
      score: '0.000000000',
    }
    const ofValidator = { validator: hex(1), operators: [] as unknown[], workers: [], controllers: [], paths: [] as unknown[], ratios: [] }
    const path = { path: hex(1), trials: '1.000000000', squares: '1.000000000', work: [{ operator: hex(2), tokens: '1.000000000' }] }
    const read = { ...document, validators: [{ ...ofValidator, paths: [path, { ...path, path: hex(2) }] }] }
    expect(stateToJson('test', parseState(JSON.stringify(read), 'test'))).toEqual(read)
    await refused({ validators: [{ ...ofValidator, operators: [party] }] })
    const { mismatches: _, ...without } = { ...party, quality: party.availability }
    await refused({ validators: [{ ...ofValidator, operators: [without] }] })
    await refused({ validators: [{ ...ofValidator, paths: [{ ...path, path: hex(2) }, path] }] })
    await refused({ validators: [{ ...ofValidator, paths: [{ ...path, work: [...path.work, ...path.work] }] }] })
    await refused({ validators: [{ ...ofValidator, paths: Array.from({ length: 65 }, (_, i) => ({ ...path, path: hex(i + 1) })) }] })
  })
})

import { networkName } from '../../admission/manifest.ts'
import { parseSignatures } from '../../admission/signatures.ts'
import { jcsDigest } from '../../bytes/digest.ts'
import type { Json } from '../../bytes/jcs.ts'
import { parseDocument } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import { parseFine } from '../numbers/decimal.ts'
import { one } from '../numbers/fixed.ts'
import {
  maxScoringPolicyLength,
  type PolicyLog,
  type PolicyModel,
  type PolicyValidator,
  type ScoringPolicy,
  type SignedScoringPolicy,
  scoringPolicyVersion,
} from './policy.ts'

const shape = new Shape('scoring_policy_malformed')
const maxSeconds = 366 * 86_400

/**
 * Reads a scoring policy (spec/scoring.md, "Policy"): shape, bounds and order only; every member is required and there are no defaults. No signature is looked
 * at. Throws `scoring_policy_malformed`.
 */
export async function parseScoringPolicy(text: string): Promise<SignedScoringPolicy> {
  const limits = { maxLength: maxScoringPolicyLength, maxDepth: 8, integersOnly: true } as const
  const value = parseDocument(text, limits, 'scoring_policy_malformed', 'the scoring policy')
  const o = shape.object(value, 'policy', [
    'version',
    'network',
    'policy_version',
    'issued',
    'expires',
    'epoch',
    'validators',
    'models',
    'log',
    'beacon',
    'organic',
    'half_life',
    'z',
    'exponents',
    'speed_share',
    'ema',
    'sprt',
    'confirmations',
    'ban',
    'cap',
    'max_inconclusive',
    'repeat_window',
    'min_path_records',
    'clip',
    'signatures',
  ])
  shape.oneOf(o.version, 'version', [scoringPolicyVersion])
  const issued = shape.integer(o.issued, 'issued')
  const expires = shape.integer(o.expires, 'expires')
  if (expires <= issued || expires - issued > maxSeconds) throw shape.refuse('expires', `a time after ${issued} and at most ${maxSeconds} s later`)
  const epoch = shape.object(o.epoch, 'epoch', ['genesis', 'length'])
  const exponents = shape.object(o.exponents, 'exponents', ['quality', 'availability', 'work'])
  const ema = shape.object(o.ema, 'ema', ['up', 'down'])
  const sprt = shape.object(o.sprt, 'sprt', ['p1', 'alpha', 'beta', 'max_p0_upper', 'vote_epochs'])
  const ban = shape.object(o.ban, 'ban', ['max_exponent'])
  const organic = shape.object(o.organic, 'organic', ['probability'])
  const policy: ScoringPolicy = {
    network: networkName(o.network, 'network', shape),
    policyVersion: within(o.policy_version, 'policy_version', 1, Number.MAX_SAFE_INTEGER),
    issued,
    expires,
    epoch: { genesis: within(epoch.genesis, 'epoch.genesis', 0, 2 ** 40), length: within(epoch.length, 'epoch.length', 60, 604_800) },
    validators: validators(o.validators),
    models: models(o.models),
    log: o.log === 'any' ? 'any' : log(o.log),
    beacon: shape.hashable(shape.record(o.beacon, 'beacon'), 'beacon') as { readonly [name: string]: Json },
    organic: { probability: part(organic.probability, 'organic.probability') },
    halfLife: within(o.half_life, 'half_life', 60, 31_536_000),
    z: decimal(o.z, 'z', 0n, 10n * one),
    exponents: {
      quality: within(exponents.quality, 'exponents.quality', 1, 16),
      availability: within(exponents.availability, 'exponents.availability', 1, 16),
      work: part(exponents.work, 'exponents.work'),
    },
    speedShare: decimal(o.speed_share, 'speed_share', 0n, one),
    ema: { up: part(ema.up, 'ema.up'), down: part(ema.down, 'ema.down') },
    sprt: {
      p1: between(sprt.p1, 'sprt.p1'),
      alpha: between(sprt.alpha, 'sprt.alpha'),
      beta: between(sprt.beta, 'sprt.beta'),
      maxP0Upper: between(sprt.max_p0_upper, 'sprt.max_p0_upper'),
      voteEpochs: within(sprt.vote_epochs, 'sprt.vote_epochs', 1, 1000),
    },
    confirmations: within(o.confirmations, 'confirmations', 0, 63),
    ban: { maxExponent: within(ban.max_exponent, 'ban.max_exponent', 0, 20) },
    cap: part(o.cap, 'cap'),
    maxInconclusive: decimal(o.max_inconclusive, 'max_inconclusive', 0n, one),
    repeatWindow: within(o.repeat_window, 'repeat_window', 0, 604_800),
    minPathRecords: within(o.min_path_records, 'min_path_records', 1, 1_000_000),
    clip: decimal(o.clip, 'clip', 1n, one / 2n),
  }
  // A test between two hypotheses needs two, and a failure that speaks against the worker.
  if (policy.sprt.maxP0Upper >= policy.sprt.p1) throw shape.refuse('sprt.max_p0_upper', 'less than p1')
  if (policy.sprt.alpha + policy.sprt.beta >= one) throw shape.refuse('sprt.alpha', 'less than 1 together with beta')
  const { signatures: _, ...document } = o as { readonly [name: string]: Json }
  return { policy, signatures: parseSignatures(o.signatures, shape), digest: await jcsDigest(document), document }
}

function within(value: unknown, at: string, low: number, high: number): number {
  const found = shape.integer(value, at, high)
  if (found < low) throw shape.refuse(at, `an integer from ${low} to ${high}`)
  return found
}

function decimal(value: unknown, at: string, low: bigint, high: bigint): bigint {
  const found = parseFine(value, at, shape)
  if (found < low || found > high) throw shape.refuse(at, `a decimal from ${low / one} to ${Number(high) / 1e18}`)
  return found
}

/** Above 0, at most 1. */
function part(value: unknown, at: string): bigint {
  return decimal(value, at, 1n, one)
}

/** Between 0 and 1, and neither. */
function between(value: unknown, at: string): bigint {
  return decimal(value, at, 1n, one - 1n)
}

function validators(value: unknown): readonly PolicyValidator[] {
  const found = shape.array(value, 'validators', 64).map((item, i) => {
    const o = shape.object(item, `validators[${i}]`, ['key', 'operator', 'weight'])
    return {
      key: shape.hex(o.key, `validators[${i}].key`, 32),
      operator: o.operator === null ? null : shape.hex(o.operator, `validators[${i}].operator`, 32),
      weight: BigInt(within(o.weight, `validators[${i}].weight`, 1, 1_000_000)),
    }
  })
  rising(
    found.map(({ key }) => key),
    'validators',
  )
  return found
}

function models(value: unknown): readonly PolicyModel[] {
  const found = shape.array(value, 'models', 1024).map((item, i): PolicyModel => {
    const at = `models[${i}]`
    const o = shape.object(item, at, ['weights', 'first_ms', 'tokens_per_second', 'level2'])
    return {
      weights: shape.digest(o.weights, `${at}.weights`),
      firstMs: BigInt(within(o.first_ms, `${at}.first_ms`, 1, 86_400_000)),
      tokensPerSecond: decimal(o.tokens_per_second, `${at}.tokens_per_second`, 1n, 1_000_000n * one),
      level2: o.level2 === null ? null : level2(o.level2, `${at}.level2`),
    }
  })
  rising(
    found.map(({ weights }) => weights),
    'models',
  )
  return found
}

function level2(value: unknown, at: string): PolicyModel['level2'] {
  const o = shape.object(value, at, ['calibration', 'p0', 'p0_upper'])
  const p0 = between(o.p0, `${at}.p0`)
  const p0Upper = between(o.p0_upper, `${at}.p0_upper`)
  if (p0 > p0Upper) throw shape.refuse(`${at}.p0`, 'at most p0_upper')
  return { calibration: shape.digest(o.calibration, `${at}.calibration`), p0, p0Upper }
}

function log(value: unknown): PolicyLog {
  const o = shape.object(value, 'log', ['origin', 'key', 'witnesses', 'quorum'])
  return {
    origin: shape.string(o.origin, 'log.origin', 256),
    key: shape.string(o.key, 'log.key', 1024),
    witnesses: shape.array(o.witnesses, 'log.witnesses', 64).map((key, i) => shape.string(key, `log.witnesses[${i}]`, 1024)),
    quorum: within(o.quorum, 'log.quorum', 1, 64),
  }
}

/** Strictly rising and not empty, so that nothing stands twice and one policy has one form. */
function rising(keys: readonly string[], at: string): void {
  if (keys.length === 0 || keys.some((key, i) => i > 0 && key <= (keys[i - 1] as string)))
    throw shape.refuse(at, 'at least one, in rising order, each once')
}

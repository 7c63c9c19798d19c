import { parseScoringPolicy, type ScoringPolicy, type WorkerId } from 'veritee/scoring'
import { policyText } from '../../packages/veritee/test/scoring/random-epoch.ts'
import { calibration, logOrigin, name, network, weightsOf } from './records.ts'
import { honestFalseFail, type Strategy } from './strategies.ts'

/** How large a fleet is. */
export interface Size {
  readonly operators: number
  /** Of each operator. */
  readonly workers: number
  readonly epochs: number
  /** Of each worker, by each validator, in each epoch. */
  readonly probes: number
  /** Operators of each strategy that is not the first; the first has the others. */
  readonly each: number
  readonly controllers: number
}

export interface FleetOperator {
  readonly key: string
  readonly strategy: Strategy
  /** Among those of its strategy. */
  readonly place: number
  readonly workers: readonly { readonly id: WorkerId; readonly level: 1 | 2 }[]
  /** First epoch in which it takes part. */
  readonly from: number
}

export interface World {
  readonly size: Size
  readonly operators: readonly FleetOperator[]
  readonly controllers: readonly string[]
  readonly validators: readonly string[]
  readonly policy: ScoringPolicy
}

export const epochLength = 3600
const genesis = 1_700_000_000
const sybils = 4

/** A fleet in which every strategy has its operators; all names are made up, and no clock is read. */
export async function makeWorld(size: Size, strategies: readonly Strategy[]): Promise<World> {
  const plan: { readonly strategy: Strategy; readonly place: number }[] = []
  const others = strategies
    .slice(1)
    .flatMap((strategy) => Array.from({ length: strategy.onePlatform === true ? sybils : size.each }, (_, place) => ({ strategy, place })))
  const first = strategies[0]
  if (first === undefined || others.length >= size.operators) throw new TypeError(`a fleet needs more than ${others.length} operators`)
  for (let place = 0; plan.length < size.operators - others.length; place++) plan.push({ strategy: first, place })
  plan.push(...others)
  const operators = plan.map(({ strategy, place }, o): FleetOperator => {
    const host = strategy.onePlatform === true ? o - place : o
    return {
      key: name(0xa0, o),
      strategy,
      place,
      workers: Array.from({ length: size.workers }, (_, w) => ({
        id: { operator: name(0xa0, o), platform: name(0xb0, host * size.workers + w), slot: place !== 0 && host !== o ? place : 0 },
        level: strategy.level ?? (w % 10 === 0 ? 1 : 2),
      })),
      from: host === o ? 0 : 1,
    }
  })
  const validators = Array.from({ length: 5 }, (_, v) => name(0xc0, v))
  const { policy } = await parseScoringPolicy(fleetPolicy(validators))
  return { size, operators, controllers: Array.from({ length: size.controllers }, (_, c) => name(0xa8, c)), validators, policy }
}

/** The parameters of the demo, which the tests of scoring use too, with what is the fleet's own. */
function fleetPolicy(validators: readonly string[]): string {
  return policyText({
    network,
    issued: genesis - 1,
    expires: genesis + 30 * 86_400,
    epoch: { genesis, length: epochLength },
    validators: validators.map((key) => ({ key, operator: null, weight: 1 })),
    models: ([1, 2] as const).map((level) => ({
      weights: weightsOf(level),
      first_ms: 250,
      tokens_per_second: '60.0',
      level2: level === 2 ? { calibration, p0: String(honestFalseFail), p0_upper: '0.0009' } : null,
    })),
    log: { origin: logOrigin, key: 'not verified here', witnesses: ['not verified here'], quorum: 1 },
    repeat_window: epochLength,
  })
}

import type { BeaconChain } from 'veritee/beacon'
import { type Json, jcs, toHex } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import { signScoringPolicy } from 'veritee/scoring'

/** The parameters of scoring of the demo's network: those that the specification proposes, with what this machine cannot show left out. */
export interface DemoScoringPolicy {
  readonly network: string
  /** Unix seconds. */
  readonly genesis: number
  readonly validator: string
  /** Digest of the model's files. */
  readonly weights: string
  readonly beacon: BeaconChain
  /** Of an epoch, seconds. */
  readonly length: number
  /** Each signs. */
  readonly signers: readonly SigningKey[]
}

export async function signDemoScoringPolicy({ network, genesis, length, validator, weights, beacon, signers }: DemoScoringPolicy): Promise<string> {
  let text = jcs({
    version: 'veritee.scoring-policy.v1',
    network,
    policy_version: 1,
    issued: genesis - 60,
    expires: genesis + 30 * 86_400,
    epoch: { genesis, length },
    validators: [{ key: validator, operator: null, weight: 1 }],
    models: [{ weights, first_ms: 2000, tokens_per_second: '20.0', level2: null }],
    log: 'any',
    beacon: beacon as unknown as Json,
    organic: { probability: '0.1' },
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
    repeat_window: 3600,
    min_path_records: 3,
    clip: '0.5',
    signatures: [],
  })
  for (const signer of signers) text = await signScoringPolicy(text, signer)
  return text
}

export function keyOf({ publicKey }: SigningKey): string {
  return toHex(publicKey)
}

import type { BeaconChain } from 'veritee/beacon'
import { type Json, jcs, toHex } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import type { LogPolicy } from 'veritee/log'
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
  /** null: none is relied on. */
  readonly log: LogPolicy | null
  /** Of a leaf of the log to be audited, a decimal. */
  readonly probability: string
  /** Of an epoch, seconds. */
  readonly length: number
  /** Each signs. */
  readonly signers: readonly SigningKey[]
}

export async function signDemoScoringPolicy(policy: DemoScoringPolicy): Promise<string> {
  const { network, genesis, length, validator, weights, beacon, log, probability, signers } = policy
  let text = jcs({
    version: 'veritee.scoring-policy.v1',
    network,
    policy_version: 1,
    issued: genesis - 60,
    expires: genesis + 30 * 86_400,
    epoch: { genesis, length },
    validators: [{ key: validator, operator: null, weight: 1 }],
    models: [{ weights, first_ms: 2000, tokens_per_second: '20.0', level2: null }],
    log: log === null ? 'any' : { ...log },
    beacon: beacon as unknown as Json,
    organic: { probability },
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

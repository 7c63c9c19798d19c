/**
 * What a fault says about whoever is charged with it: `availability` (no answer), `honesty` (a wrong one), `pause` (evidence that is not accepted now,
 * which ends work and convicts nobody).
 */
export type FaultClass = 'availability' | 'honesty' | 'pause'

/** Why an audit failed, with the class that scoring uses. Closed: spec/audit-record.md, "Reasons". */
export const faults = {
  refused: 'availability',
  timeout: 'availability',
  cut_off: 'availability',
  answer_error: 'availability',
  receipt_unavailable: 'availability',
  attestation_unavailable: 'availability',
  answer_malformed: 'honesty',
  receipt_malformed: 'honesty',
  receipt_signature_invalid: 'honesty',
  keyset_mismatch: 'honesty',
  request_mismatch: 'honesty',
  response_mismatch: 'honesty',
  upstream_mismatch: 'honesty',
  model_mismatch: 'honesty',
  parameters_mismatch: 'honesty',
  outcome_mismatch: 'honesty',
  chain_broken: 'honesty',
  log_omitted: 'honesty',
  log_mismatch: 'honesty',
  replay_mismatch: 'honesty',
  canary_mismatch: 'honesty',
  evidence_malformed: 'honesty',
  attestation_rejected: 'pause',
  keyset_expired: 'pause',
} as const satisfies { readonly [name: string]: FaultClass }
export type Fault = keyof typeof faults

/** Why an audit established nothing either way. */
export const obstacles = [
  'engine_not_replayable',
  'calibration_missing',
  'too_few_tokens',
  'tokens_unknown',
  'receipt_key_missing',
  'replay_unavailable',
  'collateral_unavailable',
  'log_pending',
  'log_unavailable',
  'view_unavailable',
  'not_confirmable',
] as const
export type Obstacle = (typeof obstacles)[number]

export const faultNames: readonly Fault[] = Object.keys(faults) as Fault[]

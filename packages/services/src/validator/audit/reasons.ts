import type { ErrorCode, VeriteeError } from 'veritee/errors'
import type { Fault, Obstacle } from 'veritee/scoring'
import type { ReplayReport } from '../../replay/index.ts'

/** What a failed check of an exchange is called in an audit record. Codes that are not here are what nobody should send: `answer_malformed`. */
const ofCodes: Partial<Record<ErrorCode, Fault>> = {
  service_unavailable: 'cut_off',
  service_refused: 'refused',
  receipt_missing: 'receipt_unavailable',
  receipt_malformed: 'receipt_malformed',
  receipt_key_unknown: 'receipt_signature_invalid',
  receipt_signature_invalid: 'receipt_signature_invalid',
  receipt_keyset_mismatch: 'keyset_mismatch',
  keyset_changed: 'keyset_mismatch',
  channel_mismatch: 'keyset_mismatch',
  keyset_expired: 'keyset_expired',
  receipt_request_mismatch: 'request_mismatch',
  receipt_nonce_mismatch: 'request_mismatch',
  receipt_response_mismatch: 'response_mismatch',
  receipt_stream_mismatch: 'response_mismatch',
  receipt_transport_mismatch: 'response_mismatch',
  receipt_key_mismatch: 'response_mismatch',
  receipt_upstream_mismatch: 'upstream_mismatch',
  session_mismatch: 'upstream_mismatch',
  operator_signature_invalid: 'evidence_malformed',
  policy_models: 'model_mismatch',
  policy_receipt: 'upstream_mismatch',
}

export function faultOf({ code }: VeriteeError): Fault {
  const known = ofCodes[code]
  if (known !== undefined) return known
  if (code.startsWith('policy_')) return 'attestation_rejected'
  return /^(?:report|quote|qe|certificate|chain|crl|collateral|tcb|tdx)_/.test(code) ? 'evidence_malformed' : 'answer_malformed'
}

/**
 * What the result of a replay is called in an audit record; null for a pass. Faults that need no tokens to be compared have names of their own, and so has what differs before the replay has come to a level:
 * a mismatch is one at a level.
 */
export function replayReasonOf({ reason, level, engines }: Pick<ReplayReport, 'reason' | 'level' | 'engines'>): Fault | Obstacle | null {
  if (level === null || engines === null) {
    if (reason === 'prompt_differs') return 'parameters_mismatch'
    if (reason === 'text_differs') return 'answer_malformed'
  }
  switch (reason) {
    case null:
      return null
    case 'keyset_differs':
      return 'keyset_mismatch'
    case 'signature_invalid':
      return 'receipt_signature_invalid'
    case 'request_differs':
      return 'request_mismatch'
    case 'response_differs':
      return 'response_mismatch'
    case 'weights_differ':
    case 'template_differs':
      return 'model_mismatch'
    case 'profile_differs':
    case 'parameters_differ':
      return 'parameters_mismatch'
    case 'outcome_differs':
      return 'outcome_mismatch'
    case 'prompt_differs':
    case 'token_differs':
    case 'text_differs':
    case 'vectors_differ':
    case 'too_far':
      return 'replay_mismatch'
    case 'calibration_differs':
      return 'calibration_missing'
    case 'key_missing':
      return 'receipt_key_missing'
    case 'too_few_tokens':
    case 'tokens_unknown':
      return reason
    case 'no_answer':
    case 'no_inference':
    case 'request_unknown':
    case 'parameters_unknown':
    case 'engine_differs':
    case 'not_canonical':
      return 'engine_not_replayable'
  }
}

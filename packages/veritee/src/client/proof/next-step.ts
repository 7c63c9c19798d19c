import type { ErrorCode, ErrorKind } from '../../errors.ts'

const stop = 'stop using this service until its operator explains it: what it showed is not what its hardware signed'
const between = 'somebody stands between you and the service, or it was exchanged: do not send again over this network before you know who'
const again = 'ask again: the service is verified anew first'

/** What to do, for codes where the kind alone does not say it. */
const steps: { readonly [C in ErrorCode]?: string } = {
  policy_invalid: 'complete the policy: `veritee policy check FILE` names every field; nothing is sent under an incomplete one',
  policy_role_missing: 'add a section for this role to the policy: evidence of one role never satisfies that of another',
  policy_unsupported: 'set the field to "any", which the verdict then names, or use a version that can check it',
  policy_simulated: 'use a service on real hardware; a policy for development may say "simulated": "allow"',
  policy_debug: 'ask the operator for a production enclave: the host can read this one',
  policy_identity: 'compare the measurement with the release you reviewed; a new release needs a new policy',
  policy_tcb_status: 'ask the operator to update firmware and microcode, or accept this status in the policy knowing the advisories',
  policy_advisory: 'read the advisory; list it in tcb.advisories if you accept it',
  policy_collateral_age: 'ask the operator to refresh its collateral, or pass `collateral` to fetch your own',
  policy_evaluation_number: 'ask the operator for collateral of a newer evaluation, or pass `collateral` to fetch your own',
  policy_attestation_age: again,
  policy_models: 'compare the weights with those you meant; a new model needs a new policy',
  policy_channel: 'use https to the attested key, or `encryptTo`; plain HTTP is for loopback, where the policy says so',
  policy_receipt: 'demand a verified worker: the controller served this answer without one',
  chain_untrusted: 'if this is a simulator of yours, pass its root in `trust`; otherwise the evidence is forged: stop',
  crl_expired: 'ask the operator to refresh its collateral, or pass `collateral` to fetch your own; then check this machine’s clock',
  tcb_info_expired: 'ask the operator to refresh its collateral, or pass `collateral` to fetch your own; then check this machine’s clock',
  qe_identity_expired: 'ask the operator to refresh its collateral, or pass `collateral` to fetch your own; then check this machine’s clock',
  channel_mismatch: between,
  report_nonce_mismatch: between,
  keyset_changed: again,
  keyset_expired: again,
  ehbp_stale_key: again,
  ehbp_key_absent: 'ask the service for a key to encrypt to, or connect without `encryptTo` over attested TLS',
  receipt_missing: 'do not rely on this answer; ask again, and if receipts stay away, use another service',
  receipt_request_mismatch: 'do not use this answer: the service worked on other bytes than you sent',
  receipt_response_mismatch: 'do not use this answer: it is not what the service signed',
  receipt_stream_mismatch: 'do not use this answer: its events are not those that were signed',
  receipt_nonce_mismatch: 'do not use this answer: its receipt is of another request',
  log_promise_missing: 'use a service that promises the log your policy names, or set `log` to "any" in its section, which the verdict then names',
  log_promise_broken: 'keep the evidence, tell the operator, and use another service until it is explained',
  log_fork: 'keep both checkpoints: they convict the log; do not rely on it',
  service_refused: 'read the message of the service; it is its word and nothing more',
  service_unavailable: 'try again; what was received before it broke off is proven only where the proof says so',
  response_too_large: 'ask for a shorter answer, or use mode "report"',
}

const byKind: { readonly [K in ErrorKind]: string } = {
  configuration: 'correct what you passed: nothing was sent',
  unavailable: 'try again later, or provide what is missing',
  untrusted: stop,
  rejected: 'do not use this answer; change the service, or the policy after reviewing what it would accept',
}

/** One sentence on what the reader should do about a failure. */
export function clientNextStep(code: ErrorCode, kind: ErrorKind): string {
  return steps[code] ?? byKind[kind]
}

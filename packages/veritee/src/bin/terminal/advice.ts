import type { ErrorCode } from '../../errors.ts'

const refresh = 'fetch collateral of the time you verify at, or pass --at with the time it was made for'
const foreign = 'do not rely on this service: what it showed is not what its hardware signed'

/** What to do next about a rejection, where there is something to do. */
const advice: { readonly [C in ErrorCode]?: string } = {
  quote_malformed: 'check that the file is a whole DCAP quote, raw or as hex',
  quote_no_pck_chain: 'fetch the PCK certificate it names and pass a quote that carries its chain',
  collateral_missing: 'collect every piece: TCB info, QE identity, both revocation lists and their issuer chains',
  collateral_unavailable: 'try another source with --pcs, or later; veritee verify needs no network once you have a file',
  crl_expired: refresh,
  tcb_info_expired: refresh,
  qe_identity_expired: refresh,
  certificate_expired: refresh,
  certificate_not_yet_valid: refresh,
  certificate_revoked: 'do not trust this platform: its vendor has withdrawn it',
  chain_untrusted: 'if this is a simulator or a test platform of yours, pass its root with --root; otherwise the evidence is forged',
  crl_issuer_mismatch: 'fetch the revocation list of the authority that issued the PCK certificate (processor or platform)',
  tcb_info_mismatch: "fetch the TCB info of this platform's FMSPC and TEE",
  policy_simulated: 'simulated evidence proves nothing about hardware; a policy for development may say "simulated": "allow"',
  policy_debug: 'ask the operator for a production enclave: the host can read this one',
  policy_identity: 'compare the measurement with the release you reviewed; a new release needs a new policy',
  policy_tcb_status: 'ask the operator to update firmware and microcode, or accept this status in the policy knowing the advisories',
  policy_advisory: 'read the advisory; list it in tcb.advisories if you accept it',
  policy_evaluation_number: 'fetch collateral of a newer evaluation (update=early), or lower the demand',
  policy_collateral_age: refresh,
  policy_attestation_age: 'verify the service again with a fresh nonce',
  policy_models: 'compare the weights with those you meant; a new model needs a new policy',
  policy_channel: 'use https to the attested key; plain HTTP is for loopback, where the policy says so',
  report_nonce_mismatch: foreign,
  report_keyset_mismatch: foreign,
  report_descriptor_mismatch: foreign,
  receipt_signature_invalid: 'keep the receipt as evidence: somebody changed it after it was signed',
  receipt_key_unknown: 'fetch the report of the service that signed this receipt; its keys may have changed since',
  receipt_request_mismatch: 'compare with the exact bytes you sent, not a re-serialised copy',
  receipt_response_mismatch: 'compare with the exact bytes you received, for a stream with its framing',
  keyset_expired: 'verify the service again; for an old receipt pass --at with the time it was served',
}

/** A line for people, or null. */
export function nextStep(code: ErrorCode): string | null {
  return advice[code] ?? null
}

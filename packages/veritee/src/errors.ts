/** Errors that this library raises about data. Wrong *arguments* (a programmer's mistake) are `TypeError`. */
import type { ErrorCode } from './errors/codes.ts'
import { policyTexts } from './errors/policy-texts.ts'

export { type ErrorCode, type ErrorKind, isErrorCode, kindOf } from './errors/codes.ts'
export { fail, VeriteeError } from './errors/error.ts'

/** What each code means, and what to do next. */
export const errorTexts = {
  // bytes and JSON
  malformed_encoding: 'hex, base64, PEM or UTF-8 text is not well-formed',
  malformed_json: 'not strict JSON: syntax, depth, size, a duplicate or a forbidden member name',
  malformed_document: 'a JSON document lacks a member, has an unknown one, or one of the wrong type',

  // quotes (attestation.md 1.1, 1.2 step 1)
  quote_malformed: 'the quote is truncated or its declared lengths do not agree',
  quote_unsupported: 'version, attestation key type, TEE type, body type or vendor is not one this verifier knows',
  quote_no_pck_chain: 'the quote carries no PCK certificate chain; fetch it by the platform identity it names',
  quote_signature_invalid: 'the attestation key did not sign this quote',
  qe_report_signature_invalid: 'the PCK key did not sign the quoting enclave report',
  qe_report_data_mismatch: 'the quoting enclave report does not bind the attestation key',
  qe_identity_mismatch: 'the quoting enclave is not the one the vendor names',

  // certificates and revocation lists (steps 2, 3)
  certificate_malformed: 'a certificate is not strict DER of the expected profile',
  certificate_expired: 'a certificate is past its notAfter',
  certificate_not_yet_valid: 'a certificate is before its notBefore',
  certificate_revoked: "a certificate is on its issuer's revocation list",
  chain_untrusted: 'the chain does not end in a root you trust',
  chain_invalid: 'issuer, signature, basicConstraints, path length, key usage or subject of a chain is wrong',
  crl_malformed: 'a revocation list is not strict DER of the expected profile',
  crl_issuer_mismatch: 'a revocation list is from another issuer than the certificate it should cover',
  crl_signature_invalid: 'a revocation list is not signed by its issuer',
  crl_expired: "the verification time is outside a revocation list's window; fetch fresh collateral",

  // collateral (steps 4 to 7)
  collateral_missing: 'a piece of collateral is absent; every piece is required',
  collateral_malformed: 'a piece of collateral is not well-formed',
  tcb_info_signature_invalid: 'TCB info is not signed by its signing certificate',
  tcb_info_expired: 'the verification time is outside the TCB info window; fetch fresh collateral',
  tcb_info_mismatch: 'TCB info is for another platform family (FMSPC, PCE id or TEE type)',
  qe_identity_signature_invalid: 'the QE identity is not signed by its signing certificate',
  qe_identity_expired: 'the verification time is outside the QE identity window; fetch fresh collateral',
  tdx_module_mismatch: 'the TDX module is not one the vendor names',
  collateral_unavailable: 'no source gave a complete and current set of collateral; each source and its reason are named',

  // policy
  ...policyTexts,

  // admission (spec/admission-manifest.md)
  release_statement_malformed: 'the release statement is not a well-formed veritee.release-statement.v1 document',
  release_signature_invalid: 'a key you trust did not make its signature over this release statement: it was changed',
  release_signatures_missing: 'fewer of the keys you trust have signed the release statement than you demand',
  release_not_reproduced: 'what was built from the source is not what the release statement says',
  release_product: 'the release statement is of another product',
  release_rolled_back: 'the release statement is older than one that was seen',
  admission_manifest_malformed: 'the admission manifest is not a well-formed veritee.admission-manifest.v1 document',
  admission_manifest_signature_invalid: 'a signature of a key you trust does not hold over this admission manifest: a field was changed',
  admission_manifest_signatures_missing: 'fewer of the keys you trust have signed the admission manifest than you demand',
  admission_manifest_network: 'the admission manifest is of another network',
  admission_manifest_expired: 'the admission manifest is not in force at this time: nobody is admitted under it',
  admission_manifest_rolled_back: 'the admission manifest is older than one that was seen, or another one of the same version',
  admission_platform: 'the platform is not one that the admission manifest lists, or is denied by it',
  registration_malformed: 'the registration is not a well-formed veritee.registration.v1 document',
  registration_signature_invalid: 'the registration is not signed by the keyset that it names',
  registration_misdirected: 'the registration is for another controller, for keys that this one no longer has, or for another purpose',
  registration_replayed: 'the nonce of the registration is not of this controller, is too old, or has served already',
  controller_not_verified: 'the worker serves controllers that it has verified only, and this connection is not of one',
  replica_malformed: 'what another replica says is not a well-formed veritee.replicas.v1 message',
  replica_not_verified: 'this replica serves replicas that it has verified, over connections that show their attested key',
  replica_proof_invalid: 'the replica does not have the secret of this operator: it is of somebody else, or was given another',
  store_key_unavailable: 'no other replica gave the key of the shared store, and this one has kept none; start one replica with --found-store, once',
  operator_signature_missing: 'the service names an operator, and no signature of that operator over its keyset came with it',
  operator_signature_invalid: 'the signature over the keyset is not of the operator that the service names',

  // keyset, report, session, receipt (ACI)
  report_malformed: 'the attestation report is not an aci/1 report with SGX or TDX evidence',
  report_keyset_mismatch: 'the keyset does not hash to the digest the report states or the quote binds',
  report_nonce_mismatch: 'the quote does not bind this nonce and keyset: a replayed or foreign report',
  report_descriptor_mismatch: "the service descriptor does not hash to the keyset's subject",
  keyset_expired: 'the keyset is past its not_after, or claims to live implausibly long',
  keyset_changed: 'the service now answers under another keyset; verify it again before sending more',
  channel_mismatch: 'the TLS key of the connection is not in the attested keyset',
  session_mismatch: 'the attested session does not hash to its id, or does not say what the receipt claims',
  receipt_malformed: 'the receipt is not a well-formed aci/1 receipt',
  receipt_missing: 'the receipt could not be fetched',
  receipt_key_unknown: 'the receipt is signed by a key outside the attested keyset',
  receipt_key_mismatch: 'the key that came with the answer is not the one that its receipt commits to',
  receipt_signature_invalid: 'the receipt signature does not verify: a field was changed',
  receipt_keyset_mismatch: 'the receipt names another keyset than the attested one',
  receipt_request_mismatch: 'the receipt is over other request bytes than those sent',
  receipt_response_mismatch: 'the receipt is over other response bytes than those received',
  receipt_nonce_mismatch: 'the receipt does not echo the nonce of this request',
  receipt_upstream_mismatch: 'the worker receipt is not the one the controller cites, or the two disagree',
  receipt_stream_mismatch: 'the received events are not a prefix of the stream the receipt commits to',
  receipt_transport_mismatch: 'the receipts are not of this encrypted exchange, or say that it was encrypted otherwise',
  bundle_malformed: 'the evidence bundle is not a well-formed veritee.bundle.v1 document',

  // transparency log (spec/log.md)
  note_malformed: 'not a signed note of c2sp.org/signed-note',
  note_signature_missing: 'none of the keys you trust has signed this note',
  note_signature_invalid: 'a signature of a key you trust does not hold over this note: it was changed',
  log_key_malformed: 'a verifier key of a log or witness is not <name>+<key id>+<key>, or of a type that is not known',
  checkpoint_malformed: 'the text of the signed note is not a checkpoint of c2sp.org/tlog-checkpoint',
  log_origin_mismatch: 'the checkpoint is of another log',
  log_quorum_missing: 'fewer of the witnesses you trust have cosigned the checkpoint than you demand',
  log_inclusion_invalid: 'the proof does not show that the entry is in the log',
  log_range_invalid: 'these are not all leaves of the log between the two places, or too many',
  log_consistency_invalid: 'the proof does not show that one checkpoint of the log continues the other',
  log_fork: 'the log signed two histories; both checkpoints together are evidence: keep them',
  log_fork_unproven: 'the document does not show that the log signed two histories',
  tlog_proof_malformed: 'not a proof of c2sp.org/tlog-proof',
  tile_malformed: 'a tile or a bundle of entries of the log has another length than its place demands',
  log_entry_missing: 'the log does not show this entry (yet); after its promise, that is evidence against whoever promised it',
  log_promise_missing: 'the receipt does not promise to be in a log, or not in the one that the policy names',
  log_promise_broken: 'the log shows no entry of the receipt under a checkpoint that was witnessed after the time that was promised',
  audit_view_malformed: 'the statement for the log is not a well-formed audit view or chain head, or follows from no receipt',
  audit_view_keyset_mismatch: 'the statement for the log is of another keyset',
  audit_view_signature_invalid: 'the statement for the log is not signed by the keyset that it names: a field was changed',
  log_store_invalid: 'the files of the log are not those that its key has signed: changed, damaged, or of another log',
  log_busy: 'more entries wait for the log than it takes; retry later',
  log_refused: 'the log does not take this entry from this submitter; the reason is in the message',
  witness_request_malformed: 'the request to the witness is not of c2sp.org/tlog-witness',
  // fraud proofs (spec/fraud-proof.md)
  fraud_proof_malformed: 'the fraud proof is not a well-formed veritee.fraud-proof.v2 document',
  fraud_not_shown: 'the statements of the fraud proof are genuine and do not contradict each other: nobody is convicted',

  // randomness beacons
  beacon_malformed: 'the chain information or the round of a randomness beacon is not well-formed, or of a scheme that is not known',
  beacon_signature_invalid: 'the round of the randomness beacon is not signed by the key of its chain',
  beacon_unavailable: 'the randomness beacon did not give the round',

  // validators
  epoch_late: 'the epoch has begun and its seed was not committed to before: begin with the next one',
  validator_store_unavailable: 'the store of the validator cannot be read or written; it is tried again',

  // encrypted bodies (spec/ehbp-binding.md)
  ehbp_malformed: 'an encrypted body, its headers or the line that binds it are not of the form of veritee.ehbp.v1',
  ehbp_not_authentic: 'an encrypted body does not open: it was changed, or is for another key',
  ehbp_binding_mismatch: 'path, method, model, session or nonce of a request differ from those sealed with its body',
  ehbp_key_absent: 'the attested keyset has no key for encrypted bodies, or not one that can be told',
  ehbp_stale_key: 'the service no longer has the key that the body was sealed to: verify it again, and seal anew',

  // validators: audits, scores, epochs (spec/audit-record.md, spec/scoring.md, spec/epoch.md)
  audit_record_malformed: 'the audit record is not a well-formed veritee.audit.v1 document, or contradicts itself',
  audit_record_signature_invalid: 'the audit record is not signed by the validator that it names: a field was changed',
  scoring_policy_malformed: 'the scoring policy is not a well-formed veritee.scoring-policy.v1 document',
  scoring_policy_signature_invalid: 'a signature of a key you trust does not hold over this scoring policy: a field was changed',
  scoring_policy_rejected: 'the scoring policy is of another network, not in force, too old, or signed by too few of the keys you trust',
  scoring_state_malformed: 'the state of scores is not a well-formed veritee.scoring-state.v1 document',
  epoch_malformed: 'a file of the epoch bundle is not of the form of veritee.epoch.v1, is not listed, or has no place there',
  epoch_file_changed: 'a file of the epoch bundle is not the one that its manifest lists',
  epoch_signature_invalid: 'no validator of the policy signed the manifest of the epoch bundle, or a signature does not hold',
  epoch_beacon_invalid: 'a round of the beacon is not the one that the policy and the log fix for this epoch',
  epoch_log_invalid: 'the leaves of the epoch do not stand between two witnessed checkpoints of the log that the policy names',
  epoch_mismatch: 'a number, a commitment or an accusation in the epoch bundle does not follow from its evidence',
  uid_map_invalid: 'the map of uids is not well-formed, names somebody twice, or leaves weights without a uid; see spec/epoch.md, "Export"',
  scoring_input_invalid: 'a record does not belong into this epoch, or the state is not that of the epoch before',

  // sealed models (spec/sealed-model.md)
  sealed_manifest_malformed: 'the manifest of the sealed model is not a well-formed veritee.sealed-model.v1 document',
  sealed_manifest_signature_invalid: 'the manifest of the sealed model is not signed by the publisher it names: a field was changed',
  sealed_publisher_unknown: 'the publisher of the sealed model is not one you trust',
  sealed_version_rolled_back: 'the sealed model is of an older version than the lowest you accept',
  sealed_container_malformed: 'a sealed model in one file is not laid out as its manifest demands; whoever made it deviates from the format',
  sealed_key_wrong: 'the model key is not the one this model was sealed with',
  sealed_chunk_invalid: 'a chunk of a sealed file does not open: it was changed, moved, or is from another file, model or version',
  sealed_file_size: 'a sealed file is not as long as its manifest says: cut short or extended',

  // key release: codes of the broker, then of its client
  kbs_request_malformed: 'the request to the key broker is not of the protocol it speaks',
  kbs_version_unsupported: 'the two sides of a key release speak different versions of the protocol',
  kbs_tee_unsupported: 'the key broker judges SGX and TDX evidence only',
  kbs_evidence_unsupported: 'the evidence holds a part that the key broker cannot judge',
  kbs_session_unknown: 'the session at the key broker is unknown or has expired, or its nonce has served already',
  kbs_nonce_mismatch: 'the evidence is for another nonce than that of the session',
  kbs_binding_mismatch: 'the quote does not bind this nonce, key and descriptor: a replayed quote, or one made for another purpose',
  kbs_descriptor_missing: 'the resource is released to evidence that binds a service descriptor only',
  kbs_token_invalid: 'the attestation token is not of this key broker, was changed, or has expired',
  kbs_resource_unknown: 'the key broker has no resource of this name',
  kbs_resource_revoked: 'the resource was revoked',
  kbs_log_stale:
    'the key broker cannot show by its log and enough of the witnesses that what it knows is the newest, and releases nothing without that',
  kbs_busy: 'too many requests to the key broker from this address; retry later',
  kbs_refused: 'the key broker did not release the resource; its reason is in the message',
  kbs_answer_malformed: 'the answer of the key broker is not of the protocol spoken',
  kbs_jwe_invalid: 'the released resource is not encrypted to the key of this request, or was changed',
  kbs_timeout: 'the key broker did not answer in time',
  broker_store_invalid: 'the state of the broker does not open under its key: it was changed, or is of another enclave',
  broker_store_rolled_back: 'the state of the broker on disk is older than one that was seen, or was written by somebody else',
  broker_credential_invalid: "the credential of the broker's admin interface is absent or wrong",
  broker_resource_exists: 'the broker has this resource; rotate it, or revoke it first',
  broker_limit: 'the broker takes no more resources, or none of this size',

  // models and the engine
  model_unavailable: 'the model could not be found, downloaded or read; see the cause',
  model_hash_mismatch: 'the model file is not the one its hash names, or changed while it was loaded',
  model_not_measured: 'an enclave loads sealed models, and plain ones whose sha256 is in its measured anchors.json; this is neither',
  model_unverifiable: 'the hub states no sha256 for this file, so a download could not be checked; pass a local path instead',
  model_memory_unavailable: 'there is no memory file system with room for the decrypted weights, and they go to no other',
  model_memory_swappable: 'the kernel may write decrypted weights to a swap device; turn swap off, or mount a tmpfs with noswap',
  model_template_mismatch: "the chat template in the loaded file is not the one the sealed model's manifest names",
  model_malformed: 'the model is not a well-formed GGUF file that this engine can load',
  model_unsupported: 'the model is well-formed, but its vocabulary, template or quantization is not one this engine serves',
  engine_unavailable: 'the inference engine cannot start on this machine',
  engine_busy: 'too many requests wait for the engine; retry later',
  engine_failed: 'the engine failed during an evaluation',
  engine_stalled:
    'the engine got on with nothing for the time that is configured; its process was ended and is started again; in an enclave it serves again if it comes back',
  engine_outside_enclave: 'an SGX enclave holds its engine itself: one in another process is outside what is attested',
  engine_not_measured: 'engine or weights of a confidential VM are not on a read-only mount that its measurements cover',
  context_overflow: 'prompt and answer do not fit the context of the model; shorten the prompt or lower max_tokens',

  // replay of answers
  calibration_malformed: 'the calibration is not a well-formed veritee.calibration.v1 document',
  calibration_insufficient: 'the answers at hand do not suffice for a calibration',
  replay_unavailable: 'replay needs the package @veritee/services and its inference engine, which are not installed here',

  // the quote device of an enclave
  attestation_device_absent:
    'there is no attestation device: not in an SGX enclave or a TD, or remote attestation is off (DCAP in its manifest, configfs-tsm in its kernel)',
  attestation_device_failed: 'the attestation device gave no quote, or one that is not of what was asked; see the cause',
  sealing_key_unavailable: 'the key under which this enclave keeps its state is absent, of the wrong length, or readable by others',
  receipt_store_invalid:
    'the file of receipts is damaged, of another program, of a later version, or sealed under another key; it is left as it is: move it away to begin a new one',
  receipt_store_unavailable: 'receipts cannot be written or read now, and no answer is given without one; see the cause',
  api_keys_stale: 'the list of API keys could not be read for a while, and an old one may hold keys that were revoked; retry later',
  api_keys_full: 'the controller takes no more API keys, or none of this size; revoke some',
  api_keys_busy: 'the list of API keys is changed by others all the time; retry',
  api_key_unknown: 'the controller has no API key of this id',
  admin_credential_invalid: "the credential of the controller's admin interface is absent or wrong",
  quote_busy: 'too many requests wait for a quote; retry after the stated time',

  // network, files, usage
  config_invalid: 'the configuration of a service holds something unknown, missing or out of its bounds; see docs/configuration.md',
  enclave_forbidden: 'code in an enclave tried what there is none of in one: another process, a worker thread, fetch, watching of files',
  anchors_not_measured: 'what an enclave trusts to begin with came from its host; it must be measured with the program',
  enclave_input_missing: 'a file that the manifest of an enclave names by its hash is not there; make the manifest in the image',
  enclave_input_malformed: 'what the manifest of an enclave is made from is not well-formed',
  enclave_input_mismatch: 'a file of the bundle is not the one that bundle.json lists; build the bundle again',
  enclave_manifest_malformed: 'the manifest of an enclave is not TOML',
  enclave_manifest_weak: 'the manifest of an enclave would weaken what its measurement says; each finding has a code of its own',
  usage: 'the command line is wrong; see --help',
  file_unavailable: 'a file could not be read or written',
  service_unavailable: 'the service did not answer',
  service_refused: 'the service answered with an error',
  address_refused: 'the address is not one a worker may be reached at',
  worker_duplicate: 'the keyset serves under another address already',
  worker_quarantined: 'the worker lost the trust of this controller',
  registry_full: 'this controller takes no more workers',
  port_unavailable: 'a port could not be listened on',
  response_too_large: 'the service sent more than the bound for this kind of answer',
} as const satisfies { readonly [C in ErrorCode]: string }

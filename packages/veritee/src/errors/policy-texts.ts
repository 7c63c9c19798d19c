/** What codes of a policy mean, and what to do next. Verdicts say them, so they are in every verifier. */
export const policyTexts = {
  policy_invalid: 'the policy is incomplete, has unknown fields or accepts too much',
  policy_role_missing: 'the policy has no section for this role',
  policy_unsupported: 'the policy demands a check that this version cannot make; it is refused, not skipped',
  policy_tee: 'the TEE kind is not accepted',
  policy_simulated: 'the evidence is SIMULATED: it chains to no vendor root and proves nothing about hardware',
  policy_debug: 'the enclave runs in debug mode: its memory can be read',
  policy_identity: "the measured code is not on the policy's list",
  policy_attributes: 'enclave or TD attributes are not those demanded',
  policy_tcb_status: 'the platform TCB status is not accepted',
  policy_advisory: 'a security advisory applies that the policy does not accept',
  policy_evaluation_number: 'collateral of an older TCB evaluation than the policy demands',
  policy_collateral_age: 'collateral is older than the policy allows',
  policy_attestation_age: 'the attestation is older than the policy allows',
  policy_platform: 'the platform (FMSPC, PPID or flags) is not accepted',
  policy_role: 'the evidence is of another role than the policy is for',
  policy_models: "the model or its weights are not on the policy's list",
  policy_engine: "the engine build or CPU variant is not on the policy's list",
  policy_operator: "the operator key is not on the policy's list",
  policy_operator_unsigned: "the service names an operator of the policy's list, and no signature of that operator came with its report",
  policy_channel: 'the channel used is not bound to the attested keyset',
  policy_release: 'the policy demands a release statement of the code, and none was given that counts for it',
  release_expired: 'the release statement is older than you accept, or of the future: get the newest one',
  release_withdrawn: 'the release was withdrawn by its makers: use another one',
  release_measurement_unknown: 'the code that runs is not of this release, in this role',
  release_svn: 'product id or security version are not those of the release, or below the lowest that is still good',
  policy_receipt: 'the receipt states something the policy does not accept',
} as const

/** The code of a check that a policy demands. */
export type PolicyCode = keyof typeof policyTexts

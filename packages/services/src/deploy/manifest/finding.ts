/** Everything that a manifest is refused for: code -> what it would mean. Codes are never renamed. */
export const manifestFindings = {
  key_undocumented: 'the release of Gramine does not document this key, so nobody knows what it does',
  role_unknown: 'the arguments name no program of ours',
  // what the host could say
  host_environment: "the host's whole environment would reach the program, LD_PRELOAD and NODE_OPTIONS with it",
  environment_file: 'the environment would come from a file',
  environment_unexpected: 'a variable that the program does not know, or with another value than it was tested with',
  passthrough_unvalidated: 'the host would set a variable that the program does not check',
  host_arguments: 'the host would choose the arguments',
  arguments_unexpected: 'other arguments than those of the role: another program, another machine, another place for its state',
  aslr_disabled: 'addresses would be the same each time',
  // what would leak
  log_level: "Gramine's log would tell more than errors, to the host",
  log_file: "Gramine's log would be appended to a file",
  debug_enclave: 'the host can read the memory of a debug enclave',
  profiling: 'statistics and profiles tell the host where the program is',
  untrusted_shm: 'memory outside the enclave would be shared with the host',
  // what would not be proven
  no_remote_attestation: 'no quote that a third party can verify',
  isv_identity: 'not the product id of its role: evidence of one role could pass for that of another',
  // what the program is
  entrypoint_untrusted: 'the first program is not Node at its measured path',
  loader_unhashed: "Gramine's own library is not named by its hash",
  file_check_policy: 'files that are neither trusted nor allowed could be opened',
  allowed_file: 'files that may hold code, or that nobody checks, would be read without a hash',
  allowed_device: 'a device of the host would be passed through',
  trusted_unhashed: 'a trusted file without its hash, or a whole directory: the manifest does not say what is trusted',
  trusted_unexpected: 'a trusted file that the role does not need',
  executable_extra: 'a further program, or the program of another role',
  engine_variants: 'more than one build of the engine: the host could choose by what the processor says it has (rule S23)',
  trusted_missing: 'a file that the role needs is not trusted',
  trusted_mismatch: 'a file with another hash than the bundle lists',
  // where its files are
  host_root: "the root of the file system would be a directory of the host's",
  weights_not_in_memory: 'no tmpfs for plain weights: they would reach the disk, or loading fails (rule S12)',
  host_mount_over_weights: "a directory of the host's at, above or below the place of plain weights",
  state_unsealed: 'no encrypted mount for the state of the program',
  mrsigner_sealing: 'state that every enclave of the same signer can open, old and careless ones too (rule S11)',
  sealing_key: 'state under another key than that of the measurement',
  insecure_keys: 'a key written into the manifest, which is public',
  mount_unexpected: 'a mount that the role does not need, or with another place on the host',
  seal_key_mask: 'a sealing key that other processors, flags or versions have too',
  // what Gramine calls insecure, or not finished
  memory_faults: 'the host could inject memory faults',
  rpc_threads: 'system calls over memory outside (INTEL-SA-00657, INTEL-SA-00615)',
  host_eventfd: "events would be the host's",
  mocked_syscalls: 'system calls would succeed without being made',
  ioctls: 'calls of devices would be passed to the host',
  flock: 'a system call that is not finished',
  subprocesses: 'the program could start others',
  // what would not start
  sizing: 'fewer threads or less memory than the role needs to start',
} as const satisfies { readonly [code: string]: string }

export type ManifestFindingCode = keyof typeof manifestFindings

export interface ManifestFinding {
  readonly code: ManifestFindingCode
  /** Dotted path of the key. */
  readonly key: string
  readonly expected: string
  readonly found: string
}

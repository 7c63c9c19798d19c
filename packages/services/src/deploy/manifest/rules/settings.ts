import { productIds } from '../../layout.ts'
import { readGramineSize, sizeEnclave } from '../../sizing.ts'
import type { ManifestFindingCode } from '../finding.ts'
import { isTable } from '../keys.ts'
import type { Linted } from '../lint.ts'

/** Keys with the one value that they may have; absent is as good where Gramine's own default is that value. */
const settings: readonly (readonly [ManifestFindingCode, string, string | number | boolean, 'may be absent' | 'must be said'])[] = [
  ['host_environment', 'loader.insecure__use_host_env', false, 'may be absent'],
  ['host_arguments', 'loader.insecure__use_cmdline_argv', false, 'may be absent'],
  ['aslr_disabled', 'loader.insecure__disable_aslr', false, 'may be absent'],
  ['log_level', 'loader.log_level', 'error', 'must be said'],
  ['debug_enclave', 'sgx.debug', false, 'must be said'],
  ['no_remote_attestation', 'sgx.remote_attestation', 'dcap', 'must be said'],
  ['file_check_policy', 'sgx.file_check_policy', 'strict', 'may be absent'],
  ['memory_faults', 'sgx.insecure__allow_memfaults_without_exinfo', false, 'may be absent'],
  ['rpc_threads', 'sgx.insecure__rpc_thread_num', 0, 'may be absent'],
  ['host_eventfd', 'sys.insecure__allow_eventfd', false, 'may be absent'],
  ['flock', 'sys.experimental__enable_flock', false, 'may be absent'],
  ['subprocesses', 'sys.disallow_subprocesses', true, 'must be said'],
  ['profiling', 'sgx.enable_stats', false, 'may be absent'],
  ['profiling', 'sgx.vtune_profile', false, 'may be absent'],
  ['profiling', 'sgx.profile.enable', 'none', 'may be absent'],
]

/** Keys that have no place in a manifest of ours. */
const absent: readonly (readonly [ManifestFindingCode, string])[] = [
  ['environment_file', 'loader.env_src_file'],
  ['host_arguments', 'loader.argv_src_file'],
  ['log_file', 'loader.log_file'],
  ['ioctls', 'sys.allowed_ioctls'],
  ['ioctls', 'sys.ioctl_structs'],
  ['seal_key_mask', 'sgx.seal_key'],
]

/** Switches and numbers: one value each. */
export function checkSettings(linted: Linted): void {
  const { role, at, list, refuse } = linted
  for (const [code, key, wanted, when] of settings) {
    const found = at(key)
    if (found === undefined ? when === 'must be said' : found !== wanted) refuse(code, key, JSON.stringify(wanted))
  }
  for (const [code, key] of absent) if (at(key) !== undefined) refuse(code, key, 'nothing')
  const keys = at('fs.insecure__keys')
  // The value is a key: it is not repeated.
  if (isTable(keys)) refuse('insecure_keys', 'fs.insecure__keys', 'nothing', Object.keys(keys))
  // What llama.cpp's threads call while they wait; doing nothing loses nothing.
  for (const item of list('sys.debug__mock_syscalls'))
    if (!isTable(item) || item.name !== 'sched_yield' || (item.return ?? 0) !== 0)
      refuse('mocked_syscalls', 'sys.debug__mock_syscalls', 'none but sched_yield with 0', item)
  if (at('sgx.isvprodid') !== productIds[role]) refuse('isv_identity', 'sgx.isvprodid', String(productIds[role]))
  const svn = at('sgx.isvsvn')
  if (typeof svn !== 'number' || svn < 1) refuse('isv_identity', 'sgx.isvsvn', 'a security version from 1')
  checkSize(linted)
}

/** What starts at all: a manifest that does not is refused here, and not on the machine. */
function checkSize({ role, at, refuse }: Linted): void {
  const least = sizeEnclave(role, { weights: 0, context: 0, threads: 0 }, false)
  const threads = at('sgx.max_threads')
  if (typeof threads !== 'number' || threads < least.maxThreads) refuse('sizing', 'sgx.max_threads', `at least ${least.maxThreads}`)
  const size = at('sgx.enclave_size')
  const bytes = typeof size === 'string' ? readGramineSize(size) : null
  if (bytes === null || bytes < least.enclaveBytes || !Number.isInteger(Math.log2(bytes)))
    refuse('sizing', 'sgx.enclave_size', `a power of two from ${least.enclaveBytes} bytes`)
  if (at('sgx.edmm_enable') === true && (at('sgx.use_exinfo') !== true || at('sgx.preheat_enclave') === true))
    refuse('sizing', 'sgx.edmm_enable', 'with it sgx.use_exinfo and not sgx.preheat_enclave')
}

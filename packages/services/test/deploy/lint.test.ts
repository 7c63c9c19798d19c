import { parse, stringify } from 'smol-toml'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { paths } from '../../src/deploy/layout.ts'
import { type ManifestFindingCode, manifestFindings } from '../../src/deploy/manifest/finding.ts'
import { parseBundleList } from '../../src/deploy/manifest/inputs.ts'
import { readDocumentedKeys } from '../../src/deploy/manifest/keys.ts'
import { lintManifest } from '../../src/deploy/manifest/lint.ts'
import { makeManifest } from '../../src/deploy/manifest/make.ts'
import { sizeEnclave } from '../../src/deploy/sizing.ts'
import { nodeFiles } from '../../src/process/files.ts'
import { makeImage } from './image.ts'

type Tree = { [name: string]: Tree } & Tree[]

let image: Awaited<ReturnType<typeof makeImage>>
let worker: string
beforeAll(async () => {
  image = await makeImage()
  const sizing = sizeEnclave('worker', { weights: 1 << 28, context: 0, threads: 4 }, false)
  worker = (await makeManifest(image, { role: 'worker', gramine: '1.9', sizing, isvsvn: 1 })).text
})
afterAll(() => image.remove())

/** The worker's manifest with one thing changed. */
function weakened(edit: (manifest: Tree) => void): string {
  const manifest = parse(worker) as unknown as Tree
  edit(manifest)
  return stringify(manifest)
}

/** Puts a value where the types of a test's tree know none. */
function set(at: unknown, name: string, value: unknown): void {
  ;(at as { [name: string]: unknown })[name] = value
}
const add = (at: unknown, value: unknown): void => void (at as unknown[]).push(value)
const mounts = (manifest: Tree): { [name: string]: unknown }[] => manifest.fs?.mounts as unknown as { [name: string]: unknown }[]
const trusted = (manifest: Tree): { [name: string]: unknown }[] => manifest.sgx?.trusted_files as unknown as { [name: string]: unknown }[]
const named = (manifest: Tree, end: string): { [name: string]: unknown } | undefined => trusted(manifest).find(({ uri }) => String(uri).endsWith(end))
const keepMounts = (manifest: Tree, keep: (mount: { [name: string]: unknown }) => boolean): void =>
  set(manifest.fs, 'mounts', mounts(manifest).filter(keep))
const hash = 'a'.repeat(64)

const cases: readonly (readonly [ManifestFindingCode, string, (manifest: Tree) => void])[] = [
  ['key_undocumented', 'a key of an older release', (m) => set(m.sgx, 'thread_num', 64)],
  ['key_undocumented', 'a member of a mount that nobody knows', (m) => set(mounts(m)[0], 'options', 'exec')],
  ['role_unknown', 'another program', (m) => set(m.loader?.argv, '3', '/opt/veritee/enclave/other.mjs')],
  ['host_environment', "the host's environment", (m) => set(m.loader, 'insecure__use_host_env', true)],
  ['environment_file', 'an environment from a file', (m) => set(m.loader, 'env_src_file', 'file:/etc/veritee/environment')],
  ['environment_unexpected', 'NODE_OPTIONS', (m) => set(m.loader?.env, 'NODE_OPTIONS', '--require /etc/veritee/x.js')],
  ['environment_unexpected', 'libraries from where models lie', (m) => set(m.loader?.env, 'LD_LIBRARY_PATH', paths.models)],
  ['environment_unexpected', 'a variable left out', (m) => delete m.loader?.env?.MALLOC_ARENA_MAX],
  ['passthrough_unvalidated', 'LD_PRELOAD passed through', (m) => set(m.loader?.env, 'LD_PRELOAD', { passthrough: true })],
  ['passthrough_unvalidated', 'the name of the configuration passed through', (m) => set(m.loader?.env, 'VERITEE_CONFIG', { passthrough: true })],
  ['passthrough_unvalidated', 'a credential that a worker has no use for', (m) => set(m.loader?.env, 'VERITEE_ADMIN_TOKEN', { passthrough: true })],
  ['host_arguments', 'arguments of the host', (m) => set(m.loader, 'insecure__use_cmdline_argv', true)],
  ['host_arguments', 'arguments from a file', (m) => set(m.loader, 'argv_src_file', 'file:/etc/veritee/argv')],
  ['host_arguments', 'no arguments', (m) => delete m.loader?.argv],
  ['arguments_unexpected', 'a simulated machine', (m) => set(m.loader?.argv, '5', 'simulate')],
  ['arguments_unexpected', 'one argument more', (m) => add(m.loader?.argv, '--direct')],
  ['arguments_unexpected', 'code before the program', (m) => set(m.loader?.argv, '2', '--import=/etc/veritee/x.mjs')],
  ['aslr_disabled', 'no random addresses', (m) => set(m.loader, 'insecure__disable_aslr', true)],
  ['log_level', 'a log of system calls', (m) => set(m.loader, 'log_level', 'trace')],
  ['log_file', 'a log file', (m) => set(m.loader, 'log_file', '/tmp/log')],
  ['debug_enclave', 'a debug enclave', (m) => set(m.sgx, 'debug', true)],
  ['debug_enclave', 'nothing said of debugging', (m) => delete m.sgx?.debug],
  ['profiling', 'statistics', (m) => set(m.sgx, 'enable_stats', true)],
  ['profiling', 'a profile', (m) => set(m.sgx, 'profile', { enable: 'main' })],
  ['untrusted_shm', 'shared memory', (m) => add(m.fs?.mounts, { type: 'untrusted_shm', path: '/dev/shm', uri: 'dev:/dev/shm' })],
  ['no_remote_attestation', 'no attestation', (m) => set(m.sgx, 'remote_attestation', 'none')],
  ['no_remote_attestation', 'EPID', (m) => set(m.sgx, 'remote_attestation', 'epid')],
  ['isv_identity', 'the product id of a controller', (m) => set(m.sgx, 'isvprodid', 1)],
  ['isv_identity', 'no security version', (m) => set(m.sgx, 'isvsvn', 0)],
  ['entrypoint_untrusted', 'a shell', (m) => set(m.libos, 'entrypoint', '/bin/sh')],
  ['loader_unhashed', "Gramine's library without its hash", (m) => delete m.loader?.entrypoint?.sha256],
  ['file_check_policy', 'any file', (m) => set(m.sgx, 'file_check_policy', 'allow_all_but_log')],
  ['allowed_file', 'the whole image allowed', (m) => add(m.sgx?.allowed_files, 'file:/')],
  ['allowed_file', 'the program allowed', (m) => add(m.sgx?.allowed_files, `file:${paths.bundle}/`)],
  ['allowed_file', 'the state allowed', (m) => add(m.sgx?.allowed_files, `file:${paths.state}/`)],
  ['allowed_device', 'a device', (m) => add(m.sgx?.allowed_files, 'dev:/dev/nvidia0')],
  ['trusted_unhashed', 'a trusted directory', (m) => add(m.sgx?.trusted_files, 'file:/usr/lib/x86_64-linux-gnu/')],
  ['trusted_unhashed', 'a trusted file without a hash', (m) => delete trusted(m)[0]?.sha256],
  ['trusted_unexpected', 'a further library', (m) => add(m.sgx?.trusted_files, { uri: 'file:/usr/lib/x86_64-linux-gnu/libssl.so.3', sha256: hash })],
  ['trusted_unexpected', 'one file twice', (m) => add(trusted(m), trusted(m)[0])],
  ['trusted_unexpected', 'a path with detours', (m) => add(m.sgx?.trusted_files, { uri: `file:${paths.bundle}/../bin/node`, sha256: hash })],
  ['executable_extra', 'a shell beside Node', (m) => add(m.sgx?.trusted_files, { uri: 'file:/bin/bash', sha256: hash })],
  ['executable_extra', 'the program of another role', (m) => add(m.sgx?.trusted_files, { uri: `file:${paths.bundle}/broker.mjs`, sha256: hash })],
  [
    'engine_variants',
    'two builds of the engine',
    (m) =>
      add(m.sgx?.trusted_files, {
        uri: `file:${paths.bundle}/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/libggml-cpu-x64.so`,
        sha256: hash,
      }),
  ],
  [
    'trusted_missing',
    'no anchors',
    (m) =>
      set(
        m.sgx,
        'trusted_files',
        trusted(m).filter(({ uri }) => !String(uri).endsWith('/anchors.json')),
      ),
  ],
  ['host_root', "the host's root", (m) => set(m.fs, 'root', { type: 'chroot', uri: 'file:/' })],
  ['host_root', 'nothing said of the root', (m) => delete m.fs?.root],
  ['weights_not_in_memory', 'no tmpfs for weights', (m) => keepMounts(m, ({ path }) => path !== paths.weights)],
  ['host_mount_over_weights', 'a directory of the host at the weights', (m) => add(m.fs?.mounts, { path: paths.weights, uri: 'file:/tmp/w' })],
  [
    'host_mount_over_weights',
    'a directory of the host above the weights',
    (m) => add(m.fs?.mounts, { type: 'chroot', path: '/run/', uri: 'file:/run' }),
  ],
  [
    'host_mount_over_weights',
    'a directory of the host below the weights',
    (m) => add(m.fs?.mounts, { path: `${paths.weights}/x`, uri: 'file:/tmp/w' }),
  ],
  ['state_unsealed', 'no encrypted state', (m) => keepMounts(m, ({ type }) => type !== 'encrypted')],
  [
    'mrsigner_sealing',
    'state for every enclave of the signer',
    (m) =>
      set(
        mounts(m).find(({ type }) => type === 'encrypted'),
        'key_name',
        '_sgx_mrsigner',
      ),
  ],
  [
    'sealing_key',
    'state under a key that somebody provisions',
    (m) =>
      set(
        mounts(m).find(({ type }) => type === 'encrypted'),
        'key_name',
        'default',
      ),
  ],
  ['insecure_keys', 'a key in the manifest', (m) => set(m.fs, 'insecure__keys', { default: 'ffeeddccbbaa99887766554433221100' })],
  [
    'mount_unexpected',
    "the program from the configuration's directory",
    (m) =>
      set(
        mounts(m).find(({ path }) => path === paths.bundle),
        'uri',
        'file:/etc/veritee',
      ),
  ],
  ['mount_unexpected', 'a further directory', (m) => add(m.fs?.mounts, { path: '/usr', uri: 'file:/usr' })],
  ['mount_unexpected', 'a place mounted twice', (m) => add(m.fs?.mounts, { path: paths.bundle, uri: `file:${paths.bundle}` })],
  ['seal_key_mask', 'a wider sealing key', (m) => set(m.sgx, 'seal_key', { flags_mask: '0x0' })],
  ['memory_faults', 'memory faults without their address', (m) => set(m.sgx, 'insecure__allow_memfaults_without_exinfo', true)],
  ['rpc_threads', 'calls without leaving the enclave', (m) => set(m.sgx, 'insecure__rpc_thread_num', 4)],
  ['host_eventfd', "the host's events", (m) => set(m.sys, 'insecure__allow_eventfd', true)],
  ['mocked_syscalls', 'random numbers that are none', (m) => set(m.sys, 'debug__mock_syscalls', [{ name: 'getrandom', return: 0 }])],
  ['ioctls', 'calls of devices', (m) => set(m.sys, 'allowed_ioctls', [{ request_code: 1 }])],
  ['flock', 'flock', (m) => set(m.sys, 'experimental__enable_flock', true)],
  ['subprocesses', 'other processes', (m) => set(m.sys, 'disallow_subprocesses', false)],
  ['sizing', 'four threads', (m) => set(m.sgx, 'max_threads', 4)],
  ['sizing', 'a size that is no power of two', (m) => set(m.sgx, 'enclave_size', '12G')],
]

describe('S12, S13, S23: the linter refuses', () => {
  it.each(cases)('%s: %s', async (code, _, edit) => {
    const { findings } = lintManifest(weakened(edit), { documented: await readDocumentedKeys('1.9') })
    expect(findings.map((finding) => finding.code)).toContain(code)
    // One change is told as one thing, or as that and what follows from it.
    expect(findings.length).toBeLessThanOrEqual(code === 'role_unknown' ? 4 : 2)
  })

  it('each code is reached by a case above, or by a hash of the bundle', () => {
    const reached = new Set<string>([...cases.map(([code]) => code), 'trusted_mismatch'])
    expect(Object.keys(manifestFindings).filter((code) => !reached.has(code))).toEqual([])
  })
})

it('what was changed back and forth passes: the cases fail for what they change', async () => {
  expect(
    lintManifest(
      weakened(() => undefined),
      { documented: await readDocumentedKeys('1.9') },
    ),
  ).toEqual({ gramine: '1.9', role: 'worker', findings: [] })
})

it('with the bundle, the program is compared by its hashes', async () => {
  const bundle = parseBundleList(await nodeFiles.readText(`${image.bundle}/bundle.json`))
  const documented = await readDocumentedKeys('1.8')
  expect(lintManifest(worker, { documented, bundle }).findings).toEqual([])
  const other = weakened((m) => set(named(m, 'worker.mjs'), 'sha256', hash))
  expect(lintManifest(other, { documented, bundle }).findings).toMatchObject([{ code: 'trusted_mismatch' }])
  expect(lintManifest(other, { documented }).findings).toEqual([])
})

it('a key that only one release documents is refused by the other', async () => {
  const recovery = weakened((m) =>
    set(
      mounts(m).find(({ type }) => type === 'encrypted'),
      'enable_recovery',
      false,
    ),
  )
  expect(lintManifest(recovery, { documented: await readDocumentedKeys('1.9') }).findings).toEqual([])
  expect(lintManifest(recovery, { documented: await readDocumentedKeys('1.8') }).findings).toMatchObject([{ code: 'key_undocumented' }])
})

it('a key or a secret in a manifest is not repeated', async () => {
  const secret = weakened((m) => {
    set(m.fs, 'insecure__keys', { default: 'ffeeddccbbaa99887766554433221100' })
    set(m.loader?.env, 'VERITEE_STORE_PASSWORD', 'correct horse battery staple')
  })
  expect(JSON.stringify(lintManifest(secret, { documented: await readDocumentedKeys('1.9') }))).not.toMatch(/ffeeddcc|horse/)
})

it.each([
  ['text that is no TOML', 'loader.argv = ['],
  ['a key twice', 'a = 1\na = 2'],
  ['more than anybody reads', 'a'.repeat(5 << 20)],
])('%s is malformed', async (_, text) => {
  const documented = await readDocumentedKeys('1.9')
  expect(() => lintManifest(text, { documented })).toThrow(expect.objectContaining({ code: 'enclave_manifest_malformed' }))
})

it.each(['', 'sgx = 1', 'sgx.trusted_files = 3\nfs.mounts = [1, [2]]\nloader.env = []', '[[loader]]'])(
  '%j is refused, and nothing breaks',
  async (text) => {
    expect(lintManifest(text, { documented: await readDocumentedKeys('1.9') }).findings.length).toBeGreaterThan(10)
  },
)

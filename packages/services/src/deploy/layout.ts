import type { Role } from 'veritee/policy'
import { brokerSchema } from '../config/broker.ts'
import { controllerSchema } from '../config/controller.ts'
import { workerSchema } from '../config/worker.ts'

/** Releases of Gramine whose manifests are rendered and linted. */
export const gramineVersions = ['1.8', '1.9'] as const
export type GramineVersion = (typeof gramineVersions)[number]

/** Where things are, in an image and in the enclave alike: every mount has one path on both sides, but the C library. */
export const paths = {
  node: '/opt/veritee/bin/node',
  bundle: '/opt/veritee/enclave',
  /** What the host says: configuration, collateral, admission manifest. Data, which the program checks. */
  configuration: '/etc/veritee',
  /** Models: sealed, or plain with hashes in the measured anchors. */
  models: '/var/lib/veritee/models',
  /** Encrypted under the key of the measurement. */
  state: '/var/lib/veritee/state',
  /** Plain weights, a tmpfs inside the enclave. */
  weights: '/run/veritee/weights',
  temporary: '/tmp',
  libraries: '/usr/lib/x86_64-linux-gnu',
} as const

/** As Debian's and Ubuntu's packages of Gramine have it. */
export const defaultGramineDirectory = `${paths.libraries}/gramine`

/** What Node and the engine load of Gramine's C library, mounted at `/lib`. */
export const runtimeLibraries = ['ld-linux-x86-64.so.2', 'libc.so.6', 'libdl.so.2', 'libm.so.6', 'libpthread.so.0'] as const
/** What they load beside it, of the image. */
export const systemLibraries: readonly string[] = ['libgcc_s.so.1', 'libstdc++.so.6'].map((name) => `${paths.libraries}/${name}`)

/** Variables that are the same in every enclave. The configuration's reader refuses any other (config/schema.ts). */
export const environment: readonly { readonly name: string; readonly value: string }[] = [
  { name: 'HOME', value: paths.temporary },
  { name: 'LANG', value: 'C' },
  { name: 'LD_LIBRARY_PATH', value: `/lib:${paths.libraries}` },
  { name: 'MALLOC_ARENA_MAX', value: '1' },
  { name: 'TZ', value: 'UTC' },
  { name: 'UV_THREADPOOL_SIZE', value: '4' },
]

const schemas = { controller: controllerSchema, worker: workerSchema, broker: brokerSchema, validator: null } as const

/** Variables that the host may set: secrets, each of which the configuration's reader checks. No other is passed through. */
export function passthrough(role: Role): readonly string[] {
  const schema = schemas[role]
  return schema === null
    ? []
    : Object.values(schema.secrets)
        .map(({ variable }) => variable)
        .sort()
}

/** ISV product ids: evidence of one role never passes for another's, even under a policy by signer (rule S14). */
export const productIds: { readonly [R in Role]: number } = { controller: 1, worker: 2, broker: 3, validator: 4 }

/** File descriptors: a controller holds 10,000 idle connections. */
export const descriptors: { readonly [R in Role]: number } = { controller: 16_384, worker: 4096, broker: 4096, validator: 4096 }

/**
 * V8's heap, and a controller's of a kind of its own (bench/results/gateway.md has what each option gains).
 *
 * Each request leaves some 60 KB behind, and buffers outside of the heap. Where V8 may let those lie until its young generation of twice 64 MiB is full, it goes through the whole heap for the
 * sake of the buffers instead, again and again: of 8 MiB it takes less time, and 100 MB less memory, and of 4 MiB a few MB less again and no more time.
 *
 * Going through the whole heap costs more than its own time. What no object is of at that moment, between two requests, V8 forgets: the shapes of objects, and with them the code that it had made
 * for these. It makes that anew, and some of Node's own, what queues each tick among it, never again. So old objects may be 32 MiB before it looks (a controller has some 15), it does not look for
 * want of something to do, and it keeps shapes that it does not see for long.
 */
const ofController = ['--max-semi-space-size=4', '--initial-old-space-size=32', '--no-memory-reducer', '--retain-maps-for-n-gc=1000'] as const

export function heapArguments(role: Role, heapMegabytes: number): readonly string[] {
  return [`--max-old-space-size=${heapMegabytes}`, ...(role === 'controller' ? ofController : [])]
}

/** The arguments of a role: the machine, what is measured of the paths, and where the rest is said. Flags win over the file. */
export function argumentsOf(role: Role, heapMegabytes: number): readonly string[] {
  return [
    paths.node,
    '--disable-wasm-trap-handler',
    ...heapArguments(role, heapMegabytes),
    `${paths.bundle}/${role}.mjs`,
    '--tee',
    'gramine',
    '--state',
    paths.state,
    '--collateral',
    `${paths.configuration}/collateral.json`,
    '--config',
    `${paths.configuration}/config.json`,
    '--json',
  ]
}

/** Directories of the host whose files are read without a hash in the manifest. */
export function allowedDirectories(role: Role): readonly string[] {
  return role === 'worker' ? [paths.configuration, paths.models] : [paths.configuration]
}

/** Mounts of the host's files, path and place alike. */
export function mountedPaths(role: Role): readonly string[] {
  return [...systemLibraries, paths.node, paths.bundle, ...allowedDirectories(role)]
}

/** Mounts in the enclave's own memory. */
export function memoryMounts(role: Role): readonly string[] {
  return role === 'worker' ? [paths.temporary, paths.weights] : [paths.temporary]
}

/** Features of the processor that a variant of the engine's library needs. Required by the manifest, hence measured (rule S23). */
export function cpuFeatures(role: Role, variant: string): readonly string[] {
  if (role !== 'worker') return []
  if (/^(?:x64|sse42)$/.test(variant)) return []
  if (variant === 'sapphirerapids') return ['amx', 'avx', 'avx512']
  return /^(?:skylakex|cannonlake|cascadelake|icelake|cooperlake|zen4)$/.test(variant) ? ['avx', 'avx512'] : ['avx']
}

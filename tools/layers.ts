// Which folder may import which: the folders are the data flow, each may use only those before it.
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root: string = fileURLToPath(new URL('..', import.meta.url))

interface Layers {
  readonly source: string
  /** Folders (or files) in order; the longest that is a prefix of a path is its layer. */
  readonly order: readonly string[]
}

const library: Layers = {
  source: 'packages/veritee/src',
  order: [
    'errors',
    'errors.ts',
    'crypto',
    'bytes',
    'attestation',
    'attestation/sim',
    'policy',
    'admission',
    'receipt',
    'log',
    'release',
    'fraud',
    'scoring',
    'seal',
    'tokens',
    'index.ts',
    'client',
    'bin',
  ],
}
const services: Layers = {
  source: 'packages/services/src',
  order: [
    'release.ts',
    'config',
    'store',
    'enclave/runtime',
    'enclave/sealed',
    'http',
    'log',
    'enclave/broker',
    'enclave/worker',
    'engine-process',
    'replay',
    'models',
    'owner',
    'controller',
    'validator',
    'demo',
    'process',
    'deploy',
    'bin',
    'bundle',
  ],
}

/** Clock, network and Node stay out of the library: everything it judges is an argument. */
const pure = {
  except: ['client/', 'bin/', 'crypto/node.ts'],
  forbidden: /\bnew Date\(\)|\bDate\.now\(|(?<![.\w])fetch\(|\bprocess\.|['"]node:|\bBuffer\b|^let /m,
}

/** The library's one import from outside: at run time, where it is installed, so that the library still depends on nothing. */
const optional = {
  file: 'bin/evidence/replay.ts',
  target: '@veritee/services/replay',
  form: /\bawait import\('@veritee\/services\/replay' as string\)/,
}

/** What code that runs inside an enclave may import from outside the repository: little, and by name. */
const enclavePackages: readonly string[] = [
  'node:crypto',
  'node:fs',
  'node:fs/promises',
  'node:http',
  'node:https',
  'node:url',
  'node:path',
  'node:tls',
  'node:util',
  'node:sqlite',
  '@hono/node-server',
  'hono',
  'node-llama-cpp',
  '@huggingface/jinja',
]

/** The client of PostgreSQL, and what belongs to it. It is for `store/postgres` only. */
const postgres = [
  'pg',
  'pg-cloudflare',
  'pg-connection-string',
  'pg-int8',
  'pg-pool',
  'pg-protocol',
  'pg-types',
  'pgpass',
  'postgres-array',
  'postgres-bytea',
  'postgres-date',
  'postgres-interval',
  'split2',
  'xtend',
]

/** Of Node, for the listener of every role. */
const networkParts = ['node:net', 'node:stream', 'node:http2']

const withoutEngine = [...enclavePackages.filter((name) => name !== 'node-llama-cpp' && name !== '@huggingface/jinja'), ...networkParts]

/** What the file of each role may hold or import: what an enclave may, and for the controller the connections to its workers. The bundler enforces it. */
export const bundledRoles: { readonly worker: readonly string[]; readonly controller: readonly string[]; readonly broker: readonly string[] } = {
  worker: [...enclavePackages, ...postgres, ...networkParts],
  controller: [...withoutEngine, ...postgres, 'undici'],
  broker: withoutEngine,
}

const importPattern =
  /(?:^|\n)\s*(?:import|export)\s+(?:[\w$*{},\s]+?\s+from\s+)?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*(?:as string\s*)?[,)]/g

export function importsOf(text: string): string[] {
  return [...text.matchAll(importPattern)].map((found) => found[1] ?? found[2] ?? '')
}

/** Every breach of the rules above, one line each; empty when all hold. */
export async function breaches(base: string = root): Promise<string[]> {
  return [...(await layerBreaches(base, library)), ...(await layerBreaches(base, services))]
}

async function layerBreaches(base: string, layers: Layers): Promise<string[]> {
  const source = join(base, layers.source)
  const found: string[] = []
  for (const path of await typescriptFiles(source)) {
    const text = await readFile(join(source, path), 'utf8')
    const own = layerOf(path, layers)
    if (own < 0) found.push(`${layers.source}/${path}: in no known folder; add it to the order in tools/layers.ts`)
    if (text.split('\n').length > 501) found.push(`${layers.source}/${path}: more than 500 lines`)
    for (const target of new Set(importsOf(text))) {
      if (target.startsWith('.')) {
        const other = relative(source, join(source, dirname(path), target))
        if (other.startsWith('..')) {
          if (!other.endsWith('package.json')) found.push(`${layers.source}/${path}: imports ${target}, outside its package`)
        } else if (layerOf(other, layers) > own) found.push(`${layers.source}/${path}: imports ${other}, which comes after it`)
      } else found.push(...packageBreaches(layers, path, target, text))
    }
    const stripped = text.replace(/\/\*[\s\S]*?\*\/|(?<!:)\/\/.*$/gm, '')
    const impure = layers === library && !pure.except.some((allowed) => path.startsWith(allowed)) ? pure.forbidden.exec(stripped) : null
    if (impure !== null) found.push(`${layers.source}/${path}: ${impure[0].trim()} is not for this library; take it as an argument`)
  }
  return found
}

function packageBreaches(layers: Layers, path: string, target: string, text: string): string[] {
  const builtin = target.startsWith('node:') || target === '#crypto' || target === '#platform'
  const allowed = path === optional.file && target === optional.target && optional.form.test(text) && text.split(optional.target).length === 2
  if (layers === library && !builtin && !allowed) return [`${layers.source}/${path}: imports ${target}; the library has no dependencies`]
  if (
    layers !== library &&
    (path.startsWith('enclave/') || path.startsWith('store/')) &&
    !target.startsWith('veritee/') &&
    !enclavePackages.includes(target) &&
    !(path.startsWith('store/postgres/') && (target === 'pg' || target === 'node:net'))
  )
    return [`${layers.source}/${path}: imports ${target}, which is not on the list for enclaves`]
  return []
}

/** Position of the longest folder that holds the path; -1 where none does. */
function layerOf(path: string, { order }: Layers): number {
  let best = -1
  for (const [i, name] of order.entries()) {
    const inside = path === name || path.startsWith(`${name}/`)
    if (inside && (best < 0 || name.length > (order[best] ?? '').length)) best = i
  }
  return best
}

async function typescriptFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
}

import { readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fail } from 'veritee/errors'
import { type DownloadProgress, downloadFromHub, type HubFile, type HubOptions } from './hub.ts'

/** Where a model file is, and what it must hash to where that is known. */
export interface ResolvedModel {
  readonly path: string
  /** A short name for messages and, by default, for the API. */
  readonly name: string
  readonly source: 'demo' | 'file' | 'hub'
  /**
   * sha256 of the whole file, lower-case hex: pinned here for the demo model, stated by the hub for a download, null for a local path.
   * Nobody has hashed the file since: hand this to the engine, which hashes what it loads.
   */
  readonly sha256: string | null
}

export interface ResolveOptions extends HubOptions {
  /** Default `$XDG_CACHE_HOME/veritee/models`, else `~/.cache/veritee/models`. */
  readonly cacheDir?: string
  readonly onProgress?: (progress: DownloadProgress) => void
  readonly signal?: AbortSignal
}

const demoFile = new URL('../../../../models/demo/veritee-demo-q8_0.gguf', import.meta.url)
const demoSha256 = '4bd5f8a32d84ed3f7926ac4d5429432c1024f629def2225d8921bf0281d10b12'

/**
 * Finds a model file, downloading it when need be. `spec` is `demo`, `hf:owner/repo[@revision]/path/file.gguf`, or a path.
 *
 * A downloaded file stays in the cache under its repository, revision and name and is used from there without asking the hub again; name a
 * commit to be sure which one it is. Throws `usage` (malformed spec or endpoint), `model_unavailable`, `model_unverifiable`,
 * `model_hash_mismatch`, or `signal.reason`.
 */
export async function resolveModel(spec: string, options: ResolveOptions = {}): Promise<ResolvedModel> {
  if (spec === 'demo') return { path: await existing(fileURLToPath(demoFile)), name: 'veritee-demo', source: 'demo', sha256: demoSha256 }
  if (!spec.startsWith('hf:')) {
    const path = await existing(resolve(spec))
    return { path, name: modelName(path), source: 'file', sha256: null }
  }
  const file = parseHubSpec(spec)
  const directory = join(options.cacheDir ?? defaultCacheDir(), file.owner, file.repo, file.revision)
  const path = join(directory, ...file.path.split('/'))
  const name = modelName(path)
  const known = await cachedHash(path)
  if (known !== null) return { path, name, source: 'hub', sha256: known }
  const sha256 = await downloadFromHub(file, path, options)
  return { path, name, source: 'hub', sha256 }
}

/** Takes `hf:owner/repo[@revision]/path/file.gguf` apart. Throws `usage`. */
export function parseHubSpec(spec: string): HubFile {
  const [, owner, repo, revision = 'main', path] = /^hf:([^/@]+)\/([^/@]+)(?:@([^/@]+))?\/(.+)$/.exec(spec) ?? []
  if (owner === undefined || repo === undefined || path === undefined || spec.length > 512)
    throw fail('usage', 'expected hf:owner/repo/file.gguf or hf:owner/repo@revision/file.gguf')
  // Each part becomes a part of a URL and of a path in the cache, so none may be '..' or hold a separator of either.
  for (const part of [owner, repo, revision, ...path.split('/')])
    if (!/^[A-Za-z0-9_][A-Za-z0-9._+-]*$/.test(part)) throw fail('usage', 'a part of the hf: name is empty or holds a character that is not allowed')
  if (!path.endsWith('.gguf')) throw fail('usage', 'expected the name of a .gguf file')
  return { owner, repo, revision, path }
}

export function defaultCacheDir(): string {
  const base = process.env.XDG_CACHE_HOME
  return join(base === undefined || base === '' ? join(homedir(), '.cache') : base, 'veritee', 'models')
}

function modelName(path: string): string {
  return basename(path).replace(/\.gguf$/, '')
}

async function existing(path: string): Promise<string> {
  const status = await stat(path).catch(() => null)
  if (status?.isFile() !== true)
    throw fail('model_unavailable', `expected a model file at ${path}; a model is named as demo, a path, or hf:owner/repo/file.gguf`)
  return path
}

/** The hash written beside a finished download, or null when either file is missing. */
async function cachedHash(path: string): Promise<string | null> {
  const status = await stat(path).catch(() => null)
  const note = await readFile(`${path}.sha256`, 'utf8').catch(() => '')
  const hash = /^([0-9a-f]{64}) {2}/.exec(note)?.[1]
  return status?.isFile() === true && hash !== undefined ? hash : null
}

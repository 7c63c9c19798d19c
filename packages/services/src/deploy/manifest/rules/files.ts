import { posix } from 'node:path'
import { allowedDirectories, paths, runtimeLibraries, systemLibraries } from '../../layout.ts'
import { isTable } from '../keys.ts'
import type { Linted } from '../lint.ts'

/** Which files may be opened: with a hash, or as data that the program checks itself. */
export function checkFiles(linted: Linted): void {
  const { role, at, list, refuse } = linted
  const allowed = allowedDirectories(role).map((path) => `file:${path}/`)
  for (const uri of list('sgx.allowed_files')) {
    if (typeof uri === 'string' && uri.startsWith('dev:')) refuse('allowed_device', 'sgx.allowed_files', 'no device', uri)
    else if (typeof uri !== 'string' || !allowed.includes(uri)) refuse('allowed_file', 'sgx.allowed_files', allowed.join(', '), uri)
  }
  const trusted = new Map<string, string>()
  for (const item of list('sgx.trusted_files')) {
    const { uri, sha256 } = isTable(item) ? item : { uri: item, sha256: undefined }
    if (typeof uri !== 'string' || !uri.startsWith('file:/') || uri.endsWith('/') || typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) {
      refuse('trusted_unhashed', 'sgx.trusted_files', '{ uri = "file:/...", sha256 = "64 hex digits" }', item)
      continue
    }
    const path = uri.slice('file:'.length)
    if (posix.normalize(path) !== path || trusted.has(path))
      refuse('trusted_unexpected', 'sgx.trusted_files', 'each file once, by its plain path', uri)
    trusted.set(path, sha256)
  }
  if (!Array.isArray(at('sgx.trusted_files'))) refuse('trusted_missing', 'sgx.trusted_files', 'the files of the role')
  checkTrusted(linted, trusted)
  if (linted.bundle !== null) compareBundle(linted, trusted)
}

/** By their paths: one Node, one program, one build of the engine, the libraries, and what the bundle has beside them. */
function checkTrusted({ role, refuse }: Linted, trusted: ReadonlyMap<string, string>): void {
  const own = [paths.node, `${paths.bundle}/${role}.mjs`, `${paths.bundle}/anchors.json`, `${paths.bundle}/bundle.json`, ...systemLibraries]
  const libraries = new Set<string>()
  const variants: string[] = []
  for (const path of trusted.keys()) {
    const runtime = /^\/[A-Za-z0-9._/+-]+\/runtime\/glibc\/([^/]+)$/.exec(path)?.[1]
    if (runtime !== undefined && (runtimeLibraries as readonly string[]).includes(runtime)) libraries.add(runtime)
    else if (path.startsWith(`${paths.bundle}/node_modules/`)) {
      if (role !== 'worker') refuse('trusted_unexpected', 'sgx.trusted_files', 'no engine but in a worker', path)
      if (/\/libggml-cpu-[^/]+\.so$/.test(path)) variants.push(path)
    } else if (!own.includes(path)) {
      const program = /\.(?:mjs|js|cjs)$/.test(path) || /\/s?bin\//.test(path)
      refuse(program ? 'executable_extra' : 'trusted_unexpected', 'sgx.trusted_files', 'what the role needs', path)
    }
  }
  if (variants.length > 1)
    refuse(
      'engine_variants',
      'sgx.trusted_files',
      'one libggml-cpu-*.so',
      variants.map((path) => posix.basename(path)),
    )
  for (const path of own) if (!trusted.has(path)) refuse('trusted_missing', 'sgx.trusted_files', path, 'no such entry')
  for (const name of runtimeLibraries) if (!libraries.has(name)) refuse('trusted_missing', 'sgx.trusted_files', `${name} of Gramine`, 'no such entry')
  if (role === 'worker' && variants.length === 0) refuse('trusted_missing', 'sgx.trusted_files', 'one libggml-cpu-*.so', 'no such entry')
}

/** By their hashes: every file of the bundle that the role opens, and no other. */
function compareBundle({ role, bundle, refuse }: Linted, trusted: ReadonlyMap<string, string>): void {
  const wanted = bundle?.roles[role] ?? []
  for (const name of wanted) {
    const path = `${paths.bundle}/${name}`
    const found = trusted.get(path)
    const hash = bundle?.files[name]
    if (found === undefined) refuse('trusted_missing', 'sgx.trusted_files', path, 'no such entry')
    else if (found !== hash) refuse('trusted_mismatch', 'sgx.trusted_files', `${path} with ${hash ?? 'no hash'}`, found)
  }
  for (const path of trusted.keys())
    if (path.startsWith(`${paths.bundle}/node_modules/`) && !wanted.includes(path.slice(paths.bundle.length + 1)))
      refuse('trusted_unexpected', 'sgx.trusted_files', 'files that the bundle lists for the role', path)
}

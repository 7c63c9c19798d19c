import { createHash } from 'node:crypto'
import { createReadStream, readFileSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { jcs } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { thisSystem } from '../weights/surroundings.ts'

export interface NativeFile {
  readonly name: string
  /** Lower-case hex of the whole file. */
  readonly sha256: string
}

export interface NativeLibrary {
  readonly files: readonly NativeFile[]
  /** `sha256:` and hex of the JCS text of `files`, sorted by name. */
  readonly build: string
  readonly cpuVariant: string
}

const libraryName = /^(?:llama-addon\.node|lib(?:llama|ggml)[^/]*\.(?:so|dylib)[^/]*)$/
const variantName = /^libggml-cpu(?:-([a-z0-9_]+))?\.(?:so|dylib)/

/**
 * What native code of the engine is in this process: the files of the addon that are mapped now, each hashed whole.
 *
 * Under Linux a file on disk that is no longer the mapped one (replaced after loading) is refused. Under Gramine, which tells no inode of what is mapped,
 * and elsewhere, where the loader's own list is used, that check is not made; in an enclave the files are measured with the manifest. Neither sees code that was patched in memory. Throws `engine_unavailable`.
 */
export async function describeNativeLibrary(): Promise<NativeLibrary> {
  const files: NativeFile[] = []
  for (const path of mappedFiles()) files.push({ name: basename(path), sha256: await hashFile(path) })
  files.sort((a, b) => (a.name < b.name ? -1 : 1))
  const variants = files.filter((file) => variantName.test(file.name))
  const [variant] = variants
  if (variant === undefined || variants.length !== 1)
    throw fail('engine_unavailable', `expected one CPU variant of the engine, found ${variants.length}`)
  const build = createHash('sha256')
    .update(jcs(files.map(({ name, sha256 }) => ({ name, sha256 }))))
    .digest('hex')
  return { files, build: `sha256:${build}`, cpuVariant: variantName.exec(variant.name)?.[1] ?? 'default' }
}

function mappedFiles(): string[] {
  const found = new Set<string>()
  if (process.platform !== 'linux') {
    // A report would otherwise look up the names of all peers; the property is newer than the type.
    Object.assign(process.report, { excludeNetwork: true })
    const report = process.report.getReport() as { readonly sharedObjects?: readonly string[] }
    for (const path of report.sharedObjects ?? []) if (libraryName.test(basename(path))) found.add(path)
    return [...found]
  }
  for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    // address perms offset device inode path
    const [, , , , inode, ...rest] = line.split(/ +/)
    const path = rest.join(' ')
    if (inode === undefined || !libraryName.test(basename(path.replace(/ \(deleted\)$/, '')))) continue
    if (!thisSystem.gramine && statSync(path, { throwIfNoEntry: false })?.ino !== Number(inode))
      throw fail('engine_unavailable', `expected the mapped ${basename(path)} on disk, found another file or none`)
    found.add(path)
  }
  return [...found]
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Uint8Array)
  return hash.digest('hex')
}

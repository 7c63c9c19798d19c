import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { type Json, jcsDigest, parseJson, Shape } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import type { Role } from 'veritee/policy'
import { defaultGramineDirectory, type GramineVersion, paths, runtimeLibraries, systemLibraries } from '../layout.ts'
import type { Sizing } from '../sizing.ts'

/** Everything that a manifest is made of, and nothing else: the same inputs give the same bytes. */
export interface EnclaveInputs {
  readonly version: 'veritee.enclave-inputs.v1'
  readonly role: Role
  readonly gramine: GramineVersion
  /** Version of the code, from the bundle's list. */
  readonly release: string
  readonly cpuVariant: string
  readonly sizing: Sizing
  readonly isvsvn: number
  readonly gramineDirectory: string
  /** Path in the enclave's image -> SHA-256 of every file that the enclave trusts, Gramine's own included. */
  readonly files: { readonly [path: string]: string }
}

/** Where the files of an image are while its manifest is made. */
export interface Image {
  /** Directory that holds the image's file system; `/` within the image. */
  readonly root: string
  /** The bundle, wherever it lies; in the image it is at `paths.bundle`. */
  readonly bundle: string
  /** The program Node, likewise. */
  readonly node: string
}

export interface InputOptions {
  readonly role: Role
  readonly gramine: GramineVersion
  readonly sizing: Sizing
  readonly isvsvn: number
  readonly gramineDirectory?: string
}

/** The part of `bundle.json` that is read here. */
export interface BundleList {
  readonly release: string
  readonly cpuVariant: string
  readonly nodeArguments: readonly string[]
  readonly roles: { readonly [role: string]: readonly string[] }
  readonly files: { readonly [path: string]: string }
}

const shape = new Shape('enclave_input_malformed')

/** Reads the list of a bundle (docs/bundle.md): what each role opens, and the hash of every file. Throws `enclave_input_malformed`, `malformed_json`. */
export function parseBundleList(text: string): BundleList {
  const o = shape.record(parseJson(text, { maxLength: 4 << 20, maxDepth: 8 }), 'bundle.json')
  shape.oneOf(o.version, 'version', ['veritee.enclave-bundle.v1'])
  const node = shape.record(o.node, 'node')
  const files = Object.entries(shape.record(o.files, 'files')).map(([path, file]) => {
    if (!/^[A-Za-z0-9@_][A-Za-z0-9@._/+-]*$/.test(path) || path.split('/').includes('..')) throw shape.refuse('files', 'paths within the bundle')
    return [path, shape.hex(shape.record(file, path).sha256, `files.${path}`, 32)] as const
  })
  const roles = Object.entries(shape.record(o.roles, 'roles')).map(([name, role]) => {
    const listed = shape.array(shape.record(role, name).files, `roles.${name}.files`, 10_000).map((path, i) => shape.string(path, `files[${i}]`))
    return [name, listed] as const
  })
  return {
    release: shape.string(o.release, 'release', 64),
    cpuVariant: shape.string(o.cpu_variant, 'cpu_variant', 32),
    nodeArguments: shape.array(node.arguments, 'node.arguments', 16).map((argument, i) => shape.string(argument, `node.arguments[${i}]`, 128)),
    roles: Object.fromEntries(roles),
    files: Object.fromEntries(files),
  }
}

/**
 * Hashes everything that an enclave of a role trusts: its files of the bundle, each compared with the list; Node; Gramine's LibOS and C library, and the two
 * system libraries, of the image.
 * Throws `enclave_input_missing` for a file that is not there or a role that the bundle does not have, `enclave_input_mismatch` for one of the bundle that is
 * not what its list says, `enclave_input_malformed`.
 */
export async function collectInputs(image: Image, options: InputOptions): Promise<EnclaveInputs> {
  const { role, gramine, sizing, isvsvn, gramineDirectory = defaultGramineDirectory } = options
  const listPath = join(image.bundle, 'bundle.json')
  const list = parseBundleList(await readText(listPath))
  const own = list.roles[role]
  if (own === undefined)
    throw fail(
      'enclave_input_missing',
      `expected the role ${role} in ${listPath}, found ${Object.keys(list.roles).join(', ')}; there is no program for it`,
    )
  const files: Record<string, string> = { [`${paths.bundle}/bundle.json`]: await sha256Of(listPath) }
  for (const path of own) {
    const found = await sha256Of(join(image.bundle, path))
    if (found !== list.files[path])
      throw fail('enclave_input_mismatch', `${path}: expected ${list.files[path] ?? 'it in the list'}, found ${found}; run npm run bundle again`)
    files[`${paths.bundle}/${path}`] = found
  }
  files[paths.node] = await sha256Of(image.node)
  for (const path of filesOfImage(gramineDirectory)) files[path] = await sha256Of(join(image.root, path))
  return {
    version: 'veritee.enclave-inputs.v1',
    role,
    gramine,
    release: list.release,
    cpuVariant: list.cpuVariant,
    sizing,
    isvsvn,
    gramineDirectory,
    files: sorted(files),
  }
}

/** What an enclave trusts beside Node and its bundle: Gramine's LibOS and C library, and the system libraries. */
export function filesOfImage(gramineDirectory: string): readonly string[] {
  return [`${gramineDirectory}/libsysdb.so`, ...runtimeLibraries.map((name) => `${gramineDirectory}/runtime/glibc/${name}`), ...systemLibraries]
}

/** The name of a set of inputs: `sha256:` over their JCS form. Two people who built the same thing have the same. */
export function inputsDigest(inputs: EnclaveInputs): Promise<string> {
  return jcsDigest(inputs as unknown as Json)
}

function sorted(files: Record<string, string>): { readonly [path: string]: string } {
  return Object.fromEntries(Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1)))
}

async function readText(path: string): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of opened(path)) parts.push(part)
  return Buffer.concat(parts).toString('utf8')
}

/** Of a file, hex. Throws `enclave_input_missing`. */
export async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const part of opened(path)) hash.update(part)
  return hash.digest('hex')
}

async function* opened(path: string): AsyncGenerator<Buffer, void, void> {
  try {
    for await (const part of createReadStream(path)) yield part as Buffer
  } catch (cause) {
    throw fail('enclave_input_missing', `expected the file ${path}: a manifest names every file by its hash, so it is made in the image`, cause)
  }
}

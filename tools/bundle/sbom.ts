/** The part of `bundle.json` that is read here. */
export interface BundleFacts {
  readonly release: string
  readonly cpu_variant: string
  readonly node: { readonly version: string }
  readonly roles: { readonly [role: string]: { readonly packages: readonly string[]; readonly files: readonly string[] } }
  readonly files: { readonly [path: string]: { readonly sha256: string; readonly size: number } }
}

/** The part of `package-lock.json` that is read here. */
export interface Lock {
  readonly packages: { readonly [path: string]: { readonly version?: string; readonly license?: string; readonly integrity?: string } }
}

interface Found {
  readonly name: string
  readonly path: string
  readonly roles: Set<string>
}

/**
 * What a bundle holds, as CycloneDX 1.6: every package whose code is inside a role's file or lies beside it, with version, licence and the hash of its
 * tarball as `package-lock.json` has them, and every file with its own hash. A function of its arguments: no time, no number drawn by chance.
 * Node is named and not hashed: an image brings it. Nothing else of an image is in here. Throws for a package that the lock does not know.
 */
export function sbomOf(list: BundleFacts, lock: Lock): object {
  const bundle = {
    type: 'application',
    'bom-ref': 'bundle',
    name: 'veritee-enclave',
    version: list.release,
    licenses: [{ expression: 'Apache-2.0' }],
  }
  const packages = packageComponents(list, lock)
  const node = {
    type: 'platform',
    'bom-ref': 'node',
    name: 'node',
    version: list.node.version.replace(/^v/, ''),
    purl: `pkg:generic/node@${list.node.version.replace(/^v/, '')}`,
  }
  const files = Object.entries(list.files)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, { sha256 }]) => fileComponent(path, sha256))
  return bomOf(
    { ...bundle, properties: [{ name: 'veritee:cpu_variant', value: list.cpu_variant }] },
    [node, ...packages, ...files],
    [{ ref: 'bundle', dependsOn: ['node', ...packages.map((one) => one['bom-ref'])] }],
    [{ aggregate: 'complete', assemblies: ['bundle'] }],
  )
}

export interface Component {
  readonly type: string
  readonly 'bom-ref': string
  readonly name: string
  readonly [member: string]: unknown
}

/** The document around components. */
export function bomOf(about: Component, components: readonly Component[], dependencies: readonly object[], compositions: readonly object[]): object {
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: { component: about },
    components,
    dependencies,
    compositions,
  }
}

export function fileComponent(path: string, sha256: string): Component {
  return { type: 'file', 'bom-ref': `file:${path}`, name: path, hashes: [{ alg: 'SHA-256', content: sha256 }] }
}

/** Every package of the roles of a list. Throws for one that the lock does not know. */
export function packageComponents(list: BundleFacts, lock: Lock): Component[] {
  const reference = (path: string): string => `package:${path}`
  return packagesOf(list, lock).map(({ name, path, roles }) => {
    const { version, license, integrity } = lock.packages[path] ?? {}
    if (version === undefined || integrity === undefined || license === undefined)
      throw new Error(`${path}: expected version, licence and integrity in package-lock.json`)
    return {
      type: 'library',
      'bom-ref': reference(path),
      name,
      version,
      purl: `pkg:npm/${name.replace(/^@/, '%40')}@${version}`,
      hashes: [{ alg: 'SHA-512', content: sha512Of(integrity, path) }],
      licenses: [{ expression: license }],
      properties: [...roles].sort().map((value) => ({ name: 'veritee:role', value })),
    }
  })
}

/** Packages by where the lock has them, in that order. */
function packagesOf({ roles }: BundleFacts, lock: Lock): Found[] {
  const found = new Map<string, Found>()
  const add = (path: string, role: string): void => {
    const known = found.get(path) ?? { name: path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length), path, roles: new Set() }
    known.roles.add(role)
    found.set(path, known)
  }
  for (const [role, { packages, files }] of Object.entries(roles)) {
    for (const named of packages) {
      const at = named.lastIndexOf('@')
      const [name, version] = [named.slice(0, at), named.slice(at + 1)]
      const [path] = Object.keys(lock.packages)
        .filter((one) => one.endsWith(`node_modules/${name}`) && lock.packages[one]?.version === version)
        .sort()
      if (path === undefined) throw new Error(`${named}: in the bundle, and not in package-lock.json`)
      add(path, role)
    }
    for (const file of files) {
      const [path] = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file) ?? []
      if (path !== undefined) add(path, role)
    }
  }
  return [...found.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
}

function sha512Of(integrity: string, path: string): string {
  const [, text = ''] = /^sha512-([A-Za-z0-9+/]{86}==)$/.exec(integrity) ?? []
  if (text === '') throw new Error(`${path}: expected a sha512 in package-lock.json`)
  return Buffer.from(text, 'base64').toString('hex')
}

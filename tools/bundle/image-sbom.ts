import { type BundleFacts, bomOf, type Component, fileComponent, type Lock, packageComponents } from './sbom.ts'

/** The part of the inputs of a manifest (`veriteed manifest render --inputs`) that is read here. */
export interface InputFacts {
  readonly role: string
  readonly gramine: string
  readonly release: string
  readonly cpuVariant: string
  readonly files: { readonly [path: string]: string }
}

export interface ImageFacts {
  readonly inputs: InputFacts
  readonly bundle: BundleFacts
  readonly lock: Lock
  /** Both as the Dockerfile takes them: `NAME[:TAG]@sha256:HEX`. */
  readonly gramineImage: string
  readonly nodeImage: string
  /** SHA-256 of `deploy/containers/entrypoint.sh`. */
  readonly entrypoint: string
}

const places = { bundle: '/opt/veritee/enclave/', entrypoint: '/opt/entrypoint.sh' } as const

/**
 * What the image of a role holds as far as `deploy/containers/Dockerfile` says it, as CycloneDX 1.6: the two base images by their digests, every file that the
 * enclave trusts with its hash, the packages in its program, the entrypoint. What else is in Gramine's image only an image shows: the composition says that
 * it is incomplete. A function of its arguments. Throws for an image without a digest, and for inputs that are not of this bundle.
 */
export function imageSbomOf({ inputs, bundle, lock, gramineImage, nodeImage, entrypoint }: ImageFacts): object {
  const { role, gramine, release, cpuVariant, files } = inputs
  const own = bundle.roles[role]
  if (own === undefined || bundle.cpu_variant !== cpuVariant || bundle.release !== release)
    throw new Error(`expected inputs of a role, release and CPU variant of this bundle, found ${role}, ${release}, ${cpuVariant}`)
  for (const [path, sha256] of Object.entries(files)) {
    const name = path.slice(places.bundle.length)
    if (path.startsWith(places.bundle) && name !== 'bundle.json' && bundle.files[name]?.sha256 !== sha256)
      throw new Error(`${path}: expected a file of this bundle`)
  }
  const bases = [baseImage('gramine', gramineImage), baseImage('node', nodeImage)]
  const packages = packageComponents({ ...bundle, roles: { [role]: own } }, lock)
  const trusted = Object.entries(files)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, sha256]) => fileComponent(path, sha256))
  const about: Component = {
    type: 'container',
    'bom-ref': 'image',
    name: `veritee-${role}`,
    version: release,
    licenses: [{ expression: 'Apache-2.0' }],
    properties: [
      { name: 'veritee:role', value: role },
      { name: 'veritee:cpu_variant', value: cpuVariant },
      { name: 'veritee:gramine', value: gramine },
    ],
  }
  const references = [...bases, ...packages].map((one) => one['bom-ref'])
  return bomOf(
    about,
    [...bases, ...packages, ...trusted, fileComponent(places.entrypoint, entrypoint)],
    [{ ref: 'image', dependsOn: references }],
    [
      { aggregate: 'incomplete', assemblies: bases.map((one) => one['bom-ref']) },
      { aggregate: 'incomplete', assemblies: ['image'] },
    ],
  )
}

/** purl of the type `oci`: https://github.com/package-url/purl-spec, which wants the name in lower case and the digest as version. */
function baseImage(what: string, text: string): Component {
  const [, repository = '', tag, digest = ''] = /^([a-z0-9][a-z0-9._/:-]*?)(?::([A-Za-z0-9._-]+))?@sha256:([0-9a-f]{64})$/.exec(text) ?? []
  if (digest === '') throw new Error(`--${what}-image: expected NAME[:TAG]@sha256:HEX, found ${JSON.stringify(text)}`)
  const name = repository.slice(repository.lastIndexOf('/') + 1)
  const query = [`repository_url=${encodeURIComponent(repository)}`, ...(tag === undefined ? [] : [`tag=${encodeURIComponent(tag)}`])].join('&')
  return {
    type: 'container',
    'bom-ref': `base:${what}`,
    name: repository,
    version: `sha256:${digest}`,
    purl: `pkg:oci/${name}@sha256%3A${digest}?${query}`,
    hashes: [{ alg: 'SHA-256', content: digest }],
  }
}

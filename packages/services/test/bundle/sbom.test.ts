import { execFile, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ImageFacts, imageSbomOf } from '../../../../tools/bundle/image-sbom.ts'
import { type BundleFacts, type Lock, sbomOf } from '../../../../tools/bundle/sbom.ts'
import { collectInputs } from '../../src/deploy/manifest/inputs.ts'
import { sizeEnclave } from '../../src/deploy/sizing.ts'
import { makeImage } from '../deploy/image.ts'

interface Component {
  readonly type: string
  readonly 'bom-ref': string
  readonly name: string
  readonly version?: string
  readonly purl?: string
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[]
  readonly licenses?: readonly { readonly expression: string }[]
  readonly properties?: readonly { readonly name: string; readonly value: string }[]
}
interface Bom {
  readonly components: readonly Component[]
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[]
}

const root = fileURLToPath(new URL('../../../../', import.meta.url))
const run = promisify(execFile)
/** Where tools/install-deploy-tools.sh puts CycloneDX's own validator. */
const tools = process.env.DEPLOY_TOOLS ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'veritee/deploy-tools')
const validator = join(tools, 'cyclonedx/bin/python')
const left = existsSync(validator) ? '' : " (left out: CycloneDX's validator is not installed)"
const bases = { gramineImage: `gramineproject/gramine:1.9-jammy@sha256:${'a1'.repeat(32)}`, nodeImage: `node@sha256:${'b2'.repeat(32)}` }
let directory: string
let list: BundleFacts
let bom: Bom

/** What the image of a worker is made of, with a made-up base image. */
async function imageFacts(): Promise<ImageFacts> {
  const base = await makeImage()
  try {
    const image = { root: base.root, bundle: join(directory, 'bundle'), node: base.node }
    const sizing = sizeEnclave('worker', { weights: 0, context: 0, threads: 1 }, false)
    const inputs = await collectInputs(image, { role: 'worker', gramine: '1.9', sizing, isvsvn: 1 })
    const lock = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as Lock
    return { inputs, bundle: list, lock, ...bases, entrypoint: 'c3'.repeat(32) }
  } finally {
    await base.remove()
  }
}

/** The verdict of CycloneDX's library, by the strict schema of 1.6. */
function complaint(text: string): string {
  const script = `import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
print('valid' if error is None else str(error)[:400])`
  const { stdout, stderr } = spawnSync(validator, ['-c', script], { input: text, encoding: 'utf8' })
  return `${stdout}${stderr}`.trim()
}

const sbom = async (out: string): Promise<string> => {
  await run(process.execPath, [join(root, 'tools/sbom.ts'), '--bundle', join(directory, 'bundle'), '--out', join(directory, out)])
  return readFile(join(directory, out, 'enclave.cdx.json'), 'utf8')
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-sbom-'))
  await run(process.execPath, [join(root, 'tools/bundle.ts'), '--out', join(directory, 'bundle'), '--cpu-variant', 'x64'])
  list = JSON.parse(await readFile(join(directory, 'bundle/bundle.json'), 'utf8')) as BundleFacts
  bom = JSON.parse(await sbom('one')) as Bom
}, 90_000)
afterAll(() => rm(directory, { recursive: true, force: true }))

describe('what a bundle holds', () => {
  it('is told of every package and every file, each once, with what is needed to find it', () => {
    const of = (type: string): Component[] => bom.components.filter((one) => one.type === type)
    const libraries = of('library').map(({ name, version }) => `${name}@${version}`)
    for (const { packages } of Object.values(list.roles)) for (const named of packages) expect(libraries).toContain(named)
    for (const name of ['node-llama-cpp', '@node-llama-cpp/linux-x64']) expect(of('library').map((one) => one.name)).toContain(name)
    for (const { purl, hashes, licenses, properties } of of('library')) {
      expect(purl).toMatch(/^pkg:npm\/(?:%40[^/@]+\/)?[^/@]+@\d+\.\d+\.\d+/)
      expect(hashes?.[0]?.content).toMatch(/^[0-9a-f]{128}$/)
      expect(licenses?.[0]?.expression).toMatch(/^\S/)
      for (const { value } of properties ?? []) expect(Object.keys(list.roles)).toContain(value)
    }
    expect(of('file').map(({ name, hashes }) => [name, hashes?.[0]?.content])).toEqual(
      Object.entries(list.files)
        .map(([path, { sha256 }]) => [path, sha256])
        .sort(([a = ''], [b = '']) => (a < b ? -1 : 1)),
    )
    const references = bom.components.map((one) => one['bom-ref'])
    expect(new Set(references).size).toBe(references.length)
    for (const one of bom.dependencies[0]?.dependsOn ?? []) expect(references).toContain(one)
  })

  it('no package in it is one that only development needs', async () => {
    const lock = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as { packages: { [path: string]: { dev?: boolean } } }
    const paths = bom.components.filter((one) => one.type === 'library').map((one) => one['bom-ref'].slice('package:'.length))
    expect(paths.filter((path) => lock.packages[path]?.dev === true)).toEqual([])
  })

  it('is the same, byte for byte, each time it is written', async () => {
    const hash = (text: string): string => createHash('sha256').update(text).digest('hex')
    expect(hash(await sbom('two'))).toBe(hash(await readFile(join(directory, 'one/enclave.cdx.json'), 'utf8')))
  })

  it('of an image: base images by digest, the packages of its role alone, every file that the enclave trusts', async () => {
    const facts = await imageFacts()
    const { components, compositions, dependencies } = imageSbomOf(facts) as Bom & {
      readonly compositions: readonly { readonly aggregate: string }[]
    }
    expect(components.filter(({ type }) => type === 'container').map(({ purl }) => purl)).toEqual([
      `pkg:oci/gramine@sha256%3A${'a1'.repeat(32)}?repository_url=gramineproject%2Fgramine&tag=1.9-jammy`,
      `pkg:oci/node@sha256%3A${'b2'.repeat(32)}?repository_url=node`,
    ])
    const files = components.filter(({ type }) => type === 'file').map(({ name, hashes }) => [name, hashes?.[0]?.content])
    expect(Object.fromEntries(files)).toEqual({ ...facts.inputs.files, '/opt/entrypoint.sh': facts.entrypoint })
    const roles = components.filter(({ type }) => type === 'library').map(({ properties }) => properties?.map(({ value }) => value))
    expect(new Set(roles.flat())).toEqual(new Set(['worker']))
    // What else the base images hold is not known, and said to be so.
    expect(compositions.map(({ aggregate }) => aggregate)).toEqual(['incomplete', 'incomplete'])
    const references = components.map((one) => one['bom-ref'])
    for (const one of dependencies[0]?.dependsOn ?? []) expect(references).toContain(one)
    expect(new Set(references).size).toBe(references.length)
  })

  it.each<readonly [string, (facts: ImageFacts) => ImageFacts, string]>([
    ['a base image by its tag', (facts) => ({ ...facts, gramineImage: 'gramineproject/gramine:1.9-jammy' }), '--gramine-image: expected NAME'],
    ['a short digest', (facts) => ({ ...facts, nodeImage: 'node@sha256:abcd' }), '--node-image: expected NAME'],
    ['inputs of another role', (facts) => ({ ...facts, inputs: { ...facts.inputs, role: 'robot' } }), 'expected inputs of a role'],
    ['inputs of another engine', (facts) => ({ ...facts, inputs: { ...facts.inputs, cpuVariant: 'haswell' } }), 'expected inputs of a role'],
    [
      'inputs with another program',
      (facts) => ({ ...facts, inputs: { ...facts.inputs, files: { ...facts.inputs.files, '/opt/veritee/enclave/worker.mjs': '0'.repeat(64) } } }),
      'expected a file of this bundle',
    ],
  ])('of an image: refuses %s', async (_, change, named) => {
    const facts = change(await imageFacts())
    expect(() => imageSbomOf(facts)).toThrow(named)
  })

  it('of an image: is written by the command, from the inputs that lie in it', async () => {
    const { inputs } = await imageFacts()
    await writeFile(join(directory, 'inputs.json'), JSON.stringify(inputs))
    const args = ['--bundle', join(directory, 'bundle'), '--out', join(directory, 'image'), '--inputs', join(directory, 'inputs.json')]
    const both = ['--gramine-image', bases.gramineImage, '--node-image', bases.nodeImage]
    await run(process.execPath, [join(root, 'tools/sbom.ts'), ...args, ...both])
    expect(JSON.parse(await readFile(join(directory, 'image/image-worker.cdx.json'), 'utf8'))).toMatchObject({
      metadata: { component: { type: 'container', name: 'veritee-worker' } },
    })
    await expect(run(process.execPath, [join(root, 'tools/sbom.ts'), ...args])).rejects.toThrow('--inputs goes with')
  })

  it.skipIf(left !== '')(
    `both are what CycloneDX's own validator takes, and it would not take anything${left}`,
    async () => {
      expect(complaint(await sbom('judged'))).toBe('valid')
      expect(complaint(JSON.stringify(imageSbomOf(await imageFacts())))).toBe('valid')
      expect(complaint(JSON.stringify({ ...bom, components: [{ ...bom.components[0], type: 'gadget' }] }))).not.toBe('valid')
    },
    300_000,
  )

  it('is not written of a bundle that is not what its list says, nor of packages that nobody locked', async () => {
    const lock: Lock = { packages: {} }
    expect(() => sbomOf(list, lock)).toThrow('package-lock.json')
    const weak = { 'node_modules/x': { version: '1.0.0', license: 'MIT', integrity: 'sha1-abc' } }
    expect(() => sbomOf({ ...list, roles: { worker: { packages: ['x@1.0.0'], files: [] } } }, { packages: weak })).toThrow('sha512')
    await appendFile(join(directory, 'bundle/broker.mjs'), '\n')
    await expect(sbom('three')).rejects.toThrow('broker.mjs')
  })
})

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type BundleFacts, type Lock, sbomOf } from '../../../../tools/bundle/sbom.ts'

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
let directory: string
let list: BundleFacts
let bom: Bom

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

  it('is not written of a bundle that is not what its list says, nor of packages that nobody locked', async () => {
    const lock: Lock = { packages: {} }
    expect(() => sbomOf(list, lock)).toThrow('package-lock.json')
    const weak = { 'node_modules/x': { version: '1.0.0', license: 'MIT', integrity: 'sha1-abc' } }
    expect(() => sbomOf({ ...list, roles: { worker: { packages: ['x@1.0.0'], files: [] } } }, { packages: weak })).toThrow('sha512')
    await appendFile(join(directory, 'bundle/broker.mjs'), '\n')
    await expect(sbom('three')).rejects.toThrow('broker.mjs')
  })
})

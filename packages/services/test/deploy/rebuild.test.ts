import { execFileSync } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ReleasedEnclave, ReleaseStatement } from 'veritee/release'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { paths } from '../../src/deploy/layout.ts'
import { collectInputs, type EnclaveInputs, inputsDigest } from '../../src/deploy/manifest/inputs.ts'
import { measureEnclave, parseInputs } from '../../src/deploy/release/measure.ts'
import { rebuildRelease } from '../../src/deploy/release/rebuild.ts'
import { type SourceTree, sourceTree } from '../../src/deploy/release/source-tree.ts'
import { sizeEnclave } from '../../src/deploy/sizing.ts'
import { makeImage } from './image.ts'

let image: Awaited<ReturnType<typeof makeImage>>
let directory: string
const made = new Map<string, EnclaveInputs>()
beforeAll(async () => {
  image = await makeImage()
  directory = await mkdtemp(join(tmpdir(), 'veritee-rebuild-test-'))
  for (const role of ['worker', 'controller'] as const)
    made.set(
      role,
      await collectInputs(image, { role, gramine: '1.9', sizing: sizeEnclave(role, { weights: 0, context: 0, threads: 1 }, false), isvsvn: 3 }),
    )
})
afterAll(async () => {
  await image.remove()
  await rm(directory, { recursive: true, force: true })
})

const commit = 'ab'.repeat(20)
const mrenclave = 'e0'.repeat(32)
/** A tree that builds what lies in the image, and whose signer gives one measurement. */
function tree(changes: Partial<SourceTree> = {}, measurement: string | null = mrenclave): SourceTree {
  return {
    commit: async () => commit,
    bundle: (_, out) => cp(image.bundle, out, { recursive: true }),
    measure: async (file) => {
      const inputs = parseInputs(await readFile(file, 'utf8'))
      return [(await measureEnclave(inputs, async () => measurement)) as unknown as Readonly<Record<string, unknown>>]
    },
    ...changes,
  }
}
const inputsOf = (role: string): EnclaveInputs => made.get(role) as EnclaveInputs
const texts = (): string[] => [...made.values()].map((one) => JSON.stringify(one))

async function statementOf(change: (enclaves: ReleasedEnclave[]) => readonly ReleasedEnclave[] = (same) => same): Promise<ReleaseStatement> {
  const enclaves = await Promise.all([...made.values()].map((inputs) => measureEnclave(inputs, async () => mrenclave)))
  return { commit, enclaves: change(enclaves) } as unknown as ReleaseStatement
}
/** The first enclave with something else in it. */
const first = (change: object) => (enclaves: ReleasedEnclave[]) => enclaves.map((one, i) => (i === 0 ? { ...one, ...change } : one))
/** Inputs of a worker that somebody published, with their digest in the statement. */
async function published(change: (files: Record<string, string>) => void): Promise<readonly [ReleaseStatement, string[]]> {
  const files = { ...inputsOf('worker').files }
  change(files)
  const inputs = { ...inputsOf('worker'), files }
  const digest = await inputsDigest(inputs)
  return [await statementOf(first({ inputs: digest })), [JSON.stringify(inputs), JSON.stringify(inputsOf('controller'))]]
}
const other = `sha256:${'0'.repeat(64)}`
const engine = `${paths.bundle}/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/libggml-cpu-haswell.so`

describe('S25: a release is built again and every digest compared', () => {
  it('what is equal is said, and what could not be compared', async () => {
    const base = { root: image.root, node: image.node }
    expect(await rebuildRelease(await statementOf(), tree(), texts(), base)).toEqual({
      enclaves: 2,
      compared: ['commit', 'inputs', 'bundle', 'manifest', 'Node and files of the base image', 'MRENCLAVE'],
      not_compared: [],
    })
    const without = await rebuildRelease(await statementOf(), tree({}, null), texts(), null)
    expect(without.compared).toEqual(['commit', 'inputs', 'bundle', 'manifest'])
    expect(without.not_compared.map((line) => line.split(':')[0])).toEqual(['Node and files of the base image', 'MRENCLAVE'])
    const unknown = await statementOf((enclaves) => enclaves.map((one) => ({ ...one, mrenclave: null })))
    expect((await rebuildRelease(unknown, tree(), texts(), base)).not_compared).toHaveLength(1)
  })

  const hostile: readonly (readonly [string, string, () => Promise<readonly [ReleaseStatement, SourceTree, readonly string[], boolean?]>])[] = [
    ['another commit', 'the commit: expected', async () => [await statementOf(), tree({ commit: async () => 'cd'.repeat(20) }), texts()]],
    ['no inputs of one enclave', 'controller, Gramine 1.9: expected inputs', async () => [await statementOf(), tree(), texts().slice(0, 1)]],
    ['inputs of another size', 'expected inputs', async () => [await statementOf(first({ inputs: other })), tree(), texts()]],
    ['another bundle than that of the inputs', 'the bundle: expected', async () => [await statementOf(first({ bundle: other })), tree(), texts()]],
    ['another manifest', 'manifest: expected', async () => [await statementOf(first({ manifest: other })), tree(), texts()]],
    ['another measurement', 'mrenclave: expected', async () => [await statementOf(first({ mrenclave: 'ee'.repeat(32) })), tree(), texts()]],
    ['another security version', 'isv_svn: expected', async () => [await statementOf(first({ isv_svn: 9 })), tree(), texts()]],
    ['another role for the inputs', 'is no file of this role', async () => [await statementOf(first({ role: 'broker' })), tree(), texts()]],
    [
      'a program that the source does not give',
      'worker.mjs: expected',
      async () => {
        const [statement, own] = await published((files) => {
          files[`${paths.bundle}/worker.mjs`] = '0'.repeat(64)
        })
        return [statement, tree(), own]
      },
    ],
    [
      'an engine that the source does not give',
      'libggml-cpu-haswell.so: expected',
      async () => {
        const [statement, own] = await published((files) => {
          files[engine] = '0'.repeat(64)
        })
        return [statement, tree(), own]
      },
    ],
    [
      'a library that no build has',
      'is no file of this role',
      async () => {
        const [statement, own] = await published((files) => {
          files['/opt/veritee/extra.so'] = '0'.repeat(64)
        })
        return [statement, tree(), own]
      },
    ],
    [
      'a file that is left out',
      'anchors.json: expected undefined',
      async () => {
        const [statement, own] = await published((files) => {
          delete files[`${paths.bundle}/anchors.json`]
        })
        return [statement, tree(), own]
      },
    ],
    [
      'another C library than that of the image',
      'libc.so.6: expected',
      async () => {
        const [statement, own] = await published((files) => {
          for (const path of Object.keys(files)) if (path.endsWith('libc.so.6')) files[path] = '0'.repeat(64)
        })
        return [statement, tree(), own, true]
      },
    ],
    [
      'another Node than that of the image',
      `${paths.node}: expected`,
      async () => {
        const [statement, own] = await published((files) => {
          files[paths.node] = '0'.repeat(64)
        })
        return [statement, tree(), own, true]
      },
    ],
  ]
  it.each(hostile)('refuses %s, and names it', async (_, named, make) => {
    const [statement, source, inputs, withImage = false] = await make()
    await expect(rebuildRelease(statement, source, inputs, withImage ? { root: image.root, node: image.node } : null)).rejects.toMatchObject({
      code: 'release_not_reproduced',
      message: expect.stringContaining(named),
    })
  })

  it('a checkout counts with the files of its commit only', async () => {
    const git = (...args: string[]): string =>
      execFileSync('git', ['-c', 'user.name=x', '-c', 'user.email=x@example', ...args], { cwd: directory, encoding: 'utf8' }).trim()
    git('init', '--quiet')
    await writeFile(join(directory, 'file'), '1')
    git('add', 'file')
    git('commit', '--quiet', '-m', 'x')
    const source = sourceTree(directory, null)
    expect(await source.commit()).toBe(git('rev-parse', 'HEAD'))
    await writeFile(join(directory, 'beside'), '1')
    await expect(source.commit()).rejects.toMatchObject({ code: 'release_not_reproduced', message: expect.stringContaining('beside') })
    await rm(join(directory, 'beside'))
    await writeFile(join(directory, 'file'), '2')
    await expect(source.commit()).rejects.toMatchObject({ code: 'release_not_reproduced' })
    await expect(source.bundle('haswell', 'out')).rejects.toMatchObject({ code: 'enclave_input_missing' })
    await expect(sourceTree('/nowhere', null).commit()).rejects.toMatchObject({ code: 'enclave_input_missing' })
  })
})

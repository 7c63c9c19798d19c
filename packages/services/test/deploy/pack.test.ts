import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'
import { publint } from 'publint'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { freePortBase } from '../e2e/free-ports.ts'

const run = promisify(execFile)

const root = fileURLToPath(new URL('../../../../', import.meta.url))
let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-pack-test-'))
  await run(process.execPath, [join(root, 'tools/pack.ts'), '--out', join(directory, 'packed')])
  // As npm lays them out, with what they depend on; nothing of the clone's own packages is within reach.
  await mkdir(join(directory, 'node_modules'))
  for (const name of await readdir(join(root, 'node_modules')))
    if (name !== 'veritee' && name !== '@veritee' && !name.startsWith('.'))
      await symlink(join(root, 'node_modules', name), join(directory, 'node_modules', name))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

async function unpacked(name: string, named: RegExp): Promise<{ readonly home: string; readonly tarball: string }> {
  const packed = join(directory, 'packed')
  const [tarball = '', ...others] = (await readdir(packed)).filter((file) => named.test(file))
  expect([tarball !== '', others]).toEqual([true, []])
  await run('tar', ['xzf', join(packed, tarball)], { cwd: directory })
  const home = join(directory, 'node_modules', name)
  await mkdir(join(home, '..'), { recursive: true })
  await rename(join(directory, 'package'), home)
  return { home, tarball: join(packed, tarball) }
}

/** By attw. */
async function typesHold(tarball: string): Promise<void> {
  const analysis = await checkPackage(createPackageFromTarballData(new Uint8Array(await readFile(tarball))))
  if (analysis.types === false) throw new Error('expected types')
  // It is ESM, and for resolvers that read "exports": older ones do not find its entries, and CommonJS imports it with import() only.
  const expected = (problem: object): boolean =>
    ('resolutionKind' in problem && problem.resolutionKind === 'node10') || ('kind' in problem && problem.kind === 'CJSResolvesToESM')
  expect(analysis.problems.filter((problem) => !expected(problem))).toEqual([])
}

it('the package that relying parties install holds compiled code only; its command and each of its entries load where nothing else is, and publint and attw find nothing', async () => {
  const { home, tarball } = await unpacked('veritee', /^veritee-\d/)
  const files = (await readdir(home, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile()).map((entry) => entry.name)
  expect(files.filter((name) => /(?<!\.d)\.ts$|\.test\./.test(name))).toEqual([])
  const manifest = JSON.parse(await readFile(join(home, 'package.json'), 'utf8')) as {
    dependencies?: unknown
    exports: { [name: string]: unknown }
    bin: { veritee: string }
  }
  expect(JSON.stringify(manifest)).not.toContain('@veritee/source')
  expect(manifest.dependencies).toBeUndefined()
  const { stdout: version } = await run(process.execPath, [join(home, manifest.bin.veritee), '--version'])
  expect(version).toMatch(/^\d+\.\d+\.\d+\s$/)
  // By its own name, as its users import it.
  const entries = Object.keys(manifest.exports).filter((name) => name !== './package.json')
  await writeFile(join(home, 'all.mjs'), entries.map((name) => `await import('veritee${name.slice(1)}')`).join('\n'))
  await run(process.execPath, [join(home, 'all.mjs')])
  await rm(join(home, 'all.mjs'))
  const { messages } = await publint({ pkgDir: home, pack: false, strict: true })
  expect(messages.filter(({ type }) => type !== 'suggestion')).toEqual([])
  await typesHold(tarball)
  // The judge does judge: with an entry that leads nowhere the same package is refused.
  const manifestOf = JSON.stringify({ ...manifest, exports: { ...manifest.exports, '.': './dist/nowhere.js' } })
  await writeFile(join(home, 'package.json'), manifestOf)
  expect((await publint({ pkgDir: home, pack: false, strict: true })).messages.map(({ code }) => code)).toContain('FILE_DOES_NOT_EXIST')
}, 120_000)

it('the package of the services runs the whole flow where nothing else is, has its template and model in it, and publint and attw find nothing', async () => {
  const { home, tarball } = await unpacked('@veritee/services', /^veritee-services-/)
  const files = (await readdir(home, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile()).map((entry) => entry.name)
  expect(files.filter((name) => /(?<!\.d)\.ts$|\.test\./.test(name))).toEqual([])
  const manifest = JSON.parse(await readFile(join(home, 'package.json'), 'utf8')) as { private?: unknown; bin: { veriteed: string } }
  expect(JSON.stringify(manifest)).not.toContain('@veritee/source')
  expect(manifest.private).toBeUndefined()
  const { messages } = await publint({ pkgDir: home, pack: false, strict: true })
  expect(messages.filter(({ type }) => type !== 'suggestion')).toEqual([])
  await typesHold(tarball)
  const program = join(home, manifest.bin.veriteed)
  const { stdout } = await run(process.execPath, [program, 'demo', '--once', '--json', '--port-base', await freePortBase()], { cwd: directory })
  expect(JSON.parse(stdout)).toMatchObject({ ok: true })
  const rendered = await run(process.execPath, [program, 'manifest', 'render', '--help'])
  expect(rendered.stdout).toContain('manifest render')
}, 240_000)

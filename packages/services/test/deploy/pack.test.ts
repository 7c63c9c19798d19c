import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'
import { publint } from 'publint'
import { expect, it } from 'vitest'

const run = promisify(execFile)

it('the package that relying parties install holds compiled code only; its command and each of its entries load where nothing else is, and publint and attw find nothing', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-pack-test-'))
  try {
    await run(process.execPath, [fileURLToPath(new URL('../../../../tools/pack.ts', import.meta.url)), '--out', directory])
    const [tarball = ''] = await readdir(directory)
    expect(tarball).toMatch(/^veritee-.*\.tgz$/)
    await run('tar', ['xzf', tarball], { cwd: directory })
    const home = join(directory, 'package')
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
    const analysis = await checkPackage(createPackageFromTarballData(new Uint8Array(await readFile(join(directory, tarball)))))
    if (analysis.types === false) throw new Error('expected types')
    // It is ESM, and for resolvers that read "exports": older ones do not find its entries, and CommonJS imports it with import() only.
    const expected = (problem: object): boolean =>
      ('resolutionKind' in problem && problem.resolutionKind === 'node10') || ('kind' in problem && problem.kind === 'CJSResolvesToESM')
    expect(analysis.problems.filter((problem) => !expected(problem))).toEqual([])
    // The judge does judge: with an entry that leads nowhere the same package is refused.
    const manifestOf = JSON.stringify({ ...manifest, exports: { ...manifest.exports, '.': './dist/nowhere.js' } })
    await writeFile(join(home, 'package.json'), manifestOf)
    expect((await publint({ pkgDir: home, pack: false, strict: true })).messages.map(({ code }) => code)).toContain('FILE_DOES_NOT_EXIST')
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}, 120_000)

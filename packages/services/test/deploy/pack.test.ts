import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const run = promisify(execFile)

it('the package that relying parties install holds compiled code only; its command and each of its entries load where nothing else is', async () => {
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
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}, 120_000)

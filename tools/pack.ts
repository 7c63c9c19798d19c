// Makes the package that relying parties install: npm run pack -- [--out DIRECTORY]. Compiles, stages what a package holds, and lets npm pack it.
// A clone runs from sources; the package has compiled JavaScript only, so its manifest names that and nothing of the clone.
import { spawnSync } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { root } from './layers.ts'

type Exports = { [name: string]: string | { [condition: string]: string | Exports[string] } }
interface PackageJson {
  readonly [member: string]: unknown
  readonly imports: Exports
  readonly exports: Exports
}

const { values } = parseArgs({ strict: true, options: { out: { type: 'string', default: join(root, 'dist') } } })
const out = resolve(values.out)
const source = join(root, 'packages/veritee')
const staged = await mkdtemp(join(tmpdir(), 'veritee-pack-'))
try {
  run(
    process.execPath,
    [join(root, 'node_modules/typescript/lib/tsc.js'), '-p', join(source, 'tsconfig.json'), '--outDir', join(staged, 'dist')],
    root,
  )
  for (const file of ['LICENSE', 'SECURITY.md']) await cp(join(root, file), join(staged, file))
  const { devDependencies: _, bin: __, ...manifest } = JSON.parse(await readFile(join(source, 'package.json'), 'utf8')) as PackageJson
  const published = { ...manifest, bin: { veritee: 'dist/bin/veritee.js' }, imports: compiled(manifest.imports), exports: compiled(manifest.exports) }
  await writeFile(join(staged, 'package.json'), `${JSON.stringify(published, null, 2)}\n`)
  await mkdir(out, { recursive: true })
  process.stdout.write(run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', out], staged))
} finally {
  await rm(staged, { recursive: true, force: true })
}

/** Without the condition under which a clone runs from its sources. */
function compiled(named: Exports): Exports {
  return Object.fromEntries(
    Object.entries(named).flatMap(([name, target]) =>
      name === '@veritee/source' ? [] : [[name, typeof target === 'string' ? target : compiled(target)]],
    ),
  )
}

function run(program: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${stdout}${stderr}`)
  return stdout
}

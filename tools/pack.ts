// Makes the packages, for relying parties and for who runs services: npm run pack -- [--out DIRECTORY]. Compiles, stages what a package holds, and lets npm pack it.
// A clone runs from sources; the package has compiled JavaScript only, so its manifest names that and nothing of the clone.
import { spawnSync } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { root } from './layers.ts'

type Exports = { [name: string]: string | { [condition: string]: string | Exports[string] } }
interface PackageJson {
  readonly [member: string]: unknown
  readonly imports?: Exports
  readonly exports: Exports
}

interface TsConfig {
  readonly compilerOptions: { readonly [name: string]: unknown }
}

const tsc = join(root, 'node_modules/typescript/lib/tsc.js')
const { values } = parseArgs({ strict: true, options: { out: { type: 'string', default: join(root, 'dist') } } })
const out = resolve(values.out)
const staged = await mkdtemp(join(tmpdir(), 'veritee-pack-'))
try {
  await mkdir(out, { recursive: true })
  const library = join(staged, 'node_modules/veritee')
  await packLibrary(library)
  await packServices(join(staged, 'services'))
} finally {
  await rm(staged, { recursive: true, force: true })
}

async function packLibrary(to: string): Promise<void> {
  const source = join(root, 'packages/veritee')
  run(process.execPath, [tsc, '-p', join(source, 'tsconfig.json'), '--outDir', join(to, 'dist')], root)
  const { devDependencies: _, ...manifest } = await manifestOf(source)
  await pack(to, { ...manifest, bin: { veritee: 'dist/bin/veritee.js' } })
}

/**
 * Compiled against the library as it is packed. What lies beside the sources in a clone, the template of enclaves and the demo model, lies at the same places in
 * the package, so that the program finds both in one way.
 */
async function packServices(to: string): Promise<void> {
  const source = join(root, 'packages/services')
  const compiledTo = 'packages/services/dist'
  await cp(join(source, 'src'), join(to, 'src'), { recursive: true })
  await cp(join(source, 'package.json'), join(to, 'package.json'))
  for (const name of await readdir(join(root, 'node_modules')))
    if (name !== 'veritee' && name !== '@veritee' && !name.startsWith('.'))
      await symlink(join(root, 'node_modules', name), join(staged, 'node_modules', name))
  const { customConditions: __, ...compilerOptions } = (JSON.parse(await readFile(join(root, 'tsconfig.base.json'), 'utf8')) as TsConfig)
    .compilerOptions
  const paths = { rootDir: 'src', outDir: compiledTo, types: ['node'], lib: ['es2024', 'dom', 'dom.iterable'] }
  await writeFile(join(to, 'tsconfig.json'), JSON.stringify({ compilerOptions: { ...compilerOptions, ...paths }, include: ['src'] }))
  run(process.execPath, [tsc, '-p', join(to, 'tsconfig.json')], to)
  await rm(join(to, 'src'), { recursive: true })
  await rm(join(to, 'tsconfig.json'))
  for (const path of ['deploy/gramine', 'models/demo/README.md', 'models/demo/veritee-demo-q8_0.gguf'])
    await cp(join(root, path), join(to, path), { recursive: true })
  const { devDependencies: ___, private: ____, ...manifest } = await manifestOf(source)
  // Which release this is, for the program.
  const { version, type } = manifest
  await writeFile(join(to, 'packages/services/package.json'), JSON.stringify({ version, type }))
  const replay = { types: `./${compiledTo}/replay/index.d.ts`, default: `./${compiledTo}/replay/index.js` }
  await pack(to, {
    ...manifest,
    bin: { veriteed: `${compiledTo}/bin/veriteed.js` },
    exports: { './replay': replay, './package.json': './package.json' },
    files: ['packages', 'deploy', 'models'],
  })
}

async function manifestOf(source: string): Promise<PackageJson> {
  return JSON.parse(await readFile(join(source, 'package.json'), 'utf8')) as PackageJson
}

async function pack(to: string, manifest: PackageJson & { readonly bin: { readonly [name: string]: string } }): Promise<void> {
  for (const file of ['LICENSE', 'SECURITY.md']) await cp(join(root, file), join(to, file))
  for (const path of Object.values(manifest.bin)) {
    const program = await readFile(join(to, path), 'utf8')
    await writeFile(join(to, path), program.replace(/^#!.*/, '#!/usr/bin/env node'), { mode: 0o755 })
  }
  const { imports = {}, exports } = manifest
  await writeFile(
    join(to, 'package.json'),
    `${JSON.stringify({ ...manifest, ...(manifest.imports && { imports: compiled(imports) }), exports: compiled(exports) }, null, 2)}\n`,
  )
  process.stdout.write(run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', out], to))
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

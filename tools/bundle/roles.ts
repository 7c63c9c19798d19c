import { readFile } from 'node:fs/promises'
import { builtinModules } from 'node:module'
import { join, relative } from 'node:path'
import { type OutputChunk, rolldown } from 'rolldown'
import { bundledRoles, importsOf, root } from '../layers.ts'
import { inAscii } from './in-ascii.ts'
import { undiciAlias } from './undici.ts'

export interface BundledRole {
  readonly name: string
  readonly code: string
  /** What it imports of Node, packages inside their own code included. */
  readonly builtins: readonly string[]
  /** `name@version` of every package whose code is inside. */
  readonly packages: readonly string[]
  /** Packages that stay outside. */
  readonly externals: readonly string[]
}

/** The one package that stays outside: it finds its native library by where its own files lie. */
export const engine = 'node-llama-cpp'

/**
 * One role as one JavaScript file: its entry in `packages/services/src/bundle`, and what that imports. Everything of ours in it may import only what the
 * list in layers.ts allows it; a package outside the list, a dynamic import, or a second output file is an error.
 */
export async function bundleRole(name: keyof typeof bundledRoles, allowed: readonly string[] = bundledRoles[name]): Promise<BundledRole> {
  const build = await rolldown({
    cwd: root,
    input: join(root, 'packages/services/src/bundle', `${name}.ts`),
    platform: 'node',
    external: [/^node:/, ...builtinModules, engine],
    resolve: { conditionNames: ['@veritee/source', 'node', 'default'], alias: undiciAlias },
    onLog: (level, log) => {
      if (level !== 'debug' && level !== 'info') throw new Error(`${name}: ${log.message}`)
    },
  })
  // V8 keeps the text in memory: what only readers of the sources and bundlers have a use for stays out, an eighth of it.
  const { output } = await build.generate({ format: 'esm', codeSplitting: false, comments: { legal: true, jsdoc: false, annotation: false } })
  await build.close()
  const [chunk, ...more] = output
  if (more.length > 0) throw new Error(`${name}: expected one file, found ${output.map((file) => file.fileName).join(', ')}`)
  await checkOwn(name, chunk, allowed)
  const packages = await packagesIn(chunk)
  for (const found of packages) {
    const bare = found.slice(0, found.lastIndexOf('@'))
    if (!allowed.includes(bare)) throw new Error(`${name}: the code of ${found} is in it, which is not on the list in tools/layers.ts`)
  }
  // What a browser reads later is in the file like everything else: such an import is of the file itself, and reads nothing.
  const later = chunk.dynamicImports.filter((file) => file !== chunk.fileName)
  if (later.length > 0) throw new Error(`${name}: expected no dynamic import, found ${later.join(', ')}`)
  const imports = [...chunk.imports].sort()
  return {
    name,
    code: inAscii(chunk.code),
    builtins: imports.filter((from) => from.startsWith('node:')),
    packages,
    externals: imports.filter((from) => !from.startsWith('node:')),
  }
}

/** Every import of our own modules that ended up in the file. */
async function checkOwn(name: string, chunk: OutputChunk, allowed: readonly string[]): Promise<void> {
  for (const id of chunk.moduleIds) {
    const path = relative(root, id)
    if (!path.startsWith('packages/services/src/') || path === 'packages/services/src/bundle/guard.ts') continue
    const text = await readFile(id, 'utf8')
    for (const target of importsOf(text)) {
      const ours = target.startsWith('.') || target.startsWith('veritee/')
      // Types are gone from the file: what remains of an import that is not on the list is looked for in what the file imports.
      if (!ours && !allowed.includes(target) && chunk.imports.includes(target))
        throw new Error(`${name}: ${path} imports ${target}, which is not on the list in tools/layers.ts`)
    }
  }
}

async function packagesIn(chunk: OutputChunk): Promise<string[]> {
  const found = new Set<string>()
  for (const id of chunk.moduleIds) {
    const inside = /^(.*\/node_modules\/((?:@[^/]+\/)?[^/]+))\//.exec(id)
    if (inside === null) continue
    const [, directory = '', name] = inside
    const { version } = JSON.parse(await readFile(join(directory, 'package.json'), 'utf8')) as { version: string }
    found.add(`${name}@${version}`)
  }
  return [...found].sort()
}

import { readdir, stat } from 'node:fs/promises'
import { builtinModules } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import { rolldown } from 'rolldown'
import { root } from '../layers.ts'
import { engine } from './roles.ts'

const native = '@node-llama-cpp/linux-x64'
const variantFile = /^libggml-cpu-([a-z0-9_]+)\.so$/

/** Read by the engine when it starts, beside its code. */
const dataFiles = [`${engine}/llama/binariesGithubRelease.json`, `${engine}/llama/llama.cpp.info.json`]

/**
 * Every file that the engine needs under `node_modules`: the JavaScript that its entry reaches, the package.json of each package in it, and the native
 * library with one CPU variant. Which variant runs then follows from what is there, not from what the host's CPU says (rule S23).
 * Paths are relative to the repository, sorted.
 */
export async function engineFiles(cpuVariant: string): Promise<string[]> {
  const build = await rolldown({
    cwd: root,
    input: join(root, 'node_modules', engine, 'dist/index.js'),
    platform: 'node',
    treeshake: false,
    // Copying of files by the file system: for downloads, which an enclave does not make.
    external: [/^node:/, ...builtinModules, /^@reflink\/reflink-/, /\.node$/],
    // Native packages of other machines are not installed.
    onLog: () => undefined,
  })
  const { output } = await build.generate({ format: 'esm' })
  await build.close()
  const scripts = output.flatMap((chunk) => (chunk.type === 'chunk' ? chunk.moduleIds : [])).filter((id) => id.startsWith(`${root}node_modules/`))
  const files = new Set([...scripts.map((id) => relative(root, id)), ...dataFiles.map((path) => join('node_modules', path))])
  for (const path of [...files]) for (const found of await packageJsonsOf(path)) files.add(found)
  for (const path of await nativeFiles(cpuVariant)) files.add(path)
  return [...files].sort()
}

async function nativeFiles(cpuVariant: string): Promise<string[]> {
  const bins = join('node_modules', native, 'bins/linux-x64')
  const names = await readdir(join(root, bins))
  const variants = names.map((name) => variantFile.exec(name)?.[1]).filter((variant) => variant !== undefined)
  if (!variants.includes(cpuVariant)) throw new Error(`expected one of the CPU variants ${variants.sort().join(', ')}, found ${cpuVariant}`)
  const kept = names.filter((name) => !variantFile.test(name) || variantFile.exec(name)?.[1] === cpuVariant)
  return [...kept.map((name) => join(bins, name)), join('node_modules', native, 'package.json'), join('node_modules', native, 'dist/index.js')]
}

/** Every package.json between a file and its package: Node reads the nearest to know what kind of file it is, and the package's own for its entries. */
async function packageJsonsOf(path: string): Promise<string[]> {
  const found: string[] = []
  for (let directory = dirname(path); basename(directory) !== 'node_modules'; directory = dirname(directory)) {
    const candidate = join(directory, 'package.json')
    const there = await stat(join(root, candidate)).catch(() => null)
    if (there?.isFile() === true) found.push(candidate)
  }
  return found
}

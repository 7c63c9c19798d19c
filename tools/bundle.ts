// What an enclave runs, in one directory: one JavaScript file for each role, the engine's own files, and a list of every file with its hash.
// npm run bundle -- [--out DIRECTORY] [--cpu-variant NAME] [--anchors FILE]
import { createHash } from 'node:crypto'
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { engineFiles } from './bundle/engine-files.ts'
import { bundleRole, engine } from './bundle/roles.ts'
import { bundledRoles, root } from './layers.ts'

/** Anchors of nobody: no publisher, and a controller with them admits no worker. */
const noAnchors = `${JSON.stringify({ version: 'veritee.anchors.v1', publishers: [], minimum_version: 0, policy: null })}\n`

const { values } = parseArgs({
  strict: true,
  options: {
    out: { type: 'string', default: join(root, 'dist/enclave') },
    'cpu-variant': { type: 'string', default: 'haswell' },
    anchors: { type: 'string' },
  },
})
const out = resolve(values.out)
const { version } = JSON.parse(await readFile(join(root, 'packages/services/package.json'), 'utf8')) as { version: string }
const files = new Map<string, { readonly sha256: string; readonly size: number }>()

async function put(path: string, bytes: Uint8Array): Promise<void> {
  const target = join(out, path)
  await mkdir(dirname(target), { recursive: true })
  await writeFile(target, bytes)
  // The same for every build, whatever the umask.
  await chmod(target, 0o644)
  files.set(path, { sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length })
}

await rm(out, { recursive: true, force: true })
const outside = await engineFiles(values['cpu-variant'])
for (const path of outside) await put(path, await readFile(join(root, path)))
await put('anchors.json', values.anchors === undefined ? Buffer.from(noAnchors) : await readFile(values.anchors))
const roles: Record<string, object> = {}
for (const name of Object.keys(bundledRoles) as (keyof typeof bundledRoles)[]) {
  const { code, builtins, packages, externals } = await bundleRole(name)
  await put(`${name}.mjs`, Buffer.from(code))
  roles[name] = {
    file: `${name}.mjs`,
    builtins,
    packages,
    // What this role opens of the list below, its own file and the anchors included.
    files: [`${name}.mjs`, 'anchors.json', ...(externals.includes(engine) ? outside : [])].sort(),
  }
}
const list = {
  version: 'veritee.enclave-bundle.v1',
  release: version,
  // Node is not in here: an enclave's manifest measures it, with these arguments.
  node: { version: process.version, arguments: ['--disable-wasm-trap-handler'] },
  cpu_variant: values['cpu-variant'],
  roles,
  files: Object.fromEntries([...files].sort(([a], [b]) => (a < b ? -1 : 1))),
}
await writeFile(join(out, 'bundle.json'), `${JSON.stringify(list, null, 2)}\n`)
process.stderr.write(`${out}: ${files.size} files, ${[...files.values()].reduce((sum, { size }) => sum + size, 0)} bytes\n`)

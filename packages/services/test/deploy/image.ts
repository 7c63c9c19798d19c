import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Role } from 'veritee/policy'
import { defaultGramineDirectory, runtimeLibraries, systemLibraries } from '../../src/deploy/layout.ts'
import type { Image } from '../../src/deploy/manifest/inputs.ts'

const engine = 'node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/libggml-cpu-haswell.so'

/** The file system of a made-up image: its files hold their own names, so that their hashes differ and stay. */
export async function makeImage(): Promise<Image & { readonly remove: () => Promise<void> }> {
  const root = await mkdtemp(join(tmpdir(), 'veritee-image-'))
  const put = async (path: string, text = path): Promise<void> => {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), text)
  }
  await put(`${defaultGramineDirectory}/libsysdb.so`)
  for (const name of runtimeLibraries) await put(`${defaultGramineDirectory}/runtime/glibc/${name}`)
  for (const path of systemLibraries) await put(path)
  await put('node')
  const programs: readonly Role[] = ['controller', 'worker', 'broker', 'validator']
  const names = [...programs.map((role) => `${role}.mjs`), 'anchors.json', engine]
  for (const name of names) await put(`bundle/${name}`, name)
  const hash = (text: string): string => createHash('sha256').update(text).digest('hex')
  await put(
    'bundle/bundle.json',
    JSON.stringify({
      version: 'veritee.enclave-bundle.v1',
      release: '0.1.0',
      node: { version: 'v24.0.0', arguments: ['--disable-wasm-trap-handler'] },
      cpu_variant: 'haswell',
      roles: Object.fromEntries(
        programs.map((role) => [role, { files: [`${role}.mjs`, 'anchors.json', ...(role === 'worker' ? [engine] : [])].sort() }]),
      ),
      files: Object.fromEntries(names.map((name) => [name, { sha256: hash(name), size: name.length }])),
    }),
  )
  return { root, bundle: join(root, 'bundle'), node: join(root, 'node'), remove: () => rm(root, { recursive: true, force: true }) }
}

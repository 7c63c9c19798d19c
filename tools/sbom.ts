// What a bundle holds, as CycloneDX: npm run sbom -- [--bundle DIRECTORY] [--out DIRECTORY]. Every file of the bundle is hashed before it is named.
import { createHash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type BundleFacts, type Lock, sbomOf } from './bundle/sbom.ts'
import { root } from './layers.ts'

const { values } = parseArgs({
  strict: true,
  options: { bundle: { type: 'string', default: join(root, 'dist/enclave') }, out: { type: 'string', default: join(root, 'dist') } },
})
const bundle = resolve(values.bundle)
const list = JSON.parse(await readFile(join(bundle, 'bundle.json'), 'utf8')) as BundleFacts
for (const [path, { sha256 }] of Object.entries(list.files)) {
  const found = createHash('sha256')
    .update(await readFile(join(bundle, path)))
    .digest('hex')
  if (found !== sha256) throw new Error(`${path}: expected ${sha256}, found ${found}; run npm run bundle again`)
}
const lock = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as Lock
const target = join(resolve(values.out), 'enclave.cdx.json')
await mkdir(resolve(values.out), { recursive: true })
await writeFile(target, `${JSON.stringify(sbomOf(list, lock), null, 2)}\n`)
process.stderr.write(`${target}\n`)

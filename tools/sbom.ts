// What a bundle or an image holds, as CycloneDX: npm run sbom -- [--bundle DIRECTORY] [--out DIRECTORY]
//   [--inputs FILE --gramine-image NAME@sha256:HEX --node-image NAME@sha256:HEX]. Every file of the bundle is hashed before it is named.
import { createHash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type InputFacts, imageSbomOf } from './bundle/image-sbom.ts'
import { type BundleFacts, type Lock, sbomOf } from './bundle/sbom.ts'
import { root } from './layers.ts'

const { values } = parseArgs({
  strict: true,
  options: {
    bundle: { type: 'string', default: join(root, 'dist/enclave') },
    out: { type: 'string', default: join(root, 'dist') },
    inputs: { type: 'string' },
    'gramine-image': { type: 'string' },
    'node-image': { type: 'string' },
  },
})
const bundle = resolve(values.bundle)
const sha256Of = async (path: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(path))
    .digest('hex')
const list = JSON.parse(await readFile(join(bundle, 'bundle.json'), 'utf8')) as BundleFacts
for (const [path, { sha256 }] of Object.entries(list.files)) {
  const found = await sha256Of(join(bundle, path))
  if (found !== sha256) throw new Error(`${path}: expected ${sha256}, found ${found}; run npm run bundle again`)
}
const lock = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as Lock

async function document(): Promise<readonly [name: string, content: object]> {
  const { inputs: file, 'gramine-image': gramineImage, 'node-image': nodeImage } = values
  if (file === undefined) return ['enclave', sbomOf(list, lock)]
  if (gramineImage === undefined || nodeImage === undefined) throw new Error('--inputs goes with --gramine-image and --node-image')
  const inputs = JSON.parse(await readFile(file, 'utf8')) as InputFacts
  const entrypoint = await sha256Of(join(root, 'deploy/containers/entrypoint.sh'))
  return [`image-${inputs.role}`, imageSbomOf({ inputs, bundle: list, lock, gramineImage, nodeImage, entrypoint })]
}

const [name, content] = await document()
const target = join(resolve(values.out), `${name}.cdx.json`)
await mkdir(resolve(values.out), { recursive: true })
await writeFile(target, `${JSON.stringify(content, null, 2)}\n`)
process.stderr.write(`${target}\n`)

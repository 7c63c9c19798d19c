import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Role } from 'veritee/policy'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { productIds } from '../../../src/deploy/layout.ts'
import type { Image } from '../../../src/deploy/manifest/inputs.ts'
import { type MadeManifest, makeManifest } from '../../../src/deploy/manifest/make.ts'
import { gramineSigner, measureEnclave } from '../../../src/deploy/release/measure.ts'
import { sizeEnclave } from '../../../src/deploy/sizing.ts'
import { imageOfGramine } from './direct.ts'
import { installedGramine } from './installed.ts'

const gramine = installedGramine()
const left = gramine === null ? ' (left out: Gramine 1.8 or 1.9 is not in PATH)' : ''
const bundled = ['worker', 'controller', 'broker'] as const
const run = promisify(execFile)

let directory: string
let image: Image
beforeAll(async () => {
  if (gramine === null) return
  directory = await mkdtemp(join(tmpdir(), 'veritee-signer-'))
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 3072, publicExponent: 3 })
  await writeFile(join(directory, 'key.pem'), privateKey.export({ type: 'pkcs1', format: 'pem' }))
  image = await built('one')
}, 180_000)
afterAll(async () => {
  if (gramine !== null) await rm(directory, { recursive: true, force: true })
})

/** A bundle of this source and an image with it, in directories of their own. */
async function built(name: string): Promise<Image> {
  if (gramine === null) throw new Error('expected Gramine')
  const builder = fileURLToPath(new URL('../../../../../tools/bundle.ts', import.meta.url))
  await run(process.execPath, [builder, '--out', join(directory, name, 'bundle')])
  return imageOfGramine(join(directory, name, 'image'), join(directory, name, 'bundle'), gramine)
}

function made(of: Image, role: Role, change: { readonly edmm?: boolean; readonly isvsvn?: number } = {}): Promise<MadeManifest> {
  const sizing = sizeEnclave(role, { weights: 0, context: 0, threads: 1 }, change.edmm ?? false)
  return makeManifest(of, { role, gramine: gramine?.version ?? '1.9', sizing, isvsvn: change.isvsvn ?? 7 })
}

/** As an image is made: preprocessed, signed, and what Gramine's own viewer then finds in SIGSTRUCT. */
async function asInAnImage(name: string, manifest: string): Promise<Readonly<Record<string, unknown>>> {
  const file = (ending: string): string => join(directory, `${name}.${ending}`)
  await writeFile(file('template'), manifest)
  await run('gramine-manifest', [file('template'), file('manifest')])
  const key = join(directory, 'key.pem')
  await run('gramine-sgx-sign', ['--manifest', file('manifest'), '--key', key, '--output', file('manifest.sgx'), '--date', '0000-00-00', '--quiet'])
  const { stdout } = await run('gramine-sgx-sigstruct-view', ['--verbose', '--output-format', 'json', file('sig')])
  return JSON.parse(stdout) as Readonly<Record<string, unknown>>
}

const mrenclaveOf = async (of: Image, role: Role, change = {}): Promise<string | null> =>
  (await measureEnclave((await made(of, role, change)).inputs, gramineSigner())).mrenclave

describe.skipIf(left !== '')(`S14, S25: by Gramine's own signer${left}`, () => {
  it.each(bundled)('a %s: MRENCLAVE of a release is that of the enclave which an image is made with, with and without EDMM', async (role) => {
    for (const edmm of [false, true]) {
      const { inputs, text } = await made(image, role, { edmm })
      const { mrenclave } = await measureEnclave(inputs, gramineSigner())
      expect(mrenclave).toMatch(/^[0-9a-f]{64}$/)
      expect(await asInAnImage(`${role}-${edmm}`, text)).toMatchObject({
        mr_enclave: mrenclave,
        isv_prod_id: productIds[role],
        isv_svn: 7,
        debug_enclave: false,
        // MODE64BIT, and no other.
        attribute_flags: '0x4',
        // x87 and SSE, and AVX where the engine's library needs it.
        attribute_xfrms: role === 'worker' ? '0x7' : '0x3',
        // EXINFO, which demand paging under EDMM needs.
        misc_select: edmm ? '0x1' : '0x0',
      })
    }
  })

  // Each signature takes seconds, and so does the key for it.
  it('built twice, each role has one MRENCLAVE, and each has its own; another version of the code has another', { timeout: 600_000 }, async () => {
    await mkdir(join(directory, 'two'))
    const again = await built('two')
    const found = new Set<string | null>()
    for (const role of bundled) {
      const mrenclave = await mrenclaveOf(image, role)
      expect(await mrenclaveOf(again, role)).toBe(mrenclave)
      found.add(mrenclave)
    }
    found.add(await mrenclaveOf(image, 'broker', { isvsvn: 8 }))
    expect(found.has(null)).toBe(false)
    expect(found.size).toBe(bundled.length + 1)
  })

  it('the command writes it to measurements.json', async () => {
    const inputs = join(directory, 'worker.inputs.json')
    const { inputs: given } = await made(image, 'worker')
    await writeFile(inputs, JSON.stringify(given))
    const script = fileURLToPath(new URL('../../../src/bin/veriteed.ts', import.meta.url))
    const out = join(directory, 'measurements.json')
    await run(process.execPath, [
      '--conditions=@veritee/source',
      '--disable-warning=ExperimentalWarning',
      script,
      'release',
      'measure',
      '--inputs',
      inputs,
      '--out',
      out,
    ])
    const { enclaves } = JSON.parse(await readFile(out, 'utf8')) as { enclaves: { mrenclave: string }[] }
    expect(enclaves.map(({ mrenclave }) => mrenclave)).toEqual([await mrenclaveOf(image, 'worker')])
  })
})

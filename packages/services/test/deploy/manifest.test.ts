import { execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { parse } from 'smol-toml'
import { roles } from 'veritee/policy'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { defaultGramineDirectory, gramineVersions, paths } from '../../src/deploy/layout.ts'
import { collectInputs, inputsDigest } from '../../src/deploy/manifest/inputs.ts'
import { makeManifest } from '../../src/deploy/manifest/make.ts'
import { readTemplate, renderManifest, templateVariables } from '../../src/deploy/manifest/render.ts'
import { gramineSize, readGramineSize, sizeEnclave } from '../../src/deploy/sizing.ts'
import { makeImage } from './image.ts'

let image: Awaited<ReturnType<typeof makeImage>>
beforeAll(async () => {
  image = await makeImage()
})
afterAll(() => image.remove())

const none = { weights: 0, context: 0, threads: 0 }
const optionsOf = (role: (typeof roles)[number], gramine: (typeof gramineVersions)[number], edmm = false) => ({
  role,
  gramine,
  sizing: sizeEnclave(role, role === 'worker' ? { weights: 4 << 28, context: 1 << 28, threads: 7 } : none, edmm),
  isvsvn: 3,
})

/** A Python that has these modules; null where there is none. */
function python(modules: string): string | null {
  for (const program of ['python3', '/usr/bin/python3'])
    try {
      execFileSync(program, ['-c', `import ${modules}`], { stdio: 'ignore' })
      return program
    } catch {}
  return null
}
const interpreter = python('jinja2, tomllib')
const left = interpreter === null ? ' (left out: no Python with Jinja2 and tomllib)' : ''

/** Gramine's own Python modules are on no registry: they are there where Gramine is installed, or on PYTHONPATH. */
const ofGramine = python('graminelibos')
const withoutGramine = ofGramine === null ? ' (left out: Gramine is not installed)' : ''

describe.each(gramineVersions)('a manifest for Gramine %s', (gramine) => {
  it.each(roles)('of a %s passes the linter, with and without EDMM, and names what it was made of', async (role) => {
    for (const edmm of [false, true]) {
      const made = await makeManifest(image, optionsOf(role, gramine, edmm))
      expect(made.digest).toBe(await inputsDigest(made.inputs))
      expect(parse(made.text)).toMatchObject({
        sgx: { edmm_enable: edmm, isvsvn: 3, debug: false },
        libos: { entrypoint: paths.node },
        loader: { argv: expect.arrayContaining([`${paths.bundle}/${role}.mjs`]) },
      })
      const trusted = (parse(made.text) as { sgx: { trusted_files: { uri: string }[] } }).sgx.trusted_files.map(({ uri }) => uri)
      expect(trusted.filter((uri) => uri.endsWith('.mjs'))).toEqual([`file:${paths.bundle}/${role}.mjs`])
      expect(trusted.filter((uri) => uri.endsWith('/node'))).toEqual([`file:${paths.node}`])
    }
  })

  it.skipIf(left !== '')(`is what Jinja2 renders, byte for byte, and reads the same by Python's TOML${left}`, async () => {
    for (const role of roles)
      for (const edmm of [false, true]) {
        const inputs = await collectInputs(image, optionsOf(role, gramine, edmm))
        const template = await readTemplate()
        const job = {
          template,
          variables: templateVariables(inputs),
          libos: `${defaultGramineDirectory}/libsysdb.so`,
          runtimedir: `${defaultGramineDirectory}/runtime`,
        }
        const script = fileURLToPath(new URL('gramine_manifest.py', import.meta.url))
        const { text, parsed } = JSON.parse(execFileSync(interpreter ?? '', [script], { input: JSON.stringify(job), encoding: 'utf8' })) as {
          text: string
          parsed: unknown
        }
        const ours = renderManifest(template, inputs)
        expect(ours).toBe(text)
        expect(JSON.parse(JSON.stringify(parse(ours)))).toEqual(parsed)
      }
  })

  it.skipIf(withoutGramine !== '')(`is what Gramine's own tools take, who find nothing to hash or to change in it${withoutGramine}`, async () => {
    for (const role of roles)
      for (const edmm of [false, true]) {
        const { text } = await makeManifest(image, optionsOf(role, gramine, edmm))
        const script = fileURLToPath(new URL('gramine_check.py', import.meta.url))
        const taken: unknown = JSON.parse(execFileSync(ofGramine ?? '', [script], { input: text, encoding: 'utf8' }))
        const { sgx, ...others } = JSON.parse(JSON.stringify(parse(text))) as { sgx: { cpu_features?: object } }
        // What they fill in where a manifest does not say.
        const usual = { avx: 'unspecified', avx512: 'unspecified', amx: 'unspecified', mpx: 'disabled', pkru: 'disabled' }
        const whole = { enable_stats: false, use_exinfo: false, ...sgx, cpu_features: { ...usual, ...sgx.cpu_features } }
        expect(taken).toEqual({ ...others, sgx: whole })
      }
  })
})

it('S25: the same inputs give the same bytes and the same digest, each time; any other input gives others', async () => {
  const template = await readTemplate()
  const inputs = await collectInputs(image, optionsOf('worker', '1.9'))
  const text = renderManifest(template, inputs)
  const digest = await inputsDigest(inputs)
  const paths = Object.keys(inputs.files)
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), fc.stringMatching(/^[0-9a-f]{64}$/), async (path, hash) => {
      expect(renderManifest(template, structuredClone(inputs))).toBe(text)
      fc.pre(inputs.files[path] !== hash)
      const other = { ...inputs, files: { ...inputs.files, [path]: hash } }
      expect(renderManifest(template, other)).not.toBe(text)
      expect(await inputsDigest(other)).not.toBe(digest)
    }),
    { numRuns: 50 },
  )
})

it('names what is missing, and what is not what its list says', async () => {
  await expect(collectInputs({ ...image, root: join(image.root, 'elsewhere') }, optionsOf('worker', '1.9'))).rejects.toMatchObject({
    code: 'enclave_input_missing',
  })
  const other = await makeImage()
  await writeFile(join(other.bundle, 'worker.mjs'), 'another program')
  await expect(collectInputs(other, optionsOf('worker', '1.9'))).rejects.toMatchObject({ code: 'enclave_input_mismatch' })
  await expect(collectInputs(other, optionsOf('broker', '1.9'))).resolves.toBeDefined()
  await writeFile(join(other.bundle, 'bundle.json'), '{"version":"veritee.enclave-bundle.v1"}')
  await expect(collectInputs(other, optionsOf('broker', '1.9'))).rejects.toMatchObject({ code: 'enclave_input_malformed' })
  await other.remove()
})

describe('sizes', () => {
  it('an enclave is a power of two that holds Node, twice the weights and the context; threads grow with the engine', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 40 * 2 ** 30 }),
        fc.integer({ min: 0, max: 2 ** 34 }),
        fc.integer({ min: 0, max: 256 }),
        (weights, context, threads) => {
          const { enclaveBytes, maxThreads } = sizeEnclave('worker', { weights, context, threads }, false)
          expect(Number.isInteger(Math.log2(enclaveBytes))).toBe(true)
          expect(enclaveBytes).toBeGreaterThan(2 * weights + context + 2 ** 30)
          expect(maxThreads).toBeGreaterThanOrEqual(24 + 2 * threads)
          expect(readGramineSize(gramineSize(enclaveBytes))).toBe(enclaveBytes)
        },
      ),
    )
  })

  it('refuses what no enclave holds', () => {
    expect(() => sizeEnclave('worker', { weights: 2 ** 39, context: 0, threads: 1 }, false)).toThrow(
      expect.objectContaining({ code: 'config_invalid' }),
    )
    expect(() => sizeEnclave('worker', { weights: 0, context: 0, threads: 300 }, false)).toThrow(expect.objectContaining({ code: 'config_invalid' }))
  })
})

import { execFile } from 'node:child_process'
import { createHash, generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Json, jcs, parseJson, Shape } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { roles } from 'veritee/policy'
import type { ReleasedEnclave } from 'veritee/release'
import { gramineVersions, paths, productIds } from '../layout.ts'
import { type EnclaveInputs, inputsDigest, sha256Of } from '../manifest/inputs.ts'
import { readTemplate, renderManifest } from '../manifest/render.ts'

const shape = new Shape('enclave_input_malformed')

/** Reads the inputs that `veriteed manifest render --inputs` wrote. Throws `enclave_input_malformed`, `malformed_json`. */
export function parseInputs(text: string): EnclaveInputs {
  const members = ['version', 'role', 'gramine', 'release', 'cpuVariant', 'sizing', 'isvsvn', 'gramineDirectory', 'files']
  const o = shape.object(parseJson(text, { maxLength: 4 << 20, maxDepth: 4 }), 'inputs', members)
  const sizing = shape.object(o.sizing, 'sizing', ['edmm', 'enclaveBytes', 'maxThreads', 'heapMegabytes'])
  const files = Object.entries(shape.record(o.files, 'files')).map(([path, hash]) => [path, shape.hex(hash, `files.${path}`, 32)] as const)
  return {
    version: shape.oneOf(o.version, 'version', ['veritee.enclave-inputs.v1']),
    role: shape.oneOf(o.role, 'role', roles),
    gramine: shape.oneOf(o.gramine, 'gramine', gramineVersions),
    release: shape.string(o.release, 'release', 64),
    cpuVariant: shape.string(o.cpuVariant, 'cpuVariant', 32),
    sizing: {
      edmm: shape.boolean(sizing.edmm, 'sizing.edmm'),
      enclaveBytes: shape.integer(sizing.enclaveBytes, 'sizing.enclaveBytes'),
      maxThreads: shape.integer(sizing.maxThreads, 'sizing.maxThreads', 4096),
      heapMegabytes: shape.integer(sizing.heapMegabytes, 'sizing.heapMegabytes', 1 << 20),
    },
    isvsvn: shape.integer(o.isvsvn, 'isvsvn', 65_535),
    gramineDirectory: shape.string(o.gramineDirectory, 'gramineDirectory', 256),
    files: Object.fromEntries(files),
  }
}

/** Computes MRENCLAVE of a manifest; null where that cannot be done here. */
export type Measure = (manifest: string) => Promise<string | null>

/** What is said of one enclave: digests of its inputs, its manifest, its bundle, and its measurement where it can be computed: a member of `measurements.json` and of release statements. Throws as rendering does. */
export async function measureEnclave(inputs: EnclaveInputs, measure: Measure): Promise<ReleasedEnclave> {
  const manifest = renderManifest(await readTemplate(), inputs)
  const { role, gramine, cpuVariant, sizing, isvsvn, files } = inputs
  const bundle = files[`${paths.bundle}/bundle.json`]
  if (bundle === undefined) throw shape.refuse('files', `${paths.bundle}/bundle.json`)
  return {
    role,
    cpu_variant: role === 'worker' ? cpuVariant : null,
    gramine,
    edmm: sizing.edmm,
    inputs: await inputsDigest(inputs),
    manifest: `sha256:${createHash('sha256').update(manifest).digest('hex')}`,
    bundle: `sha256:${bundle}`,
    mrenclave: await measure(manifest),
    isv_prod_id: productIds[role],
    isv_svn: isvsvn,
  }
}

/** The text of `measurements.json`: by role and variant, so that it is the same for everybody. */
export function measurementsText(measurements: readonly ReleasedEnclave[]): string {
  const key = ({ role, cpu_variant: variant, gramine, edmm }: ReleasedEnclave): string => [role, variant ?? '', gramine, String(edmm)].join(' ')
  const sorted = [...measurements].sort((a, b) => (key(a) < key(b) ? -1 : 1))
  return `${JSON.stringify(JSON.parse(jcs({ version: 'veritee.measurements.v1', enclaves: sorted as unknown as Json })), null, 2)}\n`
}

/** Reads `measurements.json`: shape only. Throws `enclave_input_malformed`. */
export function parseMeasurements(text: string): readonly Readonly<Record<string, unknown>>[] {
  const o = shape.object(parseJson(text, { maxLength: 1 << 20, maxDepth: 5 }), 'measurements', ['version', 'enclaves'])
  shape.oneOf(o.version, 'version', ['veritee.measurements.v1'])
  return shape.array(o.enclaves, 'enclaves', 256).map((enclave, i) => shape.record(enclave, `enclaves[${i}]`))
}

/** Gramine's programs, which come in one package. */
export interface GramineTools {
  readonly sign: string
  /** Its preprocessor, which knows where Gramine lies. */
  readonly manifest: string
}

/**
 * MRENCLAVE by Gramine's own signer, which needs no SGX. It signs with a key that is thrown away: a measurement does not depend on who signs.
 * The signer measures the PAL of its own package, so it must be of the package that the manifest names: what is compared is the LibOS.
 * Null where the programs are not installed, or are of another Gramine; throws `enclave_input_malformed` where the signer refuses the manifest.
 */
export function gramineSigner(tools: GramineTools = { sign: 'gramine-sgx-sign', manifest: 'gramine-manifest' }): Measure {
  return async (manifest) => {
    const directory = await mkdtemp(join(tmpdir(), 'veritee-measure-'))
    try {
      const file = (name: string): string => join(directory, name)
      // Whether it is there, before a key is made, which takes seconds.
      await promisify(execFile)(tools.sign, ['--help'])
      if (!(await ofTheSameGramine(manifest, tools.manifest))) return null
      const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 3072, publicExponent: 3 })
      await writeFile(file('key.pem'), privateKey.export({ type: 'pkcs1', format: 'pem' }), { mode: 0o600 })
      await writeFile(file('manifest'), manifest)
      const args = ['--manifest', file('manifest'), '--key', file('key.pem'), '--output', file('manifest.sgx'), '--sigfile', file('sig')]
      const { stdout } = await promisify(execFile)(tools.sign, args, { encoding: 'utf8', maxBuffer: 8 << 20 })
      const [, mrenclave] = /^Measurement:\s*^\s*([0-9a-f]{64})\s*$/m.exec(stdout) ?? []
      if (mrenclave === undefined) throw fail('enclave_input_malformed', `expected a measurement of ${tools.sign}, found none in what it printed`)
      return mrenclave
    } catch (cause) {
      if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null
      if (cause instanceof Error && 'kind' in cause) throw cause
      throw fail('enclave_input_malformed', `${tools.sign} refuses the manifest`, cause)
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  }
}

/** Whether the LibOS that is installed here is the one that the manifest names by its hash. */
async function ofTheSameGramine(manifest: string, preprocessor: string): Promise<boolean> {
  const { stdout } = await promisify(execFile)(preprocessor, ['--no-check', '-c', 'libos = "{{ gramine.libos }}"'], { encoding: 'utf8' })
  const [, libos = ''] = /^libos = "([^"]+)"$/m.exec(stdout) ?? []
  const [, wanted] = /^loader\.entrypoint\.sha256 = "([0-9a-f]{64})"$/m.exec(manifest) ?? []
  return (await sha256Of(libos)) === wanted
}

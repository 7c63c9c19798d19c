import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fail } from 'veritee/errors'
import type { ReleasedEnclave, ReleaseStatement } from 'veritee/release'
import { paths } from '../layout.ts'
import { type EnclaveInputs, filesOfImage, inputsDigest, parseBundleList, sha256Of } from '../manifest/inputs.ts'
import { parseInputs } from './measure.ts'
import type { SourceTree } from './source-tree.ts'

/** Where the files of the base image are: its file system, and Node. */
export interface BaseImage {
  readonly root: string
  readonly node: string
}

export interface Rebuilt {
  readonly enclaves: number
  /** What was compared, and what could not be. */
  readonly compared: readonly string[]
  readonly not_compared: readonly string[]
}

/**
 * Builds a release again and compares every digest of its statement (rule S25), in this order: the commit that is checked out; of each enclave, the digest of
 * the inputs that its makers published; every file of the bundle in them, then its list; with `image`, Node and every file of the base image;
 * the manifest, and MRENCLAVE where `gramine-sgx-sign` is installed.
 *
 * It runs the programs of the checkout: whoever does not trust the source yet does this on a machine of its own.
 * Throws `release_not_reproduced` with the first difference; `enclave_input_missing` for what is not there or does not build, `enclave_input_malformed`.
 */
export async function rebuildRelease(
  statement: ReleaseStatement,
  source: SourceTree,
  inputTexts: readonly string[],
  image: BaseImage | null,
): Promise<Rebuilt> {
  same('the commit', statement.commit, await source.commit())
  const given = await Promise.all(
    inputTexts.map(async (text) => {
      const inputs = parseInputs(text)
      return { text, inputs, digest: await inputsDigest(inputs) }
    }),
  )
  const directory = await mkdtemp(join(tmpdir(), 'veritee-rebuild-'))
  const bundles = new Map<string, Promise<string>>()
  const bundleOf = (cpuVariant: string): Promise<string> => {
    const out = join(directory, `bundle-${bundles.size}`)
    const built = bundles.get(cpuVariant) ?? source.bundle(cpuVariant, out).then(() => out)
    bundles.set(cpuVariant, built)
    return built
  }
  let measured = true
  try {
    for (const [i, enclave] of statement.enclaves.entries()) {
      const own = given.find(({ digest }) => digest === enclave.inputs)
      if (own === undefined)
        throw fail(
          'release_not_reproduced',
          `${nameOf(enclave)}: expected inputs ${enclave.inputs}, found ${given.map(({ digest }) => digest).join(', ') || 'none'}`,
        )
      await compareFiles(enclave, own.inputs, await bundleOf(own.inputs.cpuVariant), image)
      const file = join(directory, `inputs-${i}.json`)
      await writeFile(file, own.text)
      const [built] = await source.measure(file, join(directory, `measurements-${i}.json`))
      measured = compareMeasured(enclave, built ?? {}) && measured
    }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
  const compared = [
    'commit',
    'inputs',
    'bundle',
    'manifest',
    ...(image === null ? [] : ['Node and files of the base image']),
    ...(measured ? ['MRENCLAVE'] : []),
  ]
  return {
    enclaves: statement.enclaves.length,
    compared,
    not_compared: [
      ...(image === null ? ['Node and files of the base image: no --root was given'] : []),
      ...(measured ? [] : ['MRENCLAVE: gramine-sgx-sign is not installed, or not of the Gramine of the image, or the makers had none']),
    ],
  }
}

const nameOf = ({ role, cpu_variant: variant, gramine, edmm }: ReleasedEnclave): string =>
  [role, variant, `Gramine ${gramine}`, edmm ? 'EDMM' : null].filter((one) => one !== null).join(', ')

function same(what: string, stated: unknown, found: unknown): void {
  if (stated !== found) throw fail('release_not_reproduced', `${what}: expected ${String(stated)}, found ${String(found)}`)
}

/** The inputs hold the files that this role has, each as it was built or as it is in the image, and no others. */
async function compareFiles(enclave: ReleasedEnclave, inputs: EnclaveInputs, bundle: string, image: BaseImage | null): Promise<void> {
  const name = nameOf(enclave)
  const listFile = join(bundle, 'bundle.json')
  const list = parseBundleList(await readFile(listFile, 'utf8'))
  const ofBundle = list.roles[enclave.role]
  if (ofBundle === undefined) throw fail('release_not_reproduced', `${name}: the source has no program of this role`)
  const ofImage = filesOfImage(inputs.gramineDirectory)
  const wanted = [...ofBundle.map((path) => `${paths.bundle}/${path}`), `${paths.bundle}/bundle.json`, paths.node, ...ofImage]
  const surplus = Object.keys(inputs.files).find((path) => !wanted.includes(path))
  if (surplus !== undefined) throw fail('release_not_reproduced', `${name}: ${surplus} is no file of this role`)
  for (const path of ofBundle) same(`${name}: ${path}`, inputs.files[`${paths.bundle}/${path}`], list.files[path])
  same(`${name}: bundle.json`, inputs.files[`${paths.bundle}/bundle.json`], await sha256Of(listFile))
  same(`${name}: the bundle`, enclave.bundle, `sha256:${inputs.files[`${paths.bundle}/bundle.json`]}`)
  if (image === null) return
  same(`${name}: ${paths.node}`, inputs.files[paths.node], await sha256Of(image.node))
  for (const path of ofImage) same(`${name}: ${path}`, inputs.files[path], await sha256Of(join(image.root, path)))
}

/** True where MRENCLAVE could be compared. */
function compareMeasured(enclave: ReleasedEnclave, built: Readonly<Record<string, unknown>>): boolean {
  for (const [member, stated] of Object.entries(enclave)) if (member !== 'mrenclave') same(`${nameOf(enclave)}: ${member}`, stated, built[member])
  if (built.mrenclave === null || enclave.mrenclave === null) return false
  same(`${nameOf(enclave)}: mrenclave`, enclave.mrenclave, built.mrenclave)
  return true
}

import { fail } from 'veritee/errors'
import { collectInputs, type EnclaveInputs, type Image, type InputOptions, inputsDigest } from './inputs.ts'
import { readDocumentedKeys } from './keys.ts'
import { lintManifest } from './lint.ts'
import { readTemplate, renderManifest } from './render.ts'

/** A manifest with what it was made of. */
export interface MadeManifest {
  readonly text: string
  readonly inputs: EnclaveInputs
  /** `sha256:` over the JCS form of the inputs. */
  readonly digest: string
}

/**
 * Makes the manifest of one role from the files of an image, and lints it: what would weaken the measurement is not given out.
 * Throws what {@link collectInputs} throws, and `enclave_manifest_weak`.
 */
export async function makeManifest(image: Image, options: InputOptions): Promise<MadeManifest> {
  const inputs = await collectInputs(image, options)
  const text = renderManifest(await readTemplate(), inputs)
  const { findings } = lintManifest(text, { documented: await readDocumentedKeys(options.gramine) })
  const [first] = findings
  if (first !== undefined) throw fail('enclave_manifest_weak', `${first.code}: ${first.key}: expected ${first.expected}, found ${first.found}`)
  return { text, inputs, digest: await inputsDigest(inputs) }
}

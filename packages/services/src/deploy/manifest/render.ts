import { readFile } from 'node:fs/promises'
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja'
import { fail } from 'veritee/errors'
import {
  allowedDirectories,
  argumentsOf,
  cpuFeatures,
  descriptors,
  environment,
  memoryMounts,
  mountedPaths,
  passthrough,
  paths,
  productIds,
} from '../layout.ts'
import { gramineSize } from '../sizing.ts'
import type { EnclaveInputs } from './inputs.ts'

/** The template in this repository. It uses of Gramine's own preprocessor what that documents: `gramine.libos` and `gramine.runtimedir()`. */
export const templateFile: URL = new URL('../../../../../deploy/gramine/enclave.manifest.template', import.meta.url)

export function readTemplate(): Promise<string> {
  return readFile(templateFile, 'utf8')
}

/** Variables of the template, as JSON holds them; `gramine` is a global of Gramine's preprocessor and not among them. */
export function templateVariables(inputs: EnclaveInputs): { readonly [name: string]: unknown } {
  const { role, gramine, sizing, isvsvn, gramineDirectory, cpuVariant, files } = inputs
  const libos = `${gramineDirectory}/libsysdb.so`
  const trusted = Object.entries(files)
    .filter(([path]) => path !== libos)
    .map(([path, sha256]) => ({ path, sha256 }))
  for (const text of [gramineDirectory, ...Object.keys(files)]) checkPath(text)
  return {
    role,
    gramine_version: gramine,
    libos_sha256: files[libos],
    node: paths.node,
    argv: argumentsOf(role, sizing.heapMegabytes),
    environment,
    passthrough: passthrough(role),
    mounted: mountedPaths(role),
    memory: memoryMounts(role),
    state: paths.state,
    descriptors: descriptors[role],
    isvprodid: productIds[role],
    isvsvn,
    max_threads: sizing.maxThreads,
    edmm: sizing.edmm,
    enclave_size: gramineSize(sizing.enclaveBytes),
    cpu_features: cpuFeatures(role, cpuVariant),
    allowed: allowedDirectories(role),
    trusted,
  }
}

/**
 * Renders the manifest of an enclave. Pure: the same inputs and template give the same bytes, and Jinja2 as Gramine's preprocessor sets it up gives them too.
 * Nothing is judged here; `lintManifest` does. Throws `enclave_input_malformed` for a path that would need quoting.
 */
export function renderManifest(template: string, inputs: EnclaveInputs): string {
  const scope = new Environment()
  for (const [name, value] of Object.entries(templateVariables(inputs))) scope.set(name, value)
  const { gramineDirectory } = inputs
  scope.set('gramine', { libos: `${gramineDirectory}/libsysdb.so`, runtimedir: () => `${gramineDirectory}/runtime/glibc` })
  // Lines and blanks around blocks stay, as in Gramine's preprocessor. This reader drops the last line's end, which that one keeps.
  return `${String(new Interpreter(scope).run(parse(tokenize(template, {}))).value)}\n`
}

function checkPath(path: string): void {
  if (!/^\/[A-Za-z0-9@._/+-]{1,400}$/.test(path) || path.split('/').includes('..'))
    throw fail('enclave_input_malformed', `expected an absolute path of letters, digits and @ . _ / + -, found ${JSON.stringify(path.slice(0, 80))}`)
}

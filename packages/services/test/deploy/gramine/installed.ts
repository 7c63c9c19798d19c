import { execFileSync } from 'node:child_process'
import { dirname } from 'node:path'
import { parse } from 'smol-toml'
import { type GramineVersion, gramineVersions } from '../../../src/deploy/layout.ts'

/** Gramine as it is found in PATH. */
export interface InstalledGramine {
  readonly version: GramineVersion
  /** What `gramine-direct --version` says, with the commit it was built from. */
  readonly said: string
  /** Directory of its LibOS, PAL and C library. */
  readonly directory: string
}

/** Gramine's tools in PATH; null where one is missing or it is another release than those that manifests are rendered for. */
export function installedGramine(): InstalledGramine | null {
  try {
    const run = (program: string, ...args: readonly string[]): string =>
      execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    const said = run('gramine-direct', '--version').trim()
    const version = gramineVersions.find((one) => said.startsWith(`Gramine ${one}`))
    run('gramine-sgx-sign', '--help')
    // Its preprocessor knows where it lies.
    const { libos } = parse(run('gramine-manifest', '--no-check', '-c', 'libos = "{{ gramine.libos }}"')) as { libos: string }
    return version === undefined ? null : { version, said, directory: dirname(libos) }
  } catch {
    return null
  }
}

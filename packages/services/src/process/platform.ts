import type { Collateral } from 'veritee/attestation'
import { parseCollateral } from 'veritee/attestation'
import { createSimPlatform, type SimEnclave } from 'veritee/attestation/sim'
import { fail } from 'veritee/errors'
import type { Role } from 'veritee/policy'
import { simulatedEnclave } from '../demo/measure.ts'
import { openGramineDevice } from '../enclave/runtime/gramine-device.ts'
import { createQuoter, type Quoter } from '../enclave/runtime/quote.ts'
import { createSimDevice } from '../enclave/runtime/sim-device.ts'
import type { Files } from './files.ts'
import { type Anchors, type Program, parseAnchors } from './program.ts'

/** The machine under a service: where quotes come from, and what belongs to them. */
export interface Platform {
  /** The one user of the quote device of this process. */
  readonly quoter: Quoter
  readonly collateral: () => Collateral
  /** What a relying party needs to know of a simulated machine; null on hardware, which it knows already. */
  readonly simulated: { readonly root: Uint8Array; readonly enclave: SimEnclave } | null
  /** Measured anchors; null in simulation, where the configuration may bring them. */
  readonly anchors: Anchors | null
  /** Takes newer collateral where there is some. */
  refresh(): Promise<void>
}

export interface PlatformOptions {
  readonly tee: 'simulate' | 'gramine'
  readonly role: Role
  readonly program: Program
  /** The file with the vendor's signed data; hardware only. */
  readonly collateral: string | null
  readonly files: Files
  readonly now: () => Date
}

/**
 * Opens the machine that the configuration names. A simulated one is made here: its root is new, its private keys stay in memory (rule S15).
 * Throws `config_invalid`, `anchors_not_measured`, `attestation_device_absent`, `file_unavailable`, `collateral_malformed`.
 */
export async function openPlatform(options: PlatformOptions): Promise<Platform> {
  const { tee, role, program, collateral: path, files, now } = options
  if (tee === 'simulate') {
    if (path !== null) throw fail('config_invalid', 'enclave.collateral: expected none, a simulated machine issues its own')
    const platform = await createSimPlatform({ at: now() })
    const enclave = simulatedEnclave(role, await program.codeDigest())
    return {
      quoter: createQuoter(createSimDevice(platform, enclave)),
      collateral: () => platform.collateral,
      simulated: { root: platform.root, enclave },
      anchors: null,
      refresh: async () => {
        await platform.refreshCollateral(now())
      },
    }
  }
  if (program.anchors === null) throw fail('anchors_not_measured', 'expected the bundle with its anchors.json; an enclave does not run from source')
  const anchors = parseAnchors(program.anchors)
  if (path === null)
    throw fail('config_invalid', "enclave.collateral: expected the file with the vendor's signed data for this machine; say --collateral")
  const quoter = createQuoter(await openGramineDevice())
  let current = parseCollateral(await files.readText(path))
  return {
    quoter,
    collateral: () => current,
    simulated: null,
    anchors,
    refresh: async () => {
      current = parseCollateral(await files.readText(path))
    },
  }
}

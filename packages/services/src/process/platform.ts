import type { Collateral } from 'veritee/attestation'
import { parseCollateral } from 'veritee/attestation'
import { createSimPlatform, type SimEnclave, type SimTd } from 'veritee/attestation/sim'
import { fail } from 'veritee/errors'
import type { Role } from 'veritee/policy'
import { simulatedEnclave, simulatedTd } from '../demo/measure.ts'
import { openTsmDevice } from '../enclave/runtime/configfs-tsm-device.ts'
import { openGramineDevice } from '../enclave/runtime/gramine-device.ts'
import { createQuoter, type Quoter } from '../enclave/runtime/quote.ts'
import { createSimDevice, createSimTdDevice } from '../enclave/runtime/sim-device.ts'
import type { Files } from './files.ts'
import { type Anchors, type Program, parseAnchors } from './program.ts'

/** The machine under a service: where quotes come from, and what belongs to them. */
export interface Platform {
  /** The one user of the quote device of this process. */
  readonly quoter: Quoter
  readonly collateral: () => Collateral
  /** What a relying party needs to know of a simulated machine; null on hardware, which it knows already. */
  readonly simulated: { readonly root: Uint8Array; readonly enclave: SimEnclave; readonly td: SimTd } | null
  readonly kind: 'sgx' | 'tdx'
  /** Measured anchors; null in simulation, where the configuration may bring them. */
  readonly anchors: Anchors | null
  /** Takes newer collateral where there is some. */
  refresh(): Promise<void>
}

/** What `enclave.tee` may say. */
export type Tee = 'simulate' | 'simulate-tdx' | 'gramine' | 'tdx'

export function isSimulated(tee: Tee): boolean {
  return tee === 'simulate' || tee === 'simulate-tdx'
}

export interface PlatformOptions {
  readonly tee: Tee
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
  const kind = tee === 'simulate-tdx' || tee === 'tdx' ? 'tdx' : 'sgx'
  if (isSimulated(tee)) {
    if (path !== null) throw fail('config_invalid', 'enclave.collateral: expected none, a simulated machine issues its own')
    const platform = await createSimPlatform({ at: now() })
    const code = await program.codeDigest()
    const enclave = simulatedEnclave(role, code)
    const td = simulatedTd(role, code)
    return {
      quoter: createQuoter(kind === 'sgx' ? createSimDevice(platform, enclave) : createSimTdDevice(platform, td)),
      collateral: () => (kind === 'sgx' ? platform.collateral : platform.tdxCollateral),
      simulated: { root: platform.root, enclave, td },
      kind,
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
  const quoter = createQuoter(await (kind === 'sgx' ? openGramineDevice() : openTsmDevice()))
  let current = parseCollateral(await files.readText(path))
  return {
    quoter,
    collateral: () => current,
    simulated: null,
    kind,
    anchors,
    refresh: async () => {
      current = parseCollateral(await files.readText(path))
    },
  }
}

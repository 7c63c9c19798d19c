import { Shape } from '../bytes/shape.ts'
import { networkName } from './manifest.ts'

/** Whose manifests are accepted. In an enclave these are measured constants (rule S13). */
export interface AdmissionTrust {
  readonly network: string
  /** Ed25519, 32 bytes lower-case hex each. */
  readonly keys: readonly string[]
  /** How many of the keys must have signed. */
  readonly threshold: number
  /** The lowest `manifest_version` accepted. */
  readonly minimumVersion: number
}

/**
 * Reads `{"network", "keys", "threshold", "minimum_version"}`: 1 to 64 distinct keys, a threshold that they can reach. `by` says with which code it refuses.
 */
export function parseAdmissionTrust(value: unknown, at: string, by: Shape = new Shape('admission_manifest_malformed')): AdmissionTrust {
  const o = by.object(value, at, ['network', 'keys', 'threshold', 'minimum_version'])
  const keys = by.array(o.keys, `${at}.keys`, 64).map((key, i) => by.hex(key, `${at}.keys[${i}]`, 32))
  if (keys.length === 0 || new Set(keys).size !== keys.length) throw by.refuse(`${at}.keys`, 'at least one key, and each once')
  const threshold = by.integer(o.threshold, `${at}.threshold`, keys.length)
  if (threshold === 0) throw by.refuse(`${at}.threshold`, `1 to ${keys.length}`)
  return {
    network: networkName(o.network, `${at}.network`, by),
    keys,
    threshold,
    minimumVersion: by.integer(o.minimum_version, `${at}.minimum_version`),
  }
}

import { randomBytes } from 'node:crypto'
import { type AdmissionTrust, signAdmissionManifest } from 'veritee/admission'
import { toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import type { Policy } from 'veritee/policy'
import { flooredClock } from '../enclave/runtime/admission/clock.ts'
import { ManifestRules } from '../enclave/runtime/admission/rules.ts'
import type { SimulatedMachine } from './system.ts'

/** Who may take part in the demo's network, as three people say who exist for this run only; two of them have signed. */
export interface DemoAdmission {
  readonly text: string
  readonly anchors: AdmissionTrust
  /** For one service: each has a clock, and a floor of versions, of its own. */
  rules(): Promise<ManifestRules>
}

const network = 'veritee-demo'
const lifeSeconds = 30 * 86_400

/** Signs an admission manifest (spec/admission-manifest.md) with the sections of `policy`, and keeps nothing of the signers but their public keys. */
export async function signDemoAdmission({ trust }: SimulatedMachine, { roles }: Policy, now: () => Date): Promise<DemoAdmission> {
  const signers = await Promise.all([1, 2, 3].map(() => generateEd25519()))
  const issued = Math.floor(now().getTime() / 1000)
  const platforms = { salt: toHex(new Uint8Array(randomBytes(32))), allow: 'any', deny: [], shared: [] }
  let text = JSON.stringify({
    version: 'veritee.admission-manifest.v1',
    network,
    manifest_version: 1,
    issued,
    expires: issued + lifeSeconds,
    roles,
    platforms,
    signatures: [],
  })
  for (const signer of signers.slice(0, 2)) text = await signAdmissionManifest(text, signer)
  const anchors = { network, keys: signers.map(({ publicKey }) => toHex(publicKey)), threshold: 2, minimumVersion: 1 }
  return { text, anchors, rules: () => ManifestRules.open(text, { anchors, trust: async () => trust, clock: flooredClock(now) }) }
}

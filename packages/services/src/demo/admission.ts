import { randomBytes } from 'node:crypto'
import { type AdmissionTrust, parseAdmissionManifest, platformId, signAdmissionManifest } from 'veritee/admission'
import { verifyQuote } from 'veritee/attestation'
import { toHex } from 'veritee/bytes'
import { generateEd25519, type SigningKey } from 'veritee/crypto'
import type { Policy } from 'veritee/policy'
import { flooredClock } from '../enclave/runtime/admission/clock.ts'
import { ManifestRules } from '../enclave/runtime/admission/rules.ts'
import type { SimulatedMachine } from './system.ts'

/** Who may take part in the demo's network, as three people say who exist for this run only; two of them have signed. */
export interface DemoAdmission {
  readonly text: string
  readonly anchors: AdmissionTrust
  /** Of the manifest. */
  readonly digest: string
  /** Under which machines have their names in this network, and those that several operators may share: this machine, of which there is one. */
  readonly salt: string
  readonly shared: readonly string[]
  /** The two that sign; they sign the parameters of scoring too. */
  readonly signers: readonly SigningKey[]
  /** For one service: each has a clock, and a floor of versions, of its own. */
  rules(): Promise<ManifestRules>
}

const network = 'veritee-demo'
const lifeSeconds = 30 * 86_400

/** Signs an admission manifest (spec/admission-manifest.md) with the sections of `policy`, and keeps nothing of the signers but their public keys. */
export async function signDemoAdmission(machine: SimulatedMachine, { roles }: Policy, now: () => Date): Promise<DemoAdmission> {
  const { trust } = machine
  const signers = await Promise.all([1, 2, 3].map(() => generateEd25519()))
  const issued = Math.floor(now().getTime() / 1000)
  const salt = toHex(new Uint8Array(randomBytes(32)))
  const shared = [await platformName(machine, salt, now())]
  const platforms = { salt, allow: 'any', deny: [], shared }
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
  const signing = signers.slice(0, 2)
  for (const signer of signing) text = await signAdmissionManifest(text, signer)
  const anchors = { network, keys: signers.map(({ publicKey }) => toHex(publicKey)), threshold: 2, minimumVersion: 1 }
  const { digest } = await parseAdmissionManifest(text)
  return {
    text,
    anchors,
    digest,
    salt,
    shared,
    signers: signing,
    rules: () => ManifestRules.open(text, { anchors, trust: async () => trust, clock: flooredClock(now) }),
  }
}

/** How the network names this machine. */
async function platformName({ platform, enclaves, trust }: SimulatedMachine, salt: string, at: Date): Promise<string> {
  const { claims } = await verifyQuote(await platform.quote(enclaves.worker, new Uint8Array(64)), platform.collateral, trust, at)
  return platformId(salt, claims.platform)
}

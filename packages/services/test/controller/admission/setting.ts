import { getRequestListener } from '@hono/node-server'
import { type AdmissionTrust, signAdmissionManifest } from 'veritee/admission'
import { createSimPlatform, type SimEnclave, type SimPlatform } from 'veritee/attestation/sim'
import { toHex } from 'veritee/bytes'
import { generateEd25519, type SigningKey } from 'veritee/crypto'
import type { EvidencePolicy } from 'veritee/policy'
import { RegistrationNonces } from '../../../src/controller/admission/nonces.ts'
import { createControlRoutes } from '../../../src/controller/control-routes.ts'
import { Registry, type RegistryOptions } from '../../../src/controller/registry.ts'
import { controllerPolicy, workerPolicy } from '../../../src/demo/policy.ts'
import { flooredClock } from '../../../src/enclave/runtime/admission/clock.ts'
import { ManifestRules } from '../../../src/enclave/runtime/admission/rules.ts'
import { createQuoter } from '../../../src/enclave/runtime/quote.ts'
import { createSimDevice } from '../../../src/enclave/runtime/sim-device.ts'
import type { VerifiedControllers } from '../../../src/enclave/worker/controllers.ts'
import { createWorker, type Worker } from '../../../src/enclave/worker/worker.ts'
import { type Listening, listen } from '../../../src/http/listen.ts'
import { RateLimit } from '../../../src/http/rate-limit.ts'

/** A network under a manifest of two of three signers, on one simulated machine, with workers that have no models. */

export const enclaves = {
  worker: { mrenclave: 'a1'.repeat(32), mrsigner: 'b2'.repeat(32), isvProdId: 2, isvSvn: 3 },
  controller: { mrenclave: 'c1'.repeat(32), mrsigner: 'b2'.repeat(32), isvProdId: 1, isvSvn: 3 },
} as const satisfies { readonly [role: string]: SimEnclave }

export const network = 'test'
export const salt = '05'.repeat(32)

export interface ManifestChanges {
  readonly version?: number
  /** Seconds from now. */
  readonly from?: number
  readonly to?: number
  readonly worker?: Partial<EvidencePolicy>
  readonly controller?: Partial<EvidencePolicy>
  readonly platforms?: object
  /** How many of the signers sign. */
  readonly signers?: number
}

export interface Setting {
  readonly platform: SimPlatform
  readonly anchors: AdmissionTrust
  readonly keys: readonly SigningKey[]
  /** Seconds that the clock of everybody is ahead. */
  ahead: number
  readonly now: () => Date
  manifest(changes?: ManifestChanges): Promise<string>
  rules(changes?: ManifestChanges): Promise<ManifestRules>
  registry(rules: ManifestRules, options?: Partial<RegistryOptions>): Registry
  worker(options?: WorkerChanges): Promise<RunningWorker>
  /** The control port of a controller. */
  control(registry: Registry, digest?: string): Promise<Control>
  close(): Promise<void>
}

export interface Control {
  readonly url: string
  /** As the control port names it; tests change it. */
  digest: string
}

export interface WorkerChanges {
  readonly operator?: SigningKey
  readonly callers?: VerifiedControllers | 'anybody'
  readonly enclave?: SimEnclave
  readonly platform?: SimPlatform
  /** Release statements that it shows. */
  readonly releases?: () => string
}

export interface RunningWorker {
  readonly worker: Worker
  readonly server: Listening
  readonly digest: string
}

export async function openSetting(): Promise<Setting> {
  const platform = await createSimPlatform({ at: new Date() })
  const keys = await Promise.all([1, 2, 3].map(() => generateEd25519()))
  const closing: (() => Promise<unknown>)[] = []
  const setting: Setting = {
    platform,
    keys,
    anchors: { network, keys: keys.map((key) => toHex(key.publicKey)), threshold: 2, minimumVersion: 1 },
    ahead: 0,
    now: () => new Date(Date.now() + setting.ahead * 1000),
    manifest: async (changes = {}) => {
      const { version = 1, from = -60, to = 86_400, signers = 2 } = changes
      const seconds = Math.floor(setting.now().getTime() / 1000)
      const document = {
        version: 'veritee.admission-manifest.v1',
        network,
        manifest_version: version,
        issued: seconds + from,
        expires: seconds + to,
        roles: {
          worker: { ...workerPolicy(enclaves.worker, {}), models: 'any', ...changes.worker },
          controller: { ...controllerPolicy(enclaves.controller, 'attested'), ...changes.controller },
        },
        platforms: { salt, allow: 'any', deny: [], shared: [], ...changes.platforms },
        signatures: [],
      }
      let text = JSON.stringify(document)
      for (const key of keys.slice(0, signers)) text = await signAdmissionManifest(text, key)
      return text
    },
    rules: async (changes) =>
      ManifestRules.open(await setting.manifest(changes), {
        anchors: setting.anchors,
        trust: async () => ({ roots: [platform.root] }),
        clock: flooredClock(setting.now),
      }),
    registry: (rules, options = {}) => {
      const registry = new Registry({ rules, now: setting.now, allowLoopback: true, ...options })
      closing.push(() => registry.close())
      return registry
    },
    control: async (registry, digest = `sha256:${'cc'.repeat(32)}`) => {
      const control = { url: '', digest }
      const deps = {
        registry,
        registerLimit: new RateLimit({ perSecond: 1000, burst: 1000, now: setting.now }),
        nonces: new RegistrationNonces(setting.now),
        keysetDigest: () => control.digest,
        attestation: {
          identity: () => {
            throw new TypeError('nobody asks')
          },
          quoteLimit: new RateLimit({ perSecond: 1000, burst: 1000, now: setting.now }),
        },
        now: setting.now,
      }
      const bind = { host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }
      const server = await listen(bind, getRequestListener(createControlRoutes(deps).fetch))
      closing.push(() => server.close())
      return Object.assign(control, { url: server.url })
    },
    worker: async ({ enclave = enclaves.worker, platform: on = platform, operator, callers = 'anybody', releases } = {}) => {
      const worker = await createWorker({
        quoter: createQuoter(createSimDevice(on, enclave)),
        collateral: () => on.collateral,
        models: [],
        configuration: {},
        now: setting.now,
        callers,
        ...(operator !== undefined && { operator }),
        ...(releases !== undefined && { releases }),
      })
      const bind = { host: '127.0.0.1', port: 0, tls: worker.identity.tls, simulated: true, apiKeys: false, asksClientKey: true }
      const server = await listen(bind, worker.handler, worker.keysetDigestOf)
      closing.push(
        () => worker.close(),
        () => server.close(),
      )
      return { worker, server, digest: worker.identity.keysetDigest }
    },
    close: async () => {
      for (const stop of closing.splice(0).reverse()) await stop()
    },
  }
  return setting
}

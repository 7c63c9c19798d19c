import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { formatCollateral, intelSgxRootCa } from 'veritee/attestation'
import { createSimPlatform, type SimEnclave, type SimPlatform } from 'veritee/attestation/sim'
import { connect, nodeTransport } from 'veritee/client'
import type { Policy } from 'veritee/policy'
import { brokerPolicy, demoPolicy } from '../../../src/demo/policy.ts'
import { paths, productIds } from '../../../src/deploy/layout.ts'
import type { Image } from '../../../src/deploy/manifest/inputs.ts'
import { makeManifest } from '../../../src/deploy/manifest/make.ts'
import { sizeEnclave } from '../../../src/deploy/sizing.ts'
import { demoPath, demoSha256 } from '../../engine/demo.ts'
import { configurations, put } from '../as-manifest.ts'
import { hostOf, imageOfGramine, type Started, standIns, startDirect } from './direct.ts'
import type { InstalledGramine } from './installed.ts'
import { leaseQuotes } from './leased-quotes.ts'

export type Bundled = 'worker' | 'controller' | 'broker'

/** What an enclave of a role says of itself where a simulator makes its quotes. */
const enclave = (role: Bundled): SimEnclave => ({
  mrenclave: createHash('sha256').update(role).digest('hex'),
  mrsigner: '11'.repeat(32),
  isvProdId: productIds[role],
  isvSvn: 1,
})
const policy: Policy = demoPolicy({ controller: enclave('controller'), worker: enclave('worker') }, { 'veritee-demo': [`sha256:${demoSha256}`] })

type Use = (started: Started, root: string) => Promise<void>

/** A bundle of this source, an image with it and with the Gramine that is installed, and a simulated machine for quotes. */
export class Ground {
  readonly #directory: string
  readonly #gramine: InstalledGramine
  readonly image: Image
  readonly platform: SimPlatform

  private constructor(directory: string, gramine: InstalledGramine, image: Image, platform: SimPlatform) {
    this.#directory = directory
    this.#gramine = gramine
    this.image = image
    this.platform = platform
  }

  /** In an empty directory. `x64` is the one variant of the engine that runs on every machine. */
  static async make(directory: string, gramine: InstalledGramine, cpuVariant = 'x64'): Promise<Ground> {
    const anchors = join(directory, 'anchors.json')
    const accepted = { version: policy.version, roles: { worker: policy.roles.worker } }
    await writeFile(
      anchors,
      JSON.stringify({ version: 'veritee.anchors.v1', publishers: [], minimum_version: 0, policy: accepted, models: [[demoSha256]] }),
    )
    const bundle = join(directory, 'bundle')
    const builder = fileURLToPath(new URL('../../../../../tools/bundle.ts', import.meta.url))
    await promisify(execFile)(process.execPath, [builder, '--out', bundle, '--cpu-variant', cpuVariant, '--anchors', anchors])
    const image = await imageOfGramine(join(directory, 'image'), bundle, gramine)
    return new Ground(directory, gramine, image, await createSimPlatform({ at: new Date() }))
  }

  /** The manifest of a role, as it is rendered for an image. */
  async rendered(role: Bundled, image = this.image): Promise<string> {
    const sizing = sizeEnclave(role, { weights: 0, context: 0, threads: 1 }, false)
    return (await makeManifest(image, { role, gramine: this.#gramine.version, sizing, isvsvn: 1 })).text
  }

  /** Starts a manifest under `gramine-direct`; `use` gets its process, which is ended afterwards, and the file system of its host, `before` that one first. */
  async under(name: string, role: Bundled, manifest: string, use: Use, before: (root: string) => Promise<void> = async () => {}): Promise<void> {
    const root = join(this.#directory, name)
    await hostOf(manifest, this.image, this.#gramine, root)
    await this.configure(role, root)
    await before(root)
    const quotes = await this.quotes(role, join(root, standIns))
    const started = startDirect(root)
    try {
      await use(started, root)
    } finally {
      await started.stop()
      await quotes.stop()
    }
  }

  /** The stand-in for the quote device of a role. */
  quotes(role: Bundled, directory: string): ReturnType<typeof leaseQuotes> {
    return leaseQuotes(directory, this.platform, enclave(role))
  }

  /** What a host hands a role. */
  async configure(role: Bundled, root: string): Promise<void> {
    await put(join(root, paths.configuration, 'config.json'), JSON.stringify(configurations[role]))
    await put(join(root, paths.configuration, 'collateral.json'), formatCollateral(this.platform.collateral))
    if (role !== 'worker') return
    await mkdir(join(root, paths.models), { recursive: true })
    await copyFile(demoPath, join(root, paths.models, 'veritee-demo.gguf'))
  }

  /** Verifies the report of a role; throws where it is not accepted. */
  verified(url: string, role: Bundled): Promise<Awaited<ReturnType<typeof connect>>> {
    const trust = { roots: [intelSgxRootCa, this.platform.root] as const }
    const accepted = role === 'broker' ? brokerPolicy(enclave('broker')) : policy
    return connect(nodeTransport(url), { policy: accepted, trust, role, now: () => new Date() })
  }
}

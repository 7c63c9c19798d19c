import { fail } from 'veritee/errors'
import { servedReleasesText } from 'veritee/release'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createMakers, enclaveOf, type Makers } from '../../../../veritee/test/release/makers.ts'
import { type Controller, createController } from '../../../src/controller/controller.ts'
import { pinnedPool } from '../../../src/controller/pinned-pool.ts'
import type { AdmittedWorker } from '../../../src/controller/registry.ts'
import { flooredClock } from '../../../src/enclave/runtime/admission/clock.ts'
import { keptReleases } from '../../../src/enclave/runtime/admission/kept-releases.ts'
import { PeerReleases } from '../../../src/enclave/runtime/admission/releases.ts'
import type { ManifestRules } from '../../../src/enclave/runtime/admission/rules.ts'
import { createQuoter } from '../../../src/enclave/runtime/quote.ts'
import { ReceiptArchive } from '../../../src/enclave/runtime/receipts/archive.ts'
import { createSimDevice } from '../../../src/enclave/runtime/sim-device.ts'
import { VerifiedControllers } from '../../../src/enclave/worker/controllers.ts'
import { registerWorker } from '../../../src/enclave/worker/register.ts'
import { listen } from '../../../src/http/listen.ts'
import { release } from '../../../src/release.ts'
import { enclaves, openSetting, type Setting } from './setting.ts'

/** Manifests that name makers of releases in the place of measurements: their statements come from the operator of the verifier, or from whom it verifies. */

let setting: Setting
let makers: Makers
const closing: (() => unknown)[] = []
beforeEach(async () => {
  setting = await openSetting()
  makers = await createMakers(seconds() - 60)
})
afterEach(async () => {
  for (const stop of closing.splice(0).reverse()) await stop()
  await setting.close()
})
const seconds = (): number => Math.floor(setting.now().getTime() / 1000)

type Changes = NonNullable<Parameters<Makers['statement']>[0]>
const of = (role: 'worker' | 'controller', changes: object = {}) => {
  const { mrenclave, isvProdId, isvSvn } = enclaves[role]
  return enclaveOf({ role, mrenclave, cpu_variant: null, isv_prod_id: isvProdId, isv_svn: isvSvn, ...changes })
}
const statement = (changes: Changes = {}, signers = 2): Promise<string> =>
  makers.statement({ release: release.version, enclaves: [of('worker'), of('controller')], ...changes }, signers)
const shown = async (...statements: string[]): Promise<() => string> => {
  const text = await servedReleasesText(statements.map((one) => ({ statement: one, proof: null })))
  return () => text
}
const demand = () => ({ identity: 'released', release: makers.demand }) as const
const rulesOf = (version = 1): Promise<ManifestRules> => setting.rules({ version, worker: demand(), controller: demand() })
const given = async (rules: ManifestRules, ...statements: string[]): Promise<void> =>
  rules.takeReleases(statements.map((one) => ({ statement: one, proof: null })))
async function admitted(rules: ManifestRules, releases?: () => string): Promise<AdmittedWorker> {
  const { server, digest } = await setting.worker(releases === undefined ? {} : { releases })
  return setting.registry(rules).admit(server.url, digest)
}

describe('S25: a controller admits what a release statement names', () => {
  it('of its operator, whatever the worker shows', async () => {
    const rules = await rulesOf()
    await given(rules, await statement())
    await expect(admitted(rules, () => 'no list')).resolves.toMatchObject({ quarantine: null })
  })

  it('that the worker shows, where the operator gave none; the session ends with it', async () => {
    const rules = await rulesOf()
    const end = seconds() + 100
    const worker = await admitted(rules, await shown(await statement({ issued: end - makers.demand.maxReleaseAge })))
    expect(worker.session.document.expires_at).toBe(end)
    expect(worker.session.document.claims.serving_software_known_good).toMatchObject({
      reason: 'the measurement is one that a release statement names',
    })
  })

  it('a list of measurements in the manifest is demanded beside it', async () => {
    const rules = await setting.rules({ worker: { release: makers.demand, identity: [{ mrenclave: '00'.repeat(32) }] } })
    await expect(admitted(rules, await shown(await statement()))).rejects.toMatchObject({ code: 'policy_identity' })
  })

  const hostile: readonly (readonly [string, string, () => Promise<string>])[] = [
    ['too few signatures', 'release_signatures_missing', () => statement({}, 1)],
    ['makers that the manifest does not name', 'release_signatures_missing', async () => (await createMakers(seconds())).statement()],
    ['one that was changed', 'release_signature_invalid', async () => (await statement()).replace('"sequence":7', '"sequence":8')],
    ['an expired one', 'release_expired', () => statement({ issued: seconds() - makers.demand.maxReleaseAge - 1 })],
    ['one of the future', 'release_expired', () => statement({ issued: seconds() + 3600 })],
    ['an older one than was seen', 'release_rolled_back', () => statement({ sequence: 5 })],
    ['another product', 'policy_release', () => statement({ product: 'other' })],
    ['the measurement under another role', 'release_measurement_unknown', () => statement({ enclaves: [of('worker', { role: 'broker' })] })],
    ['another measurement', 'release_measurement_unknown', () => statement({ enclaves: [of('worker', { mrenclave: 'a2'.repeat(32) })] })],
    ['another release than the descriptor names', 'release_measurement_unknown', () => statement({ release: '9.9.9' })],
    ['a withdrawn release', 'release_withdrawn', () => statement({ withdrawn: [release.version] })],
    ['a security version below the floor', 'release_svn', () => statement({ svn_floor: { worker: 4 } })],
  ]
  it.each(hostile)('%s: %s', async (_, code, make) => {
    const archive = ReceiptArchive.inMemory()
    const seen = new PeerReleases({ now: setting.now })
    seen.held.remember(await keptReleases(archive.authority, () => undefined))
    const before = await rulesOf()
    await seen.give([{ statement: await statement({ sequence: 6 }), proof: null }], await bare(before))
    const shows = async (): Promise<ManifestRules> => {
      const rules = await rulesOf()
      rules.releases.held.remember(await keptReleases(archive.authority, () => undefined))
      return rules
    }
    // Made once: a second later it would be another of the same number.
    const made = await make()
    await expect(admitted(await shows(), await shown(made))).rejects.toMatchObject({ code })
    // The same from the operator: refused when it is given, or with each worker.
    const rules = await shows()
    const refused = await given(rules, made).catch((error: unknown) => error)
    if (refused === undefined) await expect(admitted(rules)).rejects.toMatchObject({ code })
    else expect(refused).toMatchObject({ code })
  })

  it('a list that is none, and one that is longer than is read', async () => {
    await expect(admitted(await rulesOf(), () => '{}')).rejects.toMatchObject({ code: 'release_statement_malformed' })
    await expect(admitted(await rulesOf(), () => 'x'.repeat((1 << 20) + 1))).rejects.toMatchObject({ code: 'response_too_large' })
    await expect(admitted(await rulesOf())).rejects.toMatchObject({ code: 'policy_release' })
  })
})

/** The sections of the manifest, without statements. */
async function bare(rules: ManifestRules) {
  return (await rules.current()).asking
}

describe('S25: statements while a controller runs', () => {
  it('a newer one that withdraws the release sets those aside who were admitted; the operator and other workers bring it alike', async () => {
    for (const bring of ['operator', 'worker']) {
      const rules = await rulesOf()
      const registry = setting.registry(rules)
      const first = await shown(await statement())
      const { server, digest } = await setting.worker({ releases: first })
      if (bring === 'operator') await given(rules, await statement())
      const worker = await registry.admit(server.url, digest)
      const newer = await statement({ sequence: 8, withdrawn: [release.version] })
      if (bring === 'operator') await given(rules, newer)
      else {
        const other = await setting.worker({ releases: await shown(newer) })
        await expect(registry.admit(other.server.url, other.digest)).rejects.toMatchObject({ code: 'release_withdrawn' })
      }
      await expect.poll(() => worker.quarantine).toMatch(/^release_withdrawn/)
      // Nor does it come back by showing the older one alone.
      await expect(registry.admit(server.url, digest)).rejects.toMatchObject({ code: 'release_withdrawn' })
    }
  })

  it('an operator cannot go back, and what he gave before stays in use', async () => {
    const rules = await rulesOf()
    await given(rules, await statement({ sequence: 8 }))
    await expect(given(rules, await statement({ sequence: 7 }))).rejects.toMatchObject({ code: 'release_rolled_back' })
    await expect(admitted(rules)).resolves.toMatchObject({ quarantine: null })
  })

  it('while versions are exchanged, a worker that shows the older statement is good beside one that showed the newer', async () => {
    const rules = await rulesOf()
    const registry = setting.registry(rules)
    const next = { ...enclaves.worker, mrenclave: 'a2'.repeat(32) }
    const newer = await statement({ sequence: 8, enclaves: [of('worker', { mrenclave: next.mrenclave })] })
    const [one, two] = [
      await setting.worker({ enclave: next, releases: await shown(newer) }),
      await setting.worker({ releases: await shown(await statement()) }),
    ]
    await registry.admit(one.server.url, one.digest)
    await registry.admit(two.server.url, two.digest)
    expect(registry.serving()).toHaveLength(2)
  })

  it('S11: their time is a floor of the clock, and one of the future is none', async () => {
    const clock = flooredClock(setting.now)
    const releases = new PeerReleases(clock)
    const policy = await bare(await rulesOf())
    await releases.give([{ statement: await statement({ issued: seconds() + 3600 }), proof: null }], policy)
    await releases.judging(policy)
    expect(clock.floor().getTime()).toBe(0)
    await releases.give([{ statement: await statement({ issued: seconds() - 10 }), proof: null }], policy)
    await releases.judging(policy)
    setting.ahead = -365 * 86_400
    expect(clock.now().getTime() / 1000).toBeGreaterThan(Date.now() / 1000 - 60)
  })
})

describe('S25: a worker serves controllers that a release statement names', () => {
  async function controller(releases?: () => string): Promise<{ readonly url: string; readonly tls: Controller['identity']['tls'] }> {
    const one = await createController({
      quoter: createQuoter(createSimDevice(setting.platform, enclaves.controller)),
      collateral: () => setting.platform.collateral,
      rules: await setting.rules(),
      allowLoopbackWorkers: true,
      configuration: {},
      now: setting.now,
      ...(releases !== undefined && { releases }),
    })
    const control = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }, one.control)
    closing.push(
      () => one.close(),
      () => control.close(),
    )
    return { url: control.url, tls: one.identity.tls }
  }
  const registering = async (rules: ManifestRules, { url }: { readonly url: string }): Promise<unknown> => {
    const { worker, server } = await setting.worker({ callers: new VerifiedControllers(rules, setting.now) })
    return registerWorker(url, server.url, worker)
  }

  it('shown at its control port, or given to the worker', async () => {
    await expect(registering(await rulesOf(), await controller(await shown(await statement())))).resolves.toBeDefined()
    const rules = await rulesOf()
    await given(rules, await statement())
    await expect(registering(rules, await controller())).resolves.toBeDefined()
  })

  it.each<readonly [string, string, () => Promise<string>]>([
    ['too few signatures', 'release_signatures_missing', () => statement({}, 1)],
    ['one that was changed', 'release_signature_invalid', async () => (await statement()).replace('"sequence":7', '"sequence":8')],
    ['an expired one', 'release_expired', () => statement({ issued: seconds() - makers.demand.maxReleaseAge - 1 })],
    ['the measurement under another role', 'release_measurement_unknown', () => statement({ enclaves: [of('controller', { role: 'worker' })] })],
    ['another product', 'policy_release', () => statement({ product: 'other' })],
    ['a withdrawn release', 'release_withdrawn', () => statement({ withdrawn: [release.version] })],
  ])('%s: %s, before the worker says anything of itself', async (_, code, make) => {
    await expect(registering(await rulesOf(), await controller(await shown(await make())))).rejects.toMatchObject({ code })
  })

  it('one that it knows already is served no more once a newer statement withdraws it', async () => {
    const rules = await rulesOf()
    await given(rules, await statement())
    const { worker, server } = await setting.worker({ callers: new VerifiedControllers(rules, setting.now) })
    const { url, tls } = await controller()
    await registerWorker(url, server.url, worker)
    const spki = worker.identity.keyset.tls_public_keys[0]?.spki_sha256 ?? ''
    const asked = async (): Promise<number> => {
      const pool = pinnedPool(server.url, spki, 1, tls)
      try {
        const answer = await pool.request({ method: 'POST', path: '/v1/chat/completions', body: '{"model":"none"}' })
        await answer.body.dump()
        return answer.statusCode
      } finally {
        await pool.destroy()
      }
    }
    // It has no models; who is not verified does not learn that.
    expect(await asked()).not.toBe(403)
    await given(rules, await statement({ sequence: 8, withdrawn: [release.version] }))
    await expect.poll(asked).toBe(403)
  })
})

describe('S25: what was seen is kept in the store', () => {
  it('with a MAC (rule S3): rows of others and rows that were put back are none', async () => {
    const archive = ReceiptArchive.inMemory()
    const memory = await keptReleases(archive.authority, () => undefined)
    const name = `sha256:${'ab'.repeat(32)}`
    const digest = `sha256:${'cd'.repeat(32)}`
    await memory.put(name, { sequence: 7, digest })
    await memory.put(name, { sequence: 6, digest })
    const next = await keptReleases(archive.authority, () => undefined)
    expect([await next.get(name), await next.get(digest)]).toEqual([{ sequence: 7, digest }, null])
    const stranger = await keptReleases(ReceiptArchive.inMemory().authority, () => undefined)
    expect(await stranger.get(name)).toBeNull()
  })

  it('unless it takes nothing: then the operator is told, without what was seen, and nobody who asks is refused', async () => {
    const { authority } = ReceiptArchive.inMemory()
    const told: string[] = []
    const memory = await keptReleases(authority, (line) => told.push(line))
    authority.raise = () => Promise.reject(fail('receipt_store_unavailable', 'the disk is full'))
    const [name, digest] = [`sha256:${'ab'.repeat(32)}`, `sha256:${'cd'.repeat(32)}`]
    await memory.put(name, { sequence: 7, digest })
    expect(told).toEqual([expect.stringContaining('not kept (receipt_store_unavailable)')])
    expect(told.join()).not.toContain('cdcd')
    // What is no outage is a mistake of ours.
    authority.raise = () => Promise.reject(new TypeError('a mistake'))
    await expect(memory.put(name, { sequence: 8, digest })).rejects.toThrow(TypeError)
  })
})

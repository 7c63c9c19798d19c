import { platformId } from 'veritee/admission'
import { parseQuote, verifyQuote } from 'veritee/attestation'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { AdmittedWorker } from '../../../src/controller/registry.ts'
import type { ManifestRules } from '../../../src/enclave/runtime/admission/rules.ts'
import { followManifest } from '../../../src/process/manifest-file.ts'
import { enclaves, openSetting, type Setting, salt } from './setting.ts'

let setting: Setting
beforeEach(async () => {
  setting = await openSetting()
})
afterEach(() => setting.close())

const bySigner = (minIsvSvn: number) => ({ identity: [{ mrsigner: enclaves.worker.mrsigner, isvProdId: 2, minIsvSvn }] })

/** The name of the simulated machine in the network. */
async function machine(): Promise<string> {
  const quote = parseQuote(await setting.platform.quote(enclaves.worker, new Uint8Array(64)))
  const { claims } = await verifyQuote(quote, setting.platform.collateral, { roots: [setting.platform.root] }, setting.now())
  return platformId(salt, claims.platform)
}

describe('S13: a controller admits whom the manifest lists', () => {
  it('a worker that is listed, until the manifest ends at the latest', async () => {
    const rules = await setting.rules({ to: 600 })
    const registry = setting.registry(rules)
    const { server, digest } = await setting.worker()
    const admitted = await registry.admit(server.url, digest)
    expect(admitted.session.document.expires_at).toBe(rules.manifest.manifest.expires)
    expect(admitted.party).toEqual({ operator: null, operatorId: null, platform: await machine(), shared: false })
    expect(rules.described).toEqual({ version: 1, digest: rules.manifest.digest, keys: setting.anchors.keys })
  })

  it('S21: nobody under a policy that names a log, which admission cannot check', async () => {
    const rules = await setting.rules({ worker: { log: { origin: 'o', key: 'k', witnesses: ['w'], quorum: 1 } } })
    const { server, digest } = await setting.worker()
    await expect(setting.registry(rules).admit(server.url, digest)).rejects.toMatchObject({ code: 'policy_unsupported' })
  })

  it('measurement off the list', async () => {
    const registry = setting.registry(await setting.rules())
    const { server, digest } = await setting.worker({ enclave: { ...enclaves.worker, mrenclave: 'a2'.repeat(32) } })
    await expect(registry.admit(server.url, digest)).rejects.toMatchObject({ code: 'policy_identity' })
    expect(registry.all()).toEqual([])
  })

  it('SVN rollback: a release of the listed signer below its floor', async () => {
    const registry = setting.registry(await setting.rules({ worker: bySigner(3) }))
    const { server, digest } = await setting.worker()
    await expect(registry.admit(server.url, digest)).resolves.toMatchObject({ quarantine: null })
    const old = await setting.worker({ enclave: { ...enclaves.worker, mrenclave: 'a0'.repeat(32), isvSvn: 2 } })
    await expect(registry.admit(old.server.url, old.digest)).rejects.toMatchObject({ code: 'policy_identity' })
  })

  it('a manifest with too few signatures', async () => {
    await expect(setting.rules({ signers: 1 })).rejects.toMatchObject({ code: 'admission_manifest_signatures_missing' })
    const rules = await setting.rules()
    await expect(rules.offer(await setting.manifest({ version: 2, signers: 1 }))).rejects.toMatchObject({
      code: 'admission_manifest_signatures_missing',
    })
    expect(rules.described.version).toBe(1)
  })

  it('S17: a machine that is denied, or not listed', async () => {
    const { server, digest } = await setting.worker()
    for (const platforms of [{ deny: [await machine()] }, { allow: ['00'.repeat(32)] }])
      await expect(setting.registry(await setting.rules({ platforms })).admit(server.url, digest)).rejects.toMatchObject({
        code: 'admission_platform',
      })
    await expect(setting.registry(await setting.rules({ platforms: { allow: [await machine()] } })).admit(server.url, digest)).resolves.toBeDefined()
  })

  it('S17: an operator is demanded where the manifest lists some', async () => {
    const registry = setting.registry(await setting.rules({ worker: { operator: ['33'.repeat(32)] } }))
    const { server, digest } = await setting.worker()
    await expect(registry.admit(server.url, digest)).rejects.toMatchObject({ code: 'policy_operator' })
  })

  it('S15: a production manifest refuses simulated peers, although this controller is simulated', async () => {
    const registry = setting.registry(await setting.rules({ worker: { simulated: 'refuse' }, controller: { simulated: 'refuse' } }))
    const { server, digest } = await setting.worker()
    await expect(registry.admit(server.url, digest)).rejects.toMatchObject({ code: 'policy_simulated' })
  })
})

describe('S11: manifests while a controller runs', () => {
  let rules: ManifestRules
  let admitted: AdmittedWorker
  let registry: ReturnType<Setting['registry']>
  beforeEach(async () => {
    rules = await setting.rules({ version: 5, to: 600 })
    registry = setting.registry(rules)
    const { server, digest } = await setting.worker()
    admitted = await registry.admit(server.url, digest)
  })

  it('an expired manifest: nobody is admitted, sessions end, and a clock set back does not bring it back once a newer one was seen', async () => {
    const { server, digest } = await setting.worker()
    setting.ahead = 601
    await expect(registry.admit(server.url, digest)).rejects.toMatchObject({ code: 'admission_manifest_expired' })
    expect(registry.routing.serving('any')).toEqual([])
    await registry.judgeAgain()
    expect(admitted.quarantine).toMatch(/^admission_manifest_expired/)
    expect(rules.reason).toContain('ended')
    await rules.offer(await setting.manifest({ version: 6, from: 0, to: 60 }))
    const again = await registry.admit(server.url, digest)
    expect(again.quarantine).toBeNull()
    setting.ahead = -365 * 86_400
    // The floor of the clock is the time at which the newest manifest was signed.
    await expect(rules.current()).resolves.toMatchObject({ manifest: { manifest: { manifest_version: 6 } } })
    await expect(rules.offer(await setting.manifest({ version: 7, to: 3600 }))).rejects.toMatchObject({ code: 'admission_manifest_expired' })
    setting.ahead = 365 * 86_400
    await expect(rules.current()).rejects.toMatchObject({ code: 'admission_manifest_expired' })
  })

  it('an older one, and another one of the same version', async () => {
    for (const changes of [{ version: 4 }, { version: 5, to: 601 }])
      await expect(rules.offer(await setting.manifest(changes))).rejects.toMatchObject({ code: 'admission_manifest_rolled_back' })
    expect(await rules.offer(await setting.manifest({ version: 6 }))).toBe(true)
    expect(rules.described.version).toBe(6)
  })

  it('a newer one that no longer lists the worker quarantines it with the reason; listed again, it comes back with a challenge', async () => {
    await rules.offer(await setting.manifest({ version: 6, worker: bySigner(4) }))
    await registry.judgeAgain()
    expect(admitted.quarantine).toMatch(/^policy_identity: /)
    expect(registry.counts).toEqual({ serving: 0, quarantined: 1 })
    await rules.offer(await setting.manifest({ version: 7 }))
    await registry.judgeAgain()
    expect(admitted.quarantine).not.toBeNull()
    expect((await registry.admit(admitted.origin, admitted.service.report.keysetDigest)).quarantine).toBeNull()
  })

  it('one that comes while a worker is being admitted holds for that worker too', async () => {
    const slow = await setting.worker({ enclave: { ...enclaves.worker, mrenclave: 'a7'.repeat(32) } })
    await rules.offer(await setting.manifest({ version: 6, worker: bySigner(3) }))
    const current = rules.current.bind(rules)
    // The manifest changes between what is demanded and what is found.
    rules.current = async () => {
      const demands = await current()
      rules.current = current
      await rules.offer(await setting.manifest({ version: 7, worker: bySigner(4) }))
      return demands
    }
    await expect(registry.admit(slow.server.url, slow.digest)).rejects.toMatchObject({ code: 'policy_identity' })
  })

  it('the file is looked at again and again: what is refused is said once, what is accepted is put in force', async () => {
    // The one in force itself: made a second later it would be another one of the same version.
    let { text } = rules
    const lines: string[] = []
    const calls: string[] = []
    const file = followManifest({
      path: 'manifest.json',
      files: { readText: async () => text },
      rules,
      changed: async () => void calls.push('changed'),
      accepted: async () => void calls.push('accepted'),
      report: (line) => lines.push(line),
    })
    await file.check()
    text = await setting.manifest({ version: 4 })
    await file.check()
    await file.check()
    expect(lines).toEqual([expect.stringMatching(/^the admission manifest in manifest.json is not accepted: admission_manifest_rolled_back/)])
    text = await setting.manifest({ version: 6, to: 500 })
    await file.check()
    await file.check()
    expect(calls).toEqual(['changed', 'accepted'])
    expect(lines[1]).toMatch(/^admission manifest 6 is in force: sha256:/)
    setting.ahead = 501
    await file.check()
    await file.check()
    expect(calls).toEqual(['changed', 'accepted', 'changed'])
    file.stop()
  })
})

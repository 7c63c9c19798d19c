import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { keepVerified, type Reverification } from '../../../src/controller/admission/reverify.ts'
import { Cancellation } from '../../../src/controller/cancellation.ts'
import type { Registry } from '../../../src/controller/registry.ts'
import { callWorker } from '../../../src/controller/worker-answer.ts'
import { enclaves, openSetting, type RunningWorker, type Setting } from './setting.ts'

let setting: Setting
let registry: Registry
let worker: RunningWorker
let verified: Reverification
beforeEach(async () => {
  setting = await openSetting()
  registry = setting.registry(await setting.rules())
  worker = await setting.worker()
  verified = keepVerified({ registry, now: setting.now })
  await registry.admit(worker.server.url, worker.digest)
})
afterEach(async () => {
  verified.stop()
  await setting.close()
})

const quarantines = (): (string | null)[] => registry.all().map(({ quarantine }) => quarantine)
const sessions = (): string[] => registry.all().map(({ session }) => session.id)

describe('S13: verified again', () => {
  it('after ten minutes, with a fresh challenge, a new session, and the same connections', async () => {
    const [before] = registry.all()
    await verified.check()
    expect(registry.all()[0]).toBe(before)
    setting.ahead = 601
    await verified.check()
    const [after] = registry.all()
    expect(after?.session.id).not.toBe(before?.session.id)
    expect(after?.service.nonce).not.toBe(before?.service.nonce)
    expect([after?.pool, after?.load, after?.quarantine]).toEqual([before?.pool, before?.load, null])
  })

  it('a worker that turns bad between checks: its platform is revoked', async () => {
    await setting.platform.refreshCollateral(setting.now(), { revoked: ['pck'] })
    await verified.check()
    expect(quarantines()).toEqual([null])
    setting.ahead = 601
    await verified.check()
    expect(quarantines()).toEqual([expect.stringMatching(/^certificate_revoked: /)])
    // It is set aside, and challenged again only when it registers.
    const [aside] = sessions()
    setting.ahead = 1300
    await verified.check()
    expect(sessions()).toEqual([aside])
    await expect(registry.admit(worker.server.url, worker.digest)).rejects.toMatchObject({ code: 'certificate_revoked' })
  })

  it('key swapped after admission: another key behind the same address gets no requests, and is found', async () => {
    const other = await setting.worker({ enclave: { ...enclaves.worker, mrenclave: 'ee'.repeat(32) } })
    worker.server.renewTls(other.worker.identity.tls)
    const [admitted] = registry.all()
    if (admitted === undefined) throw new Error('expected a worker')
    const asked = { method: 'GET', path: '/healthz', headers: {}, body: null } as const
    await expect(callWorker(admitted.pool, asked, new Cancellation())).rejects.toMatchObject({ code: 'channel_mismatch' })
    setting.ahead = 601
    await verified.check()
    expect(quarantines()).toEqual([expect.stringMatching(/^channel_mismatch: /)])
  })

  it('new keys of the worker: what is registered is one keyset, and the new one registers itself', async () => {
    await worker.worker.renew()
    worker.server.renewTls(worker.worker.identity.tls)
    setting.ahead = 601
    await verified.check()
    expect(quarantines()).toEqual([expect.stringMatching(/^keyset_changed: /)])
    await expect(registry.admit(worker.server.url, worker.worker.identity.keysetDigest)).resolves.toMatchObject({ quarantine: null })
  })

  it('when collateral changes: as soon as another worker of the family shows a later evaluation, and when its own has ended', async () => {
    const [before] = sessions()
    await setting.platform.refreshCollateral(setting.now(), { evaluationDataNumber: 21 })
    const second = await setting.worker()
    setting.ahead = 5
    const newer = await registry.admit(second.server.url, second.digest)
    await verified.check()
    expect(sessions()).toContain(newer.session.id)
    expect(sessions()).not.toContain(before)
    expect(registry.all().map(({ service }) => service.report.claims.tcb.evaluationDataNumber)).toEqual([21, 21])
    // One whose host keeps the old collateral is asked once for it, not at each look.
    const after = sessions()
    await verified.check()
    expect(sessions()).toEqual(after)
  })

  it('one that cannot be reached keeps its session twice, and is set aside at the third time', async () => {
    await worker.server.close()
    setting.ahead = 601
    await verified.check()
    await verified.check()
    expect(quarantines()).toEqual([null])
    await verified.check()
    expect(quarantines()).toEqual([expect.stringMatching(/^service_unavailable: /)])
  })

  it('one that is set aside, or goes, while it is verified again does not come back by that', async () => {
    const [admitted] = registry.all()
    if (admitted === undefined) throw new Error('admitted')
    const running = registry.verifyAgain(admitted)
    registry.quarantine(admitted, 'meanwhile', 'session')
    await expect(running).rejects.toMatchObject({ code: 'worker_quarantined' })
    expect(quarantines()).toEqual(['meanwhile'])
  })

  it('one that says that it goes while it is admitted is not admitted by that, and may come again', async () => {
    const other = await setting.worker()
    const running = registry.admit(other.server.url, other.digest)
    expect(registry.leave(other.digest)).toBe(true)
    await expect(running).rejects.toMatchObject({ code: 'worker_quarantined' })
    expect(registry.withKeyset(other.digest)).toBeUndefined()
    await expect(registry.admit(other.server.url, other.digest)).resolves.toMatchObject({ quarantine: null })
  })

  it('one that was set aside, registers again and goes meanwhile is not served by', async () => {
    const [admitted] = registry.all()
    if (admitted === undefined) throw new Error('admitted')
    registry.quarantine(admitted, 'the manifest has changed', 'session')
    const running = registry.admit(worker.server.url, worker.digest)
    registry.leave(worker.digest)
    await expect(running).rejects.toMatchObject({ code: 'worker_quarantined' })
    expect(registry.serving()).toEqual([])
  })

  it('one that has left is forgotten once it has nothing under way', async () => {
    const [admitted] = registry.all()
    if (admitted === undefined) throw new Error('admitted')
    admitted.load.outstanding = 1
    registry.leave(worker.digest)
    await verified.check()
    expect(registry.all()).toEqual([admitted])
    admitted.load.outstanding = 0
    await verified.check()
    expect(registry.all()).toEqual([])
  })
})

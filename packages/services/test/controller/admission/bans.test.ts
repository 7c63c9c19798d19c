import fc from 'fast-check'
import { platformId, signOperatorStatement } from 'veritee/admission'
import { toHex } from 'veritee/bytes'
import { generateEd25519, type SigningKey } from 'veritee/crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Ban, Bans } from '../../../src/controller/admission/bans.ts'
import type { Registry } from '../../../src/controller/registry.ts'
import { openSetting, type RunningWorker, type Setting } from './setting.ts'

let setting: Setting
beforeEach(async () => {
  setting = await openSetting()
})
afterEach(() => setting.close())

const day = 86_400

async function registryOf(changes: Parameters<Setting['rules']>[0] = {}): Promise<Registry> {
  return setting.registry(await setting.rules({ to: 300 * day, ...changes }))
}

async function admit(registry: Registry, { server, digest }: RunningWorker, operator?: SigningKey) {
  const claimed = operator === undefined ? {} : { operatorSignature: await signOperatorStatement(digest, operator) }
  return registry.admit(server.url, digest, claimed)
}

/** A worker is admitted and found out. */
async function incident(registry: Registry, worker: RunningWorker, operator?: SigningKey): Promise<void> {
  registry.quarantine(await admit(registry, worker, operator), 'its receipt did not match', 'party')
}

describe('S17: what a worker did follows its machine and its operator, not its keys', () => {
  it('a restart with new keys does not shed it; another machine is not touched', async () => {
    const registry = await registryOf()
    await incident(registry, await setting.worker())
    const restarted = await setting.worker()
    await expect(admit(registry, restarted)).rejects.toMatchObject({
      code: 'worker_quarantined',
      message: expect.stringContaining('platform barred until'),
    })
    const other = setting.registry(await setting.rules())
    await expect(admit(other, restarted)).resolves.toMatchObject({ quarantine: null })
  })

  it('other workers on the machine get no more requests either', async () => {
    const registry = await registryOf()
    const [first, second] = [await setting.worker(), await setting.worker()]
    await admit(registry, second)
    await incident(registry, first)
    expect(registry.counts).toEqual({ serving: 0, quarantined: 2 })
  })

  it('it lasts a day, and the second time four', async () => {
    const registry = await registryOf()
    await incident(registry, await setting.worker())
    setting.ahead = day + 10
    await setting.platform.refreshCollateral(setting.now())
    await incident(registry, await setting.worker())
    setting.ahead += 4 * day - 20
    await setting.platform.refreshCollateral(setting.now())
    await expect(admit(registry, await setting.worker())).rejects.toMatchObject({ code: 'worker_quarantined' })
    setting.ahead += 30
    await setting.platform.refreshCollateral(setting.now())
    await expect(admit(registry, await setting.worker())).resolves.toMatchObject({ quarantine: null })
  })

  it('on a shared machine it is the tenant`s, and an operator`s third incident ends all of its machines', async () => {
    const [bad, good] = [await generateEd25519(), await generateEd25519()]
    const first = await setting.worker({ operator: bad })
    const probe = await registryOf()
    const { report } = (await admit(probe, first, bad)).service
    const shared = await platformId('05'.repeat(32), report.claims.platform)
    const registry = await registryOf({ platforms: { shared: [shared] } })
    await incident(registry, first, bad)
    await expect(admit(registry, await setting.worker({ operator: bad }), bad)).rejects.toMatchObject({ code: 'worker_quarantined' })
    await expect(admit(registry, await setting.worker({ operator: good }), good)).resolves.toMatchObject({ quarantine: null })
    const names = registry.bans().map(({ subject }) => subject.split(':')[0])
    expect(names).toEqual(['tenant', 'operator'])
    expect(
      registry
        .bans()
        .map(({ subject }) => subject)
        .join(),
    ).not.toContain(toHex(bad.publicKey))
  })

  it('one incident is one, however many requests show it; what was learnt is never taken back', () => {
    const now = (): Date => new Date(1_700_000_000_000)
    const party = { operator: 'x', operatorId: 'aa'.repeat(32), platform: 'bb'.repeat(32), shared: false }
    const bans = new Bans(now)
    for (let i = 0; i < 5; i++) bans.found(party, `sha256:${'0'.repeat(64)}`)
    expect(bans.list().map(({ count }) => count)).toEqual([1, 1])
    const elsewhere = { ...party, platform: 'cc'.repeat(32) }
    expect(bans.against(elsewhere, '')).toBe(null)
    bans.found(elsewhere, '')
    bans.found({ ...party, platform: 'dd'.repeat(32) }, '')
    expect(bans.against({ ...party, platform: 'ee'.repeat(32) }, '')).toMatch(/^operator barred/)
    const ban = fc.record({
      subject: fc.constantFrom('platform:a', 'platform:b'),
      until: fc.integer({ min: 1_699_999_000, max: 1_702_000_000 }),
      count: fc.integer({ min: 1, max: 9 }),
      lifts: fc.integer({ min: 0, max: 2 }),
    })
    fc.assert(
      fc.property(fc.array(ban, { maxLength: 12 }), (said) => {
        const one = new Bans(now)
        let before: Ban[] = []
        for (const each of said) {
          one.learn([each])
          const after = one.list()
          for (const old of before) {
            const same = after.find(({ subject }) => subject === old.subject)
            const more = same !== undefined && same.until >= old.until && same.count >= old.count && same.lifts === old.lifts
            expect(more || (same !== undefined && same.lifts > old.lifts)).toBe(true)
          }
          before = after
        }
        // In whichever order it is told, the same is known.
        const other = new Bans(now)
        other.learn([...said].reverse())
        const sorted = (bans_: Ban[]): Ban[] => bans_.toSorted((a, b) => (a.subject < b.subject ? -1 : 1))
        expect(sorted(other.list())).toEqual(sorted(one.list()))
      }),
    )
  })
})

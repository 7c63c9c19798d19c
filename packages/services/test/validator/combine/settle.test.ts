import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fail } from 'veritee/errors'
import { type ReadFile, readFrom, type ScoringPolicy, verifyEpoch } from 'veritee/scoring'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { markForSettling, settleOpenEpochs, shownFrom } from '../../../src/validator/combine/open-epochs.ts'
import { type Peers, type Settling, settleWithPeers } from '../../../src/validator/combine/settle.ts'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { type Combining, combining, type Files } from './world.ts'

// Pairings for each bundle, on machines that others use too.
vi.setConfig({ testTimeout: 240_000 })
let setting: Combining
let solos: readonly Files[]
beforeAll(async () => {
  setting = await combining()
  solos = await Promise.all([0, 1, 2].map((i) => setting.solo(i)))
}, 180_000)

const closes = 1_003_600

/** What three validators have published, by site and name. `serve` may give something else, or nothing. */
class Sites {
  readonly published = [0, 1, 2].map(() => new Map<string, ReadonlyMap<string, string>>())
  readonly reports: string[] = []
  serve: (site: number, name: string, path: string) => string | null | undefined = () => undefined

  readonly filesAt = (url: string): ReadFile => {
    const [, site = '', name = ''] = /^https:\/\/v([0-9])\/([a-z]+-[0-9]+)\/$/.exec(url) ?? []
    return async (path, maxBytes) => {
      const instead = this.serve(Number(site), name, path)
      const text = instead === undefined ? this.published[Number(site)]?.get(name)?.get(path) : instead
      if (text === undefined || text === null) throw fail('service_refused', 'status 404')
      return readFrom(new Map([[path, text]]))(path, maxBytes)
    }
  }

  /** Runs validator `i` to its end; `ahead` is its clock, in seconds from the end of the epoch. */
  run(i: number, ahead = 0): Promise<ReadonlyMap<string, string>> {
    const { settling, peers } = this.optionsOf(i, ahead)
    return settleWithPeers({ ...settling, epoch: 0, shown: closes }, peers)
  }

  optionsOf(i: number, ahead: number): { readonly settling: Omit<Settling, 'epoch' | 'shown'>; readonly peers: Peers } {
    const { published, filesAt, reports } = this
    if (published[i]?.has('epoch-0') !== true) published[i]?.set('epoch-0', solos[i] as Files)
    const peers: Peers = {
      urls: [0, 1, 2].filter((other) => other !== i).map((other) => `https://v${other}`),
      waitSeconds: 100,
      filesAt,
      publish: async (name, bundle) => void published[i]?.set(name, bundle),
      read: (name) => readFrom(published[i]?.get(name) ?? new Map()),
    }
    return {
      peers,
      settling: {
        context: setting.context,
        key: setting.world.keys[i] as Combining['world']['keys'][0],
        now: () => new Date((closes + ahead) * 1000),
        signal: new AbortController().signal,
        report: (line) => void reports.push(line),
      },
    }
  }
}

const manifests = (bundles: readonly ReadonlyMap<string, string>[]): number => new Set(bundles.map((one) => one.get('manifest.json'))).size
const verdictOf = (bundle: ReadonlyMap<string, string>) => verifyEpoch(readFrom(bundle), { ...setting.context, previous: null })

describe('validators that fetch from each other', () => {
  it('end with one bundle, signed by all, though each began when it liked', async () => {
    const sites = new Sites()
    const bundles = await Promise.all([0, 1, 2].map((i) => sites.run(i)))
    expect(manifests(bundles)).toBe(1)
    const { verdict, signers, missed } = await verdictOf(bundles[0] as ReadonlyMap<string, string>)
    expect([verdict, signers, missed]).toEqual(['verified', setting.names, []])
    expect(sites.published.map((one) => [...one.keys()])).toEqual([0, 1, 2].map(() => ['epoch-0', 'proposed-0', 'combined-0']))
  })

  it('do not wait for ever for one that is gone, and one that comes late takes what most have signed', async () => {
    const sites = new Sites()
    // Their clocks stand where the time to wait is over: what is not there then is left out. The second finds the proposal of the first.
    const first = await sites.run(0, 500)
    const second = sites.run(1, 500)
    const third = await second.then(() => sites.run(2, 500))
    expect((await verdictOf(first)).missed.length).toBe(2)
    expect(sites.reports.some((line) => line.startsWith('https://v2/epoch-0: left out: service_refused'))).toBe(true)
    // Nobody of three apart has more than half: each goes on with its own.
    expect((await verdictOf(third)).missed).toEqual([])
  })

  it('a late one adopts the bundle that it is missing from', async () => {
    const sites = new Sites()
    sites.serve = (site) => (site === 2 ? null : undefined)
    sites.published[0]?.set('epoch-0', solos[0] as Files)
    sites.published[1]?.set('epoch-0', solos[1] as Files)
    // Again, as after a crash: the first has the proposal of the second by then.
    for (const i of [0, 1, 0]) await sites.run(i, 500)
    const [agreed] = sites.published.map((one) => one.get('combined-0'))
    const found = await verdictOf(agreed ?? new Map())
    expect([found.signers, found.missed.map(({ validator }) => validator)]).toEqual([setting.names.slice(0, 2), [setting.names[2]]])
    sites.serve = () => undefined
    const late = await sites.run(2, 500)
    expect(late.get('manifest.json')).toBe(agreed?.get('manifest.json'))
    expect(sites.reports.at(-1)).toContain('it is not the one that this validator made')
  })

  it('one that lies is left out by each for itself', async () => {
    const sites = new Sites()
    sites.serve = (site, name, path) => (site === 2 && path === 'scores.json' ? `${sites.published[2]?.get(name)?.get(path) ?? ''} ` : undefined)
    for (const i of [0, 1, 2]) sites.published[i]?.set('epoch-0', solos[i] as Files)
    const bundles: ReadonlyMap<string, string>[] = []
    for (const i of [0, 1, 0]) bundles.push(await sites.run(i, 500))
    expect(manifests(bundles)).toBe(1)
    const { verdict, missed } = await verdictOf(bundles[2] as ReadonlyMap<string, string>)
    expect([verdict, missed.map(({ validator }) => validator)]).toEqual(['verified', [setting.names[2]]])
    expect(sites.reports.some((line) => line.includes('epoch_file_changed'))).toBe(true)
  })

  it('S22: one that lists more than its part of the room is left out before anything of it is fetched, and of what is one`s own nothing is fetched but signatures', async () => {
    const sites = new Sites()
    const fetched: string[] = []
    sites.serve = (site, name, path) => {
      fetched.push(`${site} ${name} ${path}`)
      if (site !== 2 || path !== 'manifest.json') return undefined
      const manifest = JSON.parse(sites.published[2]?.get(name)?.get(path) ?? 'null')
      if (manifest === null) return undefined
      // Half of a GiB for each of two.
      manifest.files[0].size = 2 ** 29
      return JSON.stringify(manifest)
    }
    for (const i of [0, 1, 2]) sites.published[i]?.set('epoch-0', solos[i] as Files)
    await sites.run(1, 500)
    fetched.length = 0
    const first = await sites.run(0, 500)
    expect(sites.reports.some((line) => line.includes('https://v2/epoch-0: left out: response_too_large'))).toBe(true)
    expect(fetched.filter((line) => line.startsWith('2 epoch-0'))).toEqual(['2 epoch-0 manifest.json'])
    // Both made the same of what they had.
    expect(fetched.filter((line) => line.startsWith('1 proposed-0'))).toEqual(['1 proposed-0 manifest.json', '1 proposed-0 signatures.json'])
    expect((await verdictOf(first)).signers).toEqual(setting.names.slice(0, 2))
  })

  it('what breaks off is asked for again while there is time', async () => {
    const sites = new Sites()
    let refused = 0
    sites.serve = (_, name, path) => (name === 'epoch-0' && path === 'weights.json' && refused++ < 2 ? null : undefined)
    const bundles = await Promise.all([0, 1, 2].map((i) => sites.run(i)))
    expect(manifests(bundles)).toBe(1)
    expect((await verdictOf(bundles[2] as ReadonlyMap<string, string>)).missed).toEqual([])
  })

  it('show an epoch at its end, and where a log is named and there are others, when all have committed to their records', () => {
    const { epoch, validators } = setting.world.policy
    const log = { origin: 'o', key: 'k', witnesses: ['w'], quorum: 1 }
    const of = (policy: Partial<Pick<ScoringPolicy, 'log' | 'validators'>>): number => shownFrom({ epoch, validators, log: 'any', ...policy }, 0)
    expect([of({}), of({ log }), of({ log, validators: validators.slice(0, 1) })]).toEqual([closes, closes + epoch.length, closes])
  })

  it('one that is killed in between combines when it starts again, once, and goes on from what came of it', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'veritee-settle-'))
    const store = await openSqliteEpochStore(join(folder, 'validator.sqlite'))
    try {
      const sites = new Sites()
      for (const i of [1, 2]) sites.published[i]?.set('epoch-0', solos[i] as Files)
      const { settling, peers } = sites.optionsOf(0, 500)
      await settleOpenEpochs(store, setting.world.policy, settling, peers)
      expect(await store.fact(0, 'after')).toBeNull()
      await markForSettling(store, 0)
      const killed = { ...peers, publish: () => Promise.reject(new Error('killed')) }
      await expect(settleOpenEpochs(store, setting.world.policy, settling, killed)).rejects.toThrow('killed')
      expect(await store.fact(0, 'after')).toBeNull()
      await settleOpenEpochs(store, setting.world.policy, settling, peers)
      const combined = sites.published[0]?.get('combined-0')
      expect([await store.fact(0, 'after'), await store.fact(0, 'scores')]).toEqual([combined?.get('after.json'), combined?.get('scores.json')])
      // Done: nothing is fetched or published once more.
      await settleOpenEpochs(store, setting.world.policy, settling, killed)
    } finally {
      await store.close()
      rmSync(folder, { recursive: true, force: true })
    }
  })
})

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { epochFilesAt } from 'veritee/client'
import { verifyEpoch } from 'veritee/scoring'
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Peers } from '../../../src/validator/combine/settle.ts'
import { settleWithPeers } from '../../../src/validator/combine/settle.ts'
import { readBundle, replaceBundle, writeBundle } from '../../../src/validator/publish/directory.ts'
import { closeSite, type Site, serveSite } from './site.ts'
import { type Combining, combining, type Files } from './world.ts'

// Pairings for each bundle, on machines that others use too.
vi.setConfig({ testTimeout: 240_000 })
const closes = 1_003_600
let setting: Combining
let solos: readonly Files[]
beforeAll(async () => {
  setting = await combining()
  solos = await Promise.all([0, 1, 2].map((i) => setting.solo(i)))
}, 180_000)

let sites: Site[]
let folder: string
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'veritee-served-'))
  sites = await Promise.all([0, 1, 2].map((i) => serveSite(join(folder, `out-${i}`))))
})
afterEach(() => {
  for (const site of sites) closeSite(site)
  rmSync(folder, { recursive: true, force: true })
})

/** As `veriteed validator run --peer` does it. */
async function run(i: number, reports: string[] = []): Promise<ReadonlyMap<string, string>> {
  const { out } = sites[i] as Site
  const bounds = { fileMs: 120_000, waitMs: 600_000, bytes: 2 ** 28 }
  const peers: Peers = {
    urls: sites.filter((_, other) => other !== i).map(({ url }) => url),
    waitSeconds: 100,
    filesAt: (url, signal) => epochFilesAt(url, { bounds, signal }),
    publish: async (name, bundle) => void (await replaceBundle(join(out, name), bundle)),
    read: (name) => readBundle(join(out, name)),
  }
  await writeBundle(join(out, 'epoch-0'), solos[i] as Files)
  return settleWithPeers(
    {
      epoch: 0,
      shown: closes,
      context: setting.context,
      key: setting.world.keys[i] as Combining['world']['keys'][0],
      now: () => new Date(closes * 1000),
      signal: new AbortController().signal,
      report: (line) => void reports.push(line),
    },
    peers,
  )
}

const verdictAt = (site: Site | undefined) => verifyEpoch(epochFilesAt(`${site?.url}/combined-0/`), { ...setting.context, previous: null })

describe('validators that fetch from each other over HTTP', () => {
  it('end with one bundle signed by all, and anybody verifies it where any of them serves it', async () => {
    await Promise.all([0, 1, 2].map((i) => run(i)))
    const verdicts = await Promise.all(sites.map(verdictAt))
    for (const { verdict, signers, missed } of verdicts) expect([verdict, signers, missed]).toEqual(['verified', setting.names, []])
    // Of proposals that are their own, nobody fetched the records.
    for (const { asked } of sites) expect(asked.filter((path) => path.startsWith('/proposed-0/') && path.endsWith('records.jsonl'))).toEqual([])
  })

  it('ask again for what broke off or was not there yet, and take it whole', async () => {
    let cut = 0
    let missing = 0
    ;(sites[1] as Site).instead = (path, broken) => {
      if (path !== '/epoch-0/scores.json' || cut >= 2) return false
      cut++
      broken()
      return true
    }
    // The third publishes when the others have asked for it in vain.
    const asking = [0, 1].map((i) => run(i))
    await expect.poll(() => (missing = sites[2]?.asked.filter((path) => path === '/epoch-0/manifest.json').length ?? 0)).toBeGreaterThan(1)
    await Promise.all([...asking, run(2)])
    expect([cut, missing > 1]).toEqual([2, true])
    const verdicts = await Promise.all(sites.map(verdictAt))
    expect(verdicts.map(({ verdict, missed }) => [verdict, missed])).toEqual([0, 1, 2].map(() => ['verified', []]))
  })
})

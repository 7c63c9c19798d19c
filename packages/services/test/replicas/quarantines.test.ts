import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { Quarantines } from '../../src/controller/replicas/quarantines.ts'
import { type SharedStore, sharedStore } from '../access/store.ts'
import { type Network, startNetwork } from '../e2e/network.ts'

const keyset = (n: number): string => `sha256:${String(n).repeat(64)}`
const all: Quarantines[] = []
afterEach(() => {
  for (const one of all.splice(0)) one.stop()
})

let seconds = 1_700_000_000
async function replica(shared: SharedStore): Promise<{ distrusted: Set<string>; round: () => Promise<void> }> {
  const { authority: rows } = await shared.archive()
  const distrusted = new Set<string>()
  const registry = { distrusted, distrust: (digest: string) => void distrusted.add(digest) }
  const one = new Quarantines({ rows, registry, now: () => new Date(seconds * 1000), report: () => undefined, everyMs: 1_000_000 })
  all.push(one)
  return { distrusted, round: () => one.round() }
}

describe('what one controller has quarantined', () => {
  test('is so at the others, and after a restart, as long as keysets live', async () => {
    const shared = sharedStore()
    const [a, b] = [await replica(shared), await replica(shared)]
    a.distrusted.add(keyset(1))
    await a.round()
    await b.round()
    expect([...b.distrusted]).toEqual([keyset(1)])
    const anew = await replica(shared)
    await anew.round()
    expect([...anew.distrusted]).toEqual([keyset(1)])
    seconds += 3 * 86_400
    const late = await replica(shared)
    await late.round()
    expect([late.distrusted.size, (await shared.store.authority.list('quarantine', '', 9)).length]).toEqual([0, 0])
  })

  test('S3: a row that no controller wrote takes no worker away, and one that was deleted stays known to who knew it', async () => {
    const shared = sharedStore()
    const [a, b] = [await replica(shared), await replica(shared)]
    a.distrusted.add(keyset(1))
    await a.round()
    const [row] = await shared.store.authority.list('quarantine', '', 9)
    if (row === undefined) throw new TypeError('no row')
    await shared.store.authority.replace({ ...row, key: keyset(2) }, null)
    await b.round()
    await shared.store.authority.remove('quarantine', [keyset(1)])
    await b.round()
    expect([...b.distrusted]).toEqual([keyset(1)])
  })
})

describe('a controller', () => {
  let network: Network
  beforeAll(async () => {
    network = await startNetwork()
  }, 60_000)
  afterAll(() => network?.close())

  test('that is told of a keyset serves it no more, and does not admit it again', async () => {
    const { registry } = network.controller.controller
    const { keysetDigest } = network.worker.worker.identity
    expect(registry.counts.serving).toBe(1)
    registry.distrust(keysetDigest, 'told')
    expect([registry.counts.serving, [...registry.distrusted]]).toEqual([0, [keysetDigest]])
    await expect(registry.admit(network.worker.server.url, keysetDigest)).rejects.toMatchObject({ code: 'worker_quarantined' })
  })
})

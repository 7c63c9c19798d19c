import { afterEach, describe, expect, test } from 'vitest'
import type { AdmittedWorker, Registry } from '../../src/controller/registry.ts'
import { WorkerHints } from '../../src/controller/replicas/worker-hints.ts'
import { type SharedStore, sharedStore } from '../access/store.ts'

const digest = (n: number): string => `sha256:${String(n).repeat(64)}`
const all: WorkerHints[] = []
afterEach(() => {
  for (const hints of all.splice(0)) hints.stop()
})

interface Fake {
  readonly workers: AdmittedWorker[]
  readonly asked: string[]
  readonly lines: string[]
  readonly hints: WorkerHints
}

let seconds = 1_700_000_000
function worker(origin: string, keyset: string, changes: { quarantine?: string; establishedAt?: number } = {}): AdmittedWorker {
  const established = changes.establishedAt ?? seconds
  return {
    origin,
    service: { report: { keysetDigest: keyset } },
    session: { document: { established_at: established, expires_at: established + 3600 } },
    claimed: {},
    quarantine: changes.quarantine ?? null,
  } as unknown as AdmittedWorker
}

/** A controller whose admission says yes where it is told to. */
async function replica(shared: SharedStore, admits: (origin: string) => boolean = () => true): Promise<Fake> {
  const archive = await shared.archive()
  const workers: AdmittedWorker[] = []
  const asked: string[] = []
  const lines: string[] = []
  const registry = {
    all: () => workers,
    withKeyset: (keyset: string) => workers.find((one) => one.service.report.keysetDigest === keyset),
    admit: async (origin: string, keyset: string) => {
      asked.push(`${origin} ${keyset.slice(7, 9)}`)
      if (!admits(origin)) throw new Error('not what it says')
      const admitted = worker(origin, keyset)
      workers.splice(0, workers.length, ...workers.filter((one) => one.origin !== origin), admitted)
      return admitted
    },
  } as unknown as Registry
  const hints = new WorkerHints({
    rows: archive.authority,
    registry,
    now: () => new Date(seconds * 1000),
    report: (line) => lines.push(line),
    everyMs: 1_000_000,
  })
  all.push(hints)
  return { workers, asked, lines, hints }
}

describe('workers known to one controller are hints for the others', () => {
  test('which verify them themselves, once, and again before the session ends', async () => {
    const shared = sharedStore()
    const [a, b] = [await replica(shared), await replica(shared)]
    a.workers.push(worker('https://10.0.0.1:1', digest(1)), worker('https://10.0.0.2:1', digest(2), { quarantine: 'bad' }))
    await a.hints.round()
    await b.hints.round()
    await b.hints.round()
    expect([a.asked, b.asked]).toEqual([[], ['https://10.0.0.1:1 11']])
    seconds += 50 * 60
    await b.hints.round()
    expect(b.asked.length).toBe(2)
  })

  test('a worker that fails here is left alone for a while, and one that was set aside here is not asked for again on an old hint', async () => {
    const shared = sharedStore()
    const [a, b] = [await replica(shared), await replica(shared, (origin) => !origin.includes('.9'))]
    a.workers.push(worker('https://10.0.0.9:1', digest(9)), worker('https://10.0.0.1:1', digest(1)))
    await a.hints.round()
    b.workers.push(worker('https://10.0.0.1:1', digest(1), { quarantine: 'its receipt did not match' }))
    await b.hints.round()
    await b.hints.round()
    expect(b.asked).toEqual(['https://10.0.0.9:1 99'])
    expect(b.lines.join()).toContain('not admitted here')
  })

  test('hints that nobody renews are forgotten', async () => {
    const shared = sharedStore()
    const [a, b] = [await replica(shared), await replica(shared)]
    a.workers.push(worker('https://10.0.0.1:1', digest(1)))
    await a.hints.round()
    seconds += 3 * 3600
    await b.hints.round()
    expect([b.asked, (await shared.store.authority.list('workers', '', 9)).length]).toEqual([[], 0])
  })

  test('S3: rows that no controller wrote send nobody anywhere', async () => {
    const shared = sharedStore()
    const [a, b] = [await replica(shared), await replica(shared)]
    a.workers.push(worker('https://10.0.0.1:1', digest(1)))
    await a.hints.round()
    const [row] = await shared.store.authority.list('workers', '', 9)
    if (row === undefined) throw new TypeError('no row')
    await shared.store.authority.replace({ ...row, key: 'https://10.6.6.6:1' }, null)
    await shared.store.authority.replace({ ...row, key: 'https://10.6.6.7:1', mac: Buffer.alloc(32) }, null)
    await shared.store.authority.replace({ ...row, content: Buffer.from(`{"keyset_digest":"${digest(6)}","operator_signature":null}`) }, row.version)
    await b.hints.round()
    expect(b.asked).toEqual([])
  })
})

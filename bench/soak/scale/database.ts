import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Bans } from '../../../packages/services/src/controller/admission/bans.ts'
import type { AdmittedWorker } from '../../../packages/services/src/controller/registry.ts'
import { SharedBans } from '../../../packages/services/src/controller/replicas/shared-bans.ts'
import { WorkerHints } from '../../../packages/services/src/controller/replicas/worker-hints.ts'
import type { ReceiptArchive } from '../../../packages/services/src/enclave/runtime/receipts/archive.ts'
import { openReceiptArchive, openSharedArchive } from '../../../packages/services/src/enclave/runtime/receipts/open.ts'
import { sealingKey } from '../../../packages/services/src/enclave/runtime/sealing-key.ts'
import { leftOut, startPostgres } from '../../../packages/services/test/store/postgres-server.ts'
import { cpuMs } from '../cpu-time.ts'

/** What a controller with many workers asks of a database beside receipts. CPU of this process, and time by the clock, in milliseconds. */
export interface DatabaseLoad {
  readonly store: 'PostgreSQL' | 'SQLite'
  readonly workers: number
  /** All are new: once, and one at a time after that. */
  readonly tellAllMs: number
  readonly tellAllCpuMs: number
  /** Each round, every 5 s. */
  readonly lookMs: number
  readonly lookCpuMs: number
  readonly kilobytesRead: number
  /** As many bans; each round, every 2 s. */
  readonly bansMs: number
  readonly bansCpuMs: number
}

/** Hints of so many workers, and as many bans, told by a controller and read again; on PostgreSQL where it is installed. */
export async function databaseLoad(workers: number): Promise<DatabaseLoad> {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-scale-'))
  const postgres = leftOut === null ? await startPostgres() : null
  const sealing = sealingKey('file', randomBytes(32))
  let opened: ReceiptArchive | null = null
  try {
    const server = postgres === null ? null : await postgres.database()
    const archive =
      server === null ? await openReceiptArchive({ path: join(directory, 'store.db'), sealing }) : await openSharedArchive({ server, sealing })
    opened = archive
    const { authority: rows } = archive
    const seconds = Math.floor(Date.now() / 1000)
    const all = Array.from({ length: workers }, (_, i) => hinted(i, seconds))
    const now = (): Date => new Date()
    const common = { now, report: () => undefined, everyMs: 1_000_000 }
    const registry = { all: () => all, admit: () => Promise.reject(new Error('nobody')), withKeyset: () => undefined }
    const teller = new WorkerHints({ ...common, rows, registry })
    const tell = await timed(() => teller.round())
    // It has told; what it does from here on is look.
    const look = await timed(() => teller.round())
    const bans = new Bans(now)
    bans.learn(
      Array.from({ length: workers }, (_, i) => ({
        subject: `platform:${i.toString(16).padStart(64, '0')}`,
        until: seconds + 3600,
        count: 1,
        lifts: 0,
      })),
    )
    const ofBans = { bans: () => bans.list(), learnBans: (found: Parameters<Bans['learn']>[0]) => bans.learn(found) }
    const shared = new SharedBans({ ...common, rows, registry: ofBans })
    await shared.round()
    const again = await timed(() => shared.round())
    const kept = await rows.list('workers', '', workers)
    for (const one of [teller, shared]) one.stop()
    return {
      store: server === null ? 'SQLite' : 'PostgreSQL',
      workers: kept.size,
      tellAllMs: tell.ms,
      tellAllCpuMs: tell.cpu,
      lookMs: look.ms,
      lookCpuMs: look.cpu,
      kilobytesRead: Math.round([...kept].reduce((sum, [key, { content }]) => sum + key.length + content.length + 48, 0) / 1024),
      bansMs: again.ms,
      bansCpuMs: again.cpu,
    }
  } finally {
    await opened?.close()
    await postgres?.close()
    await rm(directory, { recursive: true, force: true })
  }
}

async function timed(work: () => Promise<void>): Promise<{ readonly ms: number; readonly cpu: number }> {
  const [start, before] = [performance.now(), cpuMs()]
  await work()
  return { ms: Math.round(performance.now() - start), cpu: Math.round(cpuMs() - before) }
}

function hinted(i: number, seconds: number): AdmittedWorker {
  return {
    origin: `https://10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}:21841`,
    service: { report: { keysetDigest: `sha256:${i.toString(16).padStart(64, '0')}` } },
    session: { document: { established_at: seconds, expires_at: seconds + 3600 } },
    claimed: {},
    quarantine: null,
  } as unknown as AdmittedWorker
}

import type { AdmittedWorker } from '../../../packages/services/src/controller/registry.ts'
import { Roster } from '../../../packages/services/src/controller/roster.ts'
import { Router, type Wanted } from '../../../packages/services/src/controller/routing/router.ts'
import { cpuMs } from '../cpu-time.ts'
import { renewed, simulated } from './workers.ts'

/** CPU microseconds of one of each, and what a worker takes. */
export interface Scale {
  readonly workers: number
  readonly models: number
  readonly registration: number
  readonly renewal: number
  readonly heartbeat: number
  readonly quarantine: number
  readonly selection: number
  readonly kilobytesPerWorker: number
  /** What did not come out as it should have. */
  readonly findings: readonly string[]
}

interface Size {
  readonly workers: number
  readonly models: number
  /** Of each operation. */
  readonly operations: number
}

/** A controller's workers, simulated after one that was really admitted: what each step costs where there are so many. */
export function measureScale(real: AdmittedWorker, { workers, models, operations }: Size): Scale {
  const before = memory()
  const router = new Router({ now: () => new Date() })
  const roster = new Roster(router, 1024)
  const all = Array.from({ length: workers }, (_, i) => simulated(real, i, `model ${i % models}`))
  for (const worker of all) roster.add(worker)
  const kilobytesPerWorker = Math.round((memory() - before) / workers / 1024)
  const findings: string[] = []
  const expect = (found: unknown, wanted: unknown, what: string): void => {
    if (found !== wanted) findings.push(`${what}: expected ${String(wanted)}, found ${String(found)}`)
  }
  const at = (i: number): number => (i * 7919) % workers
  const worker = (i: number): AdmittedWorker => all[at(i)] as AdmittedWorker

  const extra = Array.from({ length: Math.min(operations, 1000) }, (_, i) => simulated(real, workers + i, `model ${i % models}`))
  const registration = microseconds(operations, (i) => {
    const one = extra[i % extra.length] as AdmittedWorker
    roster.add(one)
    roster.remove(one)
  })
  const renewal = microseconds(operations, (i) => {
    const next = renewed(worker(i))
    roster.remove(worker(i))
    all[at(i)] = next
    roster.add(next)
  })
  const heartbeat = microseconds(operations, (i) => {
    const { keysetDigest } = worker(i).service.report
    if (roster.keysets.get(keysetDigest) !== worker(i)) findings.push(`${keysetDigest} is not found`)
  })
  const quarantine = microseconds(operations, (i) => {
    const one = worker(i)
    roster.quarantine(one, 'as if')
    roster.remove(one)
    one.quarantine = null
    roster.add(one)
  })
  const asked = Array.from({ length: 1000 }, (_, i) => request(`model ${i % models}`, i))
  const selection = microseconds(operations, (i) => {
    const lease = router.take(asked[i % asked.length] as Wanted, [])
    if (typeof lease === 'string') findings.push(`no worker: ${lease}`)
    else lease.end()
  })
  expect(roster.counts.serving, workers, 'workers that serve')
  const members = [...router.load()].reduce((sum, pool) => sum + pool.members, 0)
  expect(members, workers, 'workers in the pools')
  expect(router.models().length, models, 'models that are served')
  for (const one of all) roster.remove(one)
  expect(roster.workers.size + roster.keysets.size + router.models().length, 0, 'what is left when all are gone')
  expect(roster.sessions.size <= 1024, true, 'sessions kept are bounded')
  for (const one of [...all, ...extra]) void one.pool.destroy()
  return {
    workers,
    models,
    registration,
    renewal,
    heartbeat,
    quarantine,
    selection,
    kilobytesPerWorker,
    findings: [...new Set(findings)].slice(0, 20),
  }
}

function request(model: string, i: number): Wanted {
  const content = `${i}: ${'You are a helpful assistant of the harbour. '.repeat(24)}`
  return {
    model,
    sessionIds: null,
    tenant: `key ${i % 50}`,
    salt: `key ${i % 50}`,
    body: { messages: [{ role: 'user', content }] },
    promptBytes: content.length,
    maxTokens: null,
  }
}

/** The best of four rounds, of which the first compiles: on a machine that does other things too, the others measure those. */
function microseconds(times: number, operation: (i: number) => void): number {
  let least = Number.POSITIVE_INFINITY
  for (let round = 0; round < 4; round++) {
    const before = cpuMs()
    for (let i = 0; i < times; i++) operation(i)
    least = Math.min(least, ((cpuMs() - before) * 1000) / times)
  }
  return Number(least.toFixed(2))
}

function memory(): number {
  for (let i = 0; i < 4; i++) globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

import { registerWorker } from '../../../packages/services/src/enclave/worker/register.ts'
import { openSetting, type RunningWorker } from '../../../packages/services/test/controller/admission/setting.ts'
import { cpuMs } from '../cpu-time.ts'

/** What came of workers that really registered: of both sides together, since they are one process here. */
export interface Registrations {
  readonly workers: number
  readonly admitted: number
  /** CPU milliseconds of one registration, of the first tenth and of the last; keys and quote of the worker are not in it. */
  readonly cpuMsFirst: number
  readonly cpuMsLast: number
  readonly wallSeconds: number
  /** Registrations that did not come through at first and were made again, as a worker does; with the first reasons. */
  readonly repeated: number
  readonly reasons: readonly string[]
  readonly findings: readonly string[]
}

const atOnce = 8
/** A worker tries for ever; one that is not admitted by now is a finding. */
const attempts = 3

/**
 * Workers with keys, quotes and listeners of their own, each of which registers as a worker does: a nonce, a registration that its keyset signed, the challenge over TLS 1.3, verification of
 * its evidence, a session. Their listeners are closed when all have been admitted.
 */
export async function registerMany(workers: number, progress: (line: string) => void = () => undefined): Promise<Registrations> {
  const setting = await openSetting()
  const findings: string[] = []
  const failures: string[] = []
  try {
    const registry = setting.registry(await setting.rules(), { maxWorkers: workers })
    const control = await setting.control(registry)
    const costs: number[] = []
    let done = 0
    const began = performance.now()
    const block = Math.max(atOnce, Math.ceil(workers / 10))
    while (done < workers) {
      const some = await Promise.all(Array.from({ length: Math.min(block, workers - done) }, () => setting.worker()))
      const before = cpuMs()
      const queue = [...some]
      const next = async (): Promise<void> => {
        for (let one = queue.pop(); one !== undefined; one = queue.pop()) await register(control, one, failures, findings)
      }
      await Promise.all(Array.from({ length: atOnce }, next))
      costs.push((cpuMs() - before) / some.length)
      done += some.length
      progress(`${done} registered, ${costs.at(-1)?.toFixed(1)} ms each`)
    }
    const [first = Number.NaN] = costs
    const last = costs.at(-1) ?? Number.NaN
    if (registry.counts.serving !== workers) findings.push(`expected ${workers} workers that serve, found ${registry.counts.serving}`)
    return {
      workers,
      admitted: registry.counts.serving,
      cpuMsFirst: Number(first.toFixed(2)),
      cpuMsLast: Number(last.toFixed(2)),
      wallSeconds: Math.round((performance.now() - began) / 1000),
      repeated: failures.length,
      reasons: failures.slice(0, 5),
      findings: findings.slice(0, 20),
    }
  } finally {
    await setting.close()
  }
}

async function register(
  control: { readonly url: string; digest: string },
  { worker, server }: RunningWorker,
  failures: string[],
  findings: string[],
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return void (await registerWorker(control.url, server.url, { identity: worker.identity, tickets: worker.tickets, controllers: null }))
    } catch (error) {
      const reason = error instanceof Error ? error.message.slice(0, 200) : 'failed'
      if (attempt === attempts) return void findings.push(reason)
      failures.push(reason)
    }
  }
}

import { VeriteeError } from 'veritee/errors'
import type { AdmittedWorker, Registry } from '../registry.ts'

export interface ReverifyOptions {
  readonly registry: Pick<Registry, 'serving' | 'verifyAgain' | 'quarantine' | 'forgetLeft'>
  readonly now: () => Date
  readonly everyMs?: number
  readonly tickMs?: number
}

export interface Reverification {
  /** Looks now; what is due is done when it returns. */
  check(): Promise<void>
  stop(): void
}

/** Challenges at a time: each costs the worker a quote, and this process some milliseconds. */
const atOnce = 4
/** A worker that cannot be reached may have been unlucky; so many times in a row it is not. */
const maxUnreached = 3

/**
 * Challenges admitted workers again: at the latest after ten minutes, or half of what its session lasts; as soon as collateral that it was judged by has ended; and as
 * soon as another worker of its processor family has shown collateral of a later evaluation. Whoever fails is set aside with the code of the check; whoever cannot be
 * reached, after three times.
 */
export function keepVerified({ registry, now, everyMs = 600_000, tickMs = 15_000 }: ReverifyOptions): Reverification {
  /** Of each family of processors the latest evaluation seen, and since when. */
  const evaluations = new Map<string, { number: number; since: number }>()
  const unreached = new WeakMap<AdmittedWorker, number>()
  const familyOf = ({ service }: AdmittedWorker): string => `${service.report.claims.body.tee} ${service.report.claims.platform.fmspc}`

  const look = (worker: AdmittedWorker): void => {
    const family = familyOf(worker)
    const number = worker.service.report.claims.tcb.evaluationDataNumber
    const known = evaluations.get(family)
    if (known === undefined || number > known.number) evaluations.set(family, { number, since: worker.service.attestedAt.getTime() })
  }
  const isDue = (worker: AdmittedWorker): boolean => {
    const { report, attestedAt } = worker.service
    const verified = attestedAt.getTime()
    const at = now().getTime()
    const life = worker.session.document.expires_at * 1000 - verified
    if (at - verified >= Math.min(everyMs, life / 2) || report.claims.collateral.earliestExpiration.getTime() <= at) return true
    const latest = evaluations.get(familyOf(worker))
    return latest !== undefined && report.claims.tcb.evaluationDataNumber < latest.number && verified <= latest.since
  }
  const again = async (worker: AdmittedWorker): Promise<void> => {
    try {
      look(await registry.verifyAgain(worker))
    } catch (error) {
      if (!(error instanceof VeriteeError)) throw error
      const missed = error.kind === 'unavailable' ? (unreached.get(worker) ?? 0) + 1 : maxUnreached
      unreached.set(worker, missed)
      if (missed >= maxUnreached && worker.quarantine === null) registry.quarantine(worker, `${error.code}: ${error.message}`, 'session')
    }
  }

  let busy = false
  const check = async (): Promise<void> => {
    if (busy) return
    busy = true
    try {
      registry.forgetLeft()
      const serving = registry.serving()
      for (const worker of serving) look(worker)
      const due = serving.filter(isDue)
      const turn = async (): Promise<void> => {
        for (let worker = due.shift(); worker !== undefined; worker = due.shift()) await again(worker)
      }
      await Promise.all(Array.from({ length: atOnce }, turn))
    } finally {
      busy = false
    }
  }
  const timer = setInterval(() => void check().catch(() => undefined), tickMs)
  timer.unref()
  return { check, stop: () => clearInterval(timer) }
}

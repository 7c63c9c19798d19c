import type { RegistryOptions } from '../../controller/registry.ts'
import type { Report } from './log.ts'

/** Tells the operator which workers come, and which get no more requests, with the reason. */
export function reportWorkers(report: Report): NonNullable<RegistryOptions['onWorker']> {
  return ({ origin, session, quarantine }) => {
    if (quarantine === null) report(`worker ${origin} is admitted`, { event: 'worker.admitted', session_id: session.id })
    else report(`worker ${origin} gets no more requests: ${quarantine}`, { event: 'worker.quarantined', level: 'warn', session_id: session.id })
  }
}

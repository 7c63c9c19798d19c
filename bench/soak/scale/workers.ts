import { pinnedPool } from '../../../packages/services/src/controller/pinned-pool.ts'
import type { AdmittedWorker } from '../../../packages/services/src/controller/registry.ts'
import { WorkerLoad } from '../../../packages/services/src/controller/routing/worker-load.ts'

/** Its own copy, as a text has that came over a connection. */
const copied = (text: string): string => Buffer.from(text).toString()

/**
 * Another worker as one that was really admitted: with evidence, session and connections of its own, so that it takes as much memory, and with keys that
 * are only a name. `model` is its one model.
 */
export function simulated(real: AdmittedWorker, i: number, model: string): AdmittedWorker {
  const { service, session } = real
  const [described] = service.report.descriptor.models
  if (described === undefined) throw new Error('expected a worker with a model')
  const origin = `https://10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}:21841`
  const { evidence } = session.document
  return {
    ...real,
    origin,
    service: {
      ...service,
      reportText: copied(service.reportText),
      report: {
        ...service.report,
        keysetDigest: `sha256:${i.toString(16).padStart(64, '0')}`,
        descriptor: { ...service.report.descriptor, models: [{ ...described, name: model }] },
      },
    },
    session: {
      id: `1${i.toString(16).padStart(63, '0')}`,
      document: { ...session.document, evidence: JSON.parse(JSON.stringify(evidence)) as typeof evidence, expires_at: Number.MAX_SAFE_INTEGER },
      text: copied(session.text),
    },
    pool: pinnedPool(origin, '00'.repeat(32)),
    load: new WorkerLoad(),
    quarantine: null,
  }
}

/** The same keys, admitted again. */
export function renewed(worker: AdmittedWorker): AdmittedWorker {
  const [first] = worker.session.id
  return { ...worker, session: { ...worker.session, id: `${first === '1' ? '2' : '1'}${worker.session.id.slice(1)}` } }
}

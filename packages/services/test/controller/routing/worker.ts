import type { AdmittedWorker } from '../../../src/controller/registry.ts'
import type { Wanted } from '../../../src/controller/routing/router.ts'
import { WorkerLoad } from '../../../src/controller/routing/worker-load.ts'

/** What routing reads of an admitted worker. The session ends at second 1000 unless something else is said. */
export function admittedWorker(name: string, models: readonly string[], { expiresAt = 1000 }: { readonly expiresAt?: number } = {}): AdmittedWorker {
  return {
    origin: `https://${name}`,
    service: { report: { keysetDigest: `sha256:${name}`, descriptor: { models: models.map((model) => ({ name: model })) } } },
    session: { id: `session of ${name}`, document: { expires_at: expiresAt } },
    load: new WorkerLoad(),
    quarantine: null,
  } as unknown as AdmittedWorker
}

/** The same keys, admitted again. */
export function renewed(worker: AdmittedWorker, sessionId: string): AdmittedWorker {
  return { ...worker, session: { ...worker.session, id: sessionId } }
}

export function wanted(model: string, more: Partial<Wanted> = {}): Wanted {
  return { model, sessionIds: null, tenant: 'a', salt: 'a', body: null, promptBytes: 100, maxTokens: null, ...more }
}

import type { AdmittedWorker } from '../../../src/controller/registry.ts'
import { WorkerLoad } from '../../../src/controller/routing/worker-load.ts'

/** What routing reads of an admitted worker. The session ends at second 1000 unless something else is said. */
export function admittedWorker(
  name: string,
  models: readonly string[],
  more: { readonly expiresAt?: number; readonly load?: WorkerLoad } = {},
): AdmittedWorker {
  return {
    origin: `https://${name}`,
    service: { report: { keysetDigest: `sha256:${name}`, descriptor: { models: models.map((model) => ({ name: model })) } } },
    session: { id: `session of ${name}`, document: { expires_at: more.expiresAt ?? 1000 } },
    load: more.load ?? new WorkerLoad(),
    quarantine: null,
  } as unknown as AdmittedWorker
}

import type { Hono } from 'hono'
import { addModelRoutes } from '../../http/model-routes.ts'
import { openApi } from '../../http/openapi/document.ts'
import { createProofRoutes, type Env, type ProofDeps, text } from '../../http/proof-routes.ts'

export interface WorkerRoutesDeps extends ProofDeps {
  readonly models: readonly string[]
  readonly created: number
}

/** A worker without what runs a model: proofs, models, and the description of all of it. */
export function createWorkerRoutes(deps: WorkerRoutesDeps): Hono<Env> {
  const app = createProofRoutes(deps)
  addModelRoutes(app, () => deps.models, deps.created)
  const document = openApi('worker')
  app.get('/openapi.json', (c) => text(c, document))
  return app
}

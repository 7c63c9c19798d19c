import type { Hono } from 'hono'
import { HttpError } from '../../http/errors.ts'
import { addModelRoutes } from '../../http/model-routes.ts'
import { openApi } from '../../http/openapi/document.ts'
import { createProofRoutes, type Env, type ProofDeps, text } from '../../http/proof-routes.ts'
import type { SealedStatements } from '../runtime/ehbp/statements.ts'

export interface WorkerRoutesDeps extends ProofDeps {
  readonly models: readonly string[]
  readonly created: number
  readonly statements: SealedStatements
}

/** A worker without what runs a model: proofs, models, and the description of all of it. */
export function createWorkerRoutes(deps: WorkerRoutesDeps): Hono<Env> {
  const app = createProofRoutes(deps)
  addModelRoutes(app, () => deps.models, deps.created)
  const document = openApi('worker')
  app.get('/v1/veritee/statements/:id', async (c) => {
    const statement = await deps.statements.find(c.req.param('id'))
    if (statement === null) throw new HttpError(404, 'not_found', 'no encrypted exchange of this receipt is remembered')
    return text(c, statement)
  })
  app.get('/openapi.json', (c) => text(c, document))
  return app
}

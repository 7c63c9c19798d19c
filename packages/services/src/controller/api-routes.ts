import type { Hono } from 'hono'
import { tokenDirectoryPath } from 'veritee/tokens'
import { HttpError } from '../http/errors.ts'
import { addModelRoutes } from '../http/model-routes.ts'
import { openApi } from '../http/openapi/document.ts'
import { createProofRoutes, demandFound, demandProof, type Env, type ProofDeps, parsePrefix, requesterOf, text } from '../http/proof-routes.ts'
import type { AdmittedWorker, Registry } from './registry.ts'
import { addWorkerReports } from './sealed/worker-report.ts'

export interface ApiDeps extends ProofDeps {
  readonly registry: Registry
  /** See `ControllerOptions`. */
  readonly replicas: () => readonly string[]
  /** Names of models that unattested workers serve, each with its suffix. */
  readonly unattested: () => readonly string[]
  /** Of the keys for access tokens; null where there are none. */
  readonly tokenDirectory: string | null
}

/** Port 8000 without the data plane: models, sessions, and the worker receipts that this controller's receipts cite. */
export function createApiRoutes(deps: ApiDeps): Hono<Env> {
  const { registry } = deps
  const app = createProofRoutes(deps)
  addModelRoutes(app, () => [...registry.routing.models(), ...deps.unattested()], deps.identity.keyset.not_after - 86_400)
  const document = openApi('api')
  app.get('/openapi.json', (c) => text(c, document))
  app.get('/v1/aci/sessions', (c) => {
    const model = c.req.query('model')
    const name = c.req.query('upstream_name')
    const sessions = (model === undefined ? registry.serving() : registry.routing.serving(model))
      .filter((worker) => name === undefined || worker.session.document.upstream_name === name)
      .map(abbreviated)
    return c.json({ api_version: 'aci/1', sessions })
  })
  addWorkerReports(app, deps)
  app.get('/v1/aci/sessions/:id', async (c) => {
    const id = c.req.param('id')
    const session = registry.session(id)?.text ?? (await deps.kept().document('session', id))
    if (session === null) throw new HttpError(404, 'not_found', 'no such session')
    return text(c, session)
  })
  app.get('/v1/veritee/receipts/:id/upstream', async (c) => {
    const { upstream } = demandFound(await deps.kept().find(c.req.param('id'), requesterOf(c)))
    if (upstream === null) throw new HttpError(404, 'not_found', 'this receipt cites no worker receipt')
    const prefix = c.req.query('prefix')
    return text(c, prefix === undefined ? upstream.text : demandProof(await upstream.prefixProof(parsePrefix(prefix))))
  })
  app.get(tokenDirectoryPath, (c) => {
    if (deps.tokenDirectory === null) throw new HttpError(404, 'not_found', 'this controller issues no access tokens')
    return c.body(deps.tokenDirectory, 200, { 'content-type': 'application/private-token-issuer-directory', 'cache-control': 'no-store' })
  })
  // Hints (rule S8): whoever goes there verifies the replica that it finds.
  app.get('/v1/veritee/replicas', (c) => c.json({ version: 'veritee.replicas.v1', replicas: deps.replicas().map((url) => ({ url })) }))
  app.get('/readyz', (c) => {
    const ready = registry.counts.serving
    return c.json({ status: ready > 0 ? 'ready' : 'no verified worker', workers: ready }, ready > 0 ? 200 : 503)
  })
  return app
}

/** A list entry keeps the evidence's digest and drops its bulk (aci/1 section 8.1). */
function abbreviated({ session }: AdmittedWorker): object {
  const { evidence, ...document } = session.document
  return { session_id: session.id, ...document, evidence: { digest: evidence.digest } }
}

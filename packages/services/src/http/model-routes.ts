import type { Hono } from 'hono'
import { unknownModel } from './chat-request.ts'
import type { Env } from './proof-routes.ts'

/** `GET /v1/models` and `/v1/models/{model}`: what is served now. Trust in a model is in the report, never here (aci/1 section 5). */
export function addModelRoutes(app: Hono<Env>, models: () => readonly string[], created: number): void {
  const described = (id: string): object => ({ id, object: 'model', created, owned_by: 'veritee' })
  app.get('/v1/models', (c) => c.json({ object: 'list', data: models().map(described) }))
  app.get('/v1/models/:model', (c) => {
    const model = c.req.param('model')
    const served = models()
    if (!served.includes(model)) throw unknownModel(model, served)
    return c.json(described(model))
  })
}

import { Validator } from '@seriousme/openapi-schema-validator'
import { expect, test } from 'vitest'
import { type ApiDeps, createApiRoutes } from '../../packages/services/src/controller/api-routes.ts'
import { type ControlDeps, createControlRoutes } from '../../packages/services/src/controller/control-routes.ts'
import { createWorkerRoutes, type WorkerRoutesDeps } from '../../packages/services/src/enclave/worker/worker-routes.ts'
import { inferenceEndpoints } from '../../packages/services/src/http/chat-request.ts'
import { openApi } from '../../packages/services/src/http/openapi/document.ts'
import type { Surface } from '../../packages/services/src/http/openapi/operations.ts'

interface Document {
  readonly openapi: string
  readonly paths: {
    readonly [path: string]: { readonly [method: string]: { readonly operationId: string; readonly parameters?: { name: string; in: string }[] } }
  }
  readonly components: { readonly schemas: object }
}

const identity = { keyset: { not_after: 0 } }
const inference = [...inferenceEndpoints].map((path) => `POST ${path}`)
// The process answers it before any route is looked for.
const readiness = ['GET /readyz']

/** The routes that there are, each as `METHOD /path/{parameter}`. */
const actual: Readonly<Record<Surface, readonly string[]>> = {
  worker: [...routesOf(createWorkerRoutes({ identity } as unknown as WorkerRoutesDeps)), ...inference, ...readiness],
  api: [...routesOf(createApiRoutes({ identity } as unknown as ApiDeps)), ...inference],
  control: routesOf(createControlRoutes({} as unknown as ControlDeps)),
}

function routesOf({ routes }: { readonly routes: readonly { readonly method: string; readonly path: string }[] }): string[] {
  return routes.map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`)
}

const surfaces: readonly Surface[] = ['worker', 'api', 'control']
const documentOf = (surface: Surface): Document => JSON.parse(openApi(surface)) as Document
const listed = ({ paths }: Document): string[] =>
  Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`))

test.for(surfaces)('the OpenAPI document of %s lists exactly the routes there are: packages/services/src/http/openapi/operations.ts', (surface) => {
  expect(listed(documentOf(surface)).sort()).toEqual([...new Set(actual[surface])].sort())
})

test.for(surfaces)('the OpenAPI document of %s is valid, and every schema in it is used', async (surface) => {
  const document = documentOf(surface)
  expect(document.openapi).toBe('3.1.0')
  const asRead = (): Record<string, unknown> => JSON.parse(openApi(surface)) as Record<string, unknown>
  expect(await new Validator().validate(asRead())).toEqual({ valid: true })
  expect(await new Validator().validate({ ...asRead(), info: {} })).toMatchObject({ valid: false })
  const text = JSON.stringify(document)
  const used = new Set([...text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name))
  expect([...used].sort()).toEqual(Object.keys(document.components.schemas).sort())
})

test.for(surfaces)('operations of %s have names of their own and describe the parameters of their paths', (surface) => {
  const document = documentOf(surface)
  const ids = Object.values(document.paths).flatMap((methods) => Object.values(methods).map(({ operationId }) => operationId))
  expect(new Set(ids).size).toBe(ids.length)
  for (const [path, methods] of Object.entries(document.paths))
    for (const { parameters = [] } of Object.values(methods))
      expect(parameters.filter((parameter) => parameter.in === 'path').map(({ name }) => `{${name}}`)).toEqual(path.match(/\{\w+\}/g) ?? [])
})

import { release } from '../../release.ts'
import { answers } from './answers.ts'
import { type Operation, operations, type Surface } from './operations.ts'
import { requests } from './requests.ts'
import { ref, type Schema } from './schema.ts'

const titles: Readonly<Record<Surface, string>> = {
  worker: 'Veritee worker',
  api: 'Veritee controller',
  control: 'Veritee controller, for workers',
}

const schemas: { readonly [name: string]: Schema } = { ...answers, ...requests }

/**
 * The OpenAPI 3.1 document of one listener. It describes shapes; it proves nothing, and whoever relies on an answer verifies it.
 * That it lists exactly the routes there are is checked in tools/test/openapi.test.ts.
 */
export function openApi(surface: Surface): string {
  const listed = operations.filter(({ on }) => on.includes(surface))
  const paths: { [path: string]: { [method: string]: object } } = {}
  for (const operation of listed) paths[operation.path] = { ...paths[operation.path], [operation.method]: told(operation) }
  return JSON.stringify({
    openapi: '3.1.0',
    info: {
      title: titles[surface],
      version: release.version,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths,
    components: {
      schemas: reachable(paths),
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'Binds the receipt to this token, and is the API key where keys are asked for' },
      },
    },
  })
}

/** Only those that a listener speaks of. */
function reachable(paths: object): { readonly [name: string]: Schema } {
  const found = new Map<string, Schema>()
  const visit = (value: unknown): void => {
    for (const [, name = ''] of JSON.stringify(value).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      const schema = schemas[name]
      if (schema === undefined || found.has(name)) continue
      found.set(name, schema)
      visit(schema)
    }
  }
  visit([paths, ref('Error')])
  return Object.fromEntries([...found].sort(([a], [b]) => (a < b ? -1 : 1)))
}

const always = {
  'X-ACI-Version': { schema: { type: 'string', const: 'aci/1' } },
  'X-ACI-Keyset-Digest': { schema: ref('Digest') },
}
const ofReceipt = {
  'X-Receipt-Id': { schema: { type: 'string' } },
  'X-Veritee-Receipt-Key': { schema: { type: 'string', pattern: '^[0-9a-f]{64}$' } },
}

function told({ method, path, summary, request, answer, event, query = {}, headers = {}, errors, receipt }: Operation): object {
  const parameter = (place: string, name: string, description?: string): object => ({
    name,
    in: place,
    required: place === 'path',
    schema: { type: 'string' },
    ...(description !== undefined && { description }),
  })
  const parameters = [
    ...[...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => parameter('path', name)),
    ...Object.entries(query).map(([name, description]) => parameter('query', name, description)),
    ...Object.entries(headers).map(([name, description]) => parameter('header', name, description)),
  ]
  const isReadiness = path === '/readyz'
  return {
    operationId: `${method}${path.replace(/[^A-Za-z0-9]+(\w?)/g, (_, next: string) => next.toUpperCase())}`,
    summary,
    ...(parameters.length > 0 && { parameters }),
    ...(receipt && { security: [{}, { bearer: [] }] }),
    ...(request !== undefined && { requestBody: { required: true, content: { 'application/json': { schema: ref(request) } } } }),
    responses: {
      [answer.status]: {
        description: summary,
        headers: { ...always, ...(receipt && ofReceipt) },
        content: {
          'application/json': { schema: answer.schema },
          ...(event !== undefined && {
            'text/event-stream': {
              schema: { type: 'string', description: 'Server-sent events, framed by LF; comments may come between them' },
              'x-event-data': ref(event),
            },
          }),
        },
      },
      ...(isReadiness && {
        503: { description: 'It should not; the codes of the reasons', headers: always, content: { 'application/json': { schema: answer.schema } } },
      }),
      ...Object.fromEntries(Object.entries(errors).map(([status, description]) => [status, failure(description)])),
      default: failure('any other error'),
    },
  }
}

function failure(description: string): object {
  return { description, headers: always, content: { 'application/json': { schema: ref('Error') } } }
}

// Writes deploy/kubernetes/schemas: strict JSON Schemas of the kinds that the chart makes, from the published modules of Kubernetes and of the two operators.
//   GOFLAGS=-mod=mod go mod download -json k8s.io/kubernetes@v1.33.4 ... names their directories
//   node tools/kubernetes-schemas.ts KUBERNETES PROMETHEUS-OPERATOR KEDA
// Strict: a member that the API does not name is refused, where an API server would drop it silently.
import { readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { parse } from 'yaml'

type Json = null | boolean | number | string | Json[] | { [name: string]: Json }
type Schema = { [name: string]: Json }

const [kubernetes, prometheus, keda] = process.argv.slice(2)
if (keda === undefined || prometheus === undefined || kubernetes === undefined) {
  process.stderr.write('usage: node tools/kubernetes-schemas.ts KUBERNETES PROMETHEUS-OPERATOR KEDA (directories of the modules)\n')
  process.exit(2)
}
const out = new URL('../deploy/kubernetes/schemas/', import.meta.url)

const isObject = (value: Json | undefined): value is Schema => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Without what no validator reads, and with nothing beyond the named members. */
function strict(schema: Json): Json {
  if (Array.isArray(schema)) return schema.map(strict)
  if (!isObject(schema)) return schema
  if (schema['x-kubernetes-int-or-string'] === true || schema.format === 'int-or-string') return { type: ['integer', 'string'] }
  const result: Schema = {}
  for (const [name, value] of Object.entries(schema)) {
    if (name === 'properties' && isObject(value))
      result[name] = Object.fromEntries(Object.entries(value).map(([member, inner]) => [member, strict(inner)]))
    else if (
      ['$ref', 'type', 'required', 'enum', 'pattern', 'minimum', 'maximum', 'minLength', 'maxLength', 'minItems', 'maxItems', 'format'].includes(name)
    ) {
      // Go's expressions have flags that JavaScript's do not; the API server checks those.
      const foreign = (name === 'format' && value !== 'date-time') || (name === 'pattern' && String(value).includes('(?'))
      if (!foreign) result[name] = value
    } else if (['items', 'additionalProperties', 'oneOf', 'anyOf', 'allOf', 'not'].includes(name)) result[name] = strict(value)
  }
  if (result.properties !== undefined && schema['x-kubernetes-preserve-unknown-fields'] !== true && result.additionalProperties === undefined)
    result.additionalProperties = false
  return result
}

/** The kind itself says which it is. */
function ofKind(schema: Schema, apiVersion: string, kind: string): Schema {
  const properties = isObject(schema.properties) ? schema.properties : {}
  const required = Array.isArray(schema.required) ? schema.required : []
  return {
    ...schema,
    properties: { ...properties, apiVersion: { const: apiVersion }, kind: { const: kind } },
    required: [...new Set(['apiVersion', 'kind', 'metadata', ...required])],
  }
}

const kinds: readonly (readonly [definition: string, apiVersion: string])[] = [
  ['io.k8s.api.core.v1.ConfigMap', 'v1'],
  ['io.k8s.api.core.v1.Service', 'v1'],
  ['io.k8s.api.apps.v1.StatefulSet', 'apps/v1'],
  ['io.k8s.api.policy.v1.PodDisruptionBudget', 'policy/v1'],
  ['io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler', 'autoscaling/v2'],
  ['io.k8s.api.networking.v1.NetworkPolicy', 'networking.k8s.io/v1'],
]
const quantity = 'io.k8s.apimachinery.pkg.api.resource.Quantity'

const api = JSON.parse(readFileSync(join(kubernetes, 'api/openapi-spec/swagger.json'), 'utf8')) as { definitions: { [name: string]: Schema } }
const definitions: { [name: string]: Json } = {}
function take(name: string): void {
  if (definitions[name] !== undefined) return
  const source = api.definitions[name]
  if (source === undefined) throw new Error(`${kubernetes}: expected a definition of ${name}, found none`)
  const schema = name === quantity ? { type: ['string', 'number'] } : strict(source)
  definitions[name] = schema
  for (const [, next] of JSON.stringify(schema).matchAll(/"#\/definitions\/([^"]+)"/g)) if (next !== undefined) take(next)
}
for (const [name] of kinds) take(name)
for (const [name, apiVersion] of kinds) definitions[name] = ofKind(definitions[name] as Schema, apiVersion, name.slice(name.lastIndexOf('.') + 1))
write('kubernetes.json', {
  $schema: 'http://json-schema.org/draft-07/schema#',
  title: `Kubernetes, from ${basename(kubernetes)} (Apache-2.0)`,
  oneOf: kinds.map(([name]) => ({ $ref: `#/definitions/${name}` })),
  definitions: Object.fromEntries(Object.entries(definitions).sort(([a], [b]) => (a < b ? -1 : 1))),
})

const resources: readonly (readonly [module: string, file: string])[] = [
  [prometheus, 'example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml'],
  [prometheus, 'example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml'],
  [keda, 'config/crd/bases/keda.sh_scaledobjects.yaml'],
]
for (const [module, file] of resources) {
  const crd = parse(readFileSync(join(module, file), 'utf8')) as {
    spec: { group: string; names: { kind: string }; versions: { name: string; schema: { openAPIV3Schema: Schema } }[] }
  }
  const version = crd.spec.versions[0]
  if (version === undefined) throw new Error(`${file}: expected a version, found none`)
  const schema = ofKind(strict(version.schema.openAPIV3Schema) as Schema, `${crd.spec.group}/${version.name}`, crd.spec.names.kind)
  const properties = schema.properties as Schema
  properties.metadata = { type: 'object' }
  write(`${crd.spec.names.kind}.json`, {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: `${crd.spec.names.kind}, from ${module.slice(module.indexOf('github.com'))} (Apache-2.0)`,
    ...schema,
  })
}

function write(name: string, schema: Schema): void {
  writeFileSync(new URL(name, out), `${JSON.stringify(schema)}\n`)
}

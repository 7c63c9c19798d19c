/** JSON Schema 2020-12, so far as the documents here use it. */
export interface Schema {
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly properties?: { readonly [name: string]: Schema }
  readonly required?: readonly string[]
  readonly additionalProperties?: boolean | Schema
  readonly items?: Schema
  readonly minItems?: number
  readonly maxItems?: number
  readonly maxProperties?: number
  readonly enum?: readonly (string | number | null)[]
  readonly const?: unknown
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly pattern?: string
  readonly anyOf?: readonly Schema[]
  readonly allOf?: readonly Schema[]
  readonly default?: unknown
  readonly $ref?: string
}

export type Properties = { readonly [name: string]: Schema }

export const text: Schema = { type: 'string' }
export const count: Schema = { type: 'integer', minimum: 0 }
export const flag: Schema = { type: 'boolean' }
export const digest: Schema = { type: 'string', pattern: '^sha256:[0-9a-f]{64}$' }

export function ref(name: string): Schema {
  return { $ref: `#/components/schemas/${name}` }
}

export function list(items: Schema, more: Pick<Schema, 'minItems' | 'maxItems' | 'description'> = {}): Schema {
  return { type: 'array', items, ...more }
}

/** Also null. */
export function orNull(schema: Schema): Schema {
  return { anyOf: [schema, { type: 'null' }] }
}

/** A member of a request: `null` counts as absent. */
export function optional(properties: Properties): Properties {
  return Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, orNull(schema)]))
}

/** Closed: what a service writes. */
export function closed(properties: Properties, absent: readonly string[] = []): Schema {
  return { type: 'object', properties, required: Object.keys(properties).filter((name) => !absent.includes(name)), additionalProperties: false }
}

/** Open: what a service reads and passes on, or what others specify. */
export function open(properties: Properties, required: readonly string[], description?: string): Schema {
  return { type: 'object', ...(description !== undefined && { description }), properties, required, additionalProperties: true }
}

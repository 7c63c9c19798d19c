import { GrammarError, type GraphBuilder, type Node, type Part, type Rule, sequence } from './graph.ts'
import { integerRange } from './integer-range.ts'
import { JsonParts, largestInteger } from './json.ts'

/** Outside the subset of JSON Schema that is followed, at a place in the schema (a JSON pointer). */
export class SchemaError extends GrammarError {
  override readonly name: string = 'SchemaError'
  constructor(path: string, message: string) {
    super(`at ${path === '' ? 'the top' : path.slice(0, 200)}: ${message}`)
  }
}

type Schema = { readonly [name: string]: unknown }

const maxSchemas = 2_000
const maxDepth = 32
const maxCount = 1_024
const maxEnumText = 16_384
const maxNameLength = 1_024
const maxValueLength = 2_048

/** Say nothing about which values are accepted. */
const annotations = new Set([
  'title',
  'description',
  'default',
  'example',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  '$schema',
  '$id',
  '$comment',
  '$defs',
  'definitions',
])

const types = ['object', 'array', 'string', 'integer', 'number', 'boolean', 'null'] as const
type Type = (typeof types)[number]

const keywords: Readonly<Record<Type, readonly string[]>> = {
  object: ['properties', 'required', 'additionalProperties'],
  array: ['items', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength'],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  boolean: [],
  null: [],
}
const allKeywords = new Set(Object.values(keywords).flat())

/**
 * A grammar for the JSON texts of values that a schema accepts. Followed are `type`, `properties`, `required`, `additionalProperties`, `items`,
 * `minItems`, `maxItems`, `minLength`, `maxLength`, the bounds of integers and `minimum` 0 of numbers, `enum`, `const`, `anyOf`, `allOf` of one, and
 * `$ref` within the schema (also recursive). Of what the schema accepts, only members that it names are written, in its order, and numbers of up to
 * 15 digits. Everything else is refused: {@link SchemaError} with its place. `true`, `{}` and an object without `properties` are any JSON.
 */
export function schemaPart(graph: GraphBuilder, schema: unknown): Part {
  return new Compiler(graph, schema).part
}

class Compiler {
  readonly #graph: GraphBuilder
  readonly #json: JsonParts
  readonly #root: unknown
  readonly #references = new Map<string, Rule>()
  readonly part: Part
  #count = 0

  constructor(graph: GraphBuilder, root: unknown) {
    this.#graph = graph
    this.#json = new JsonParts(graph)
    this.#root = root
    this.part = this.#reference('#', '')
  }

  /** One rule for each place of the schema that is referred to, so that recursion ends. */
  #reference(reference: string, path: string): Part {
    const known = this.#references.get(reference)
    if (known !== undefined) return this.#graph.call(known)
    const rule: Rule = { entry: null }
    this.#references.set(reference, rule)
    rule.entry = this.#schema(find(this.#root, reference, path), reference.slice(1), 0)(this.#graph.end)
    return this.#graph.call(rule)
  }

  /** A rule of its own, so that repeating it costs one node. */
  #called(schema: unknown, path: string, depth: number): Part {
    return this.#graph.call(this.#graph.rule(this.#schema(schema, path, depth)))
  }

  #schema(schema: unknown, path: string, depth: number): Part {
    if (++this.#count > maxSchemas) throw new SchemaError(path, `expected at most ${maxSchemas} schemas`)
    if (depth > maxDepth) throw new SchemaError(path, `expected at most ${maxDepth} levels`)
    if (schema === true) return this.#json.value
    if (!isObject(schema)) throw new SchemaError(path, 'expected an object or true')
    const { $ref, enum: values, anyOf, allOf, type } = schema
    const left = Object.keys(schema).filter((name) => name !== 'type' && !annotations.has(name))
    const alone = (name: string): void => {
      const other = type !== undefined ? 'type' : left.find((found) => found !== name)
      if (other !== undefined) throw new SchemaError(path, `${name} beside ${other.slice(0, 40)} is not supported`)
    }
    if ($ref !== undefined) {
      alone('$ref')
      if (typeof $ref !== 'string' || !/^#(?:\/.*)?$/s.test($ref)) throw new SchemaError(`${path}/$ref`, 'expected a reference within the schema')
      return this.#reference($ref, `${path}/$ref`)
    }
    if (anyOf !== undefined) {
      alone('anyOf')
      return this.#graph.any(...list(anyOf, `${path}/anyOf`).map((item, i) => this.#schema(item, `${path}/anyOf/${i}`, depth + 1)))
    }
    if (allOf !== undefined) {
      alone('allOf')
      const [only, more] = list(allOf, `${path}/allOf`)
      if (more !== undefined) throw new SchemaError(`${path}/allOf`, 'only one schema in allOf is supported')
      return this.#schema(only, `${path}/allOf/0`, depth + 1)
    }
    if (values !== undefined || Object.hasOwn(schema, 'const')) {
      if (left.length > 1) throw new SchemaError(path, 'enum or const beside another keyword is not supported')
      return this.#values(values === undefined ? [schema.const] : list(values, `${path}/enum`), type, path)
    }
    return this.#typed(schema, type, left, path, depth)
  }

  #values(all: readonly unknown[], type: unknown, path: string): Part {
    const wanted: readonly unknown[] | null = type === undefined ? null : Array.isArray(type) ? type : [type]
    const values = all.filter((value) => wanted === null || wanted.some((one) => isOfType(value, one)))
    if (values.length === 0) throw new SchemaError(path, 'expected values of the type')
    const texts = values.map((value) => JSON.stringify(value))
    if (texts.length > maxCount || texts.reduce((sum, text) => sum + text.length, 0) > maxEnumText)
      throw new SchemaError(path, `expected at most ${maxCount} values of ${maxEnumText} characters together`)
    if (texts.some((text) => text.length > maxValueLength)) throw new SchemaError(path, `expected values of at most ${maxValueLength} characters`)
    return this.#graph.oneOf(texts)
  }

  #typed(schema: Schema, type: unknown, left: readonly string[], path: string, depth: number): Part {
    const wanted = type === undefined ? implied(left) : Array.isArray(type) ? type : [type]
    for (const name of left) if (!allKeywords.has(name)) throw new SchemaError(`${path}/${name.slice(0, 60)}`, 'this keyword is not supported')
    if (wanted === null) return this.#json.value
    if (wanted.length === 0 || new Set(wanted).size !== wanted.length) throw new SchemaError(`${path}/type`, 'expected different types')
    return this.#graph.any(
      ...wanted.map((one: unknown) => {
        const found = types.find((known) => known === one)
        if (found === undefined) throw new SchemaError(`${path}/type`, `expected ${types.join(', ')}`)
        return this.#ofType(found, schema, path, depth)
      }),
    )
  }

  #ofType(type: Type, schema: Schema, path: string, depth: number): Part {
    if (type === 'object') return this.#object(schema, path, depth)
    if (type === 'array') {
      const [min, max] = bounds(schema, 'minItems', 'maxItems', path)
      const item = schema.items === undefined ? this.#json.value : this.#called(schema.items, `${path}/items`, depth + 1)
      return this.#json.list('[', item, ']', min, max)
    }
    if (type === 'string') return this.#json.string(...bounds(schema, 'minLength', 'maxLength', path))
    if (type === 'boolean') return this.#graph.oneOf(['true', 'false'])
    if (type === 'null') return this.#graph.text('null')
    return type === 'integer' ? integerRange(this.#graph, ...integerBounds(schema, path)) : this.#json.number(isFromZero(schema, path))
  }

  #object(schema: Schema, path: string, depth: number): Part {
    const { properties = {}, required = [], additionalProperties } = schema
    if (!isObject(properties)) throw new SchemaError(`${path}/properties`, 'expected an object')
    const names = Object.keys(properties)
    if (names.length > maxCount || names.some((name) => name.length > maxNameLength || !name.isWellFormed()))
      throw new SchemaError(`${path}/properties`, `expected at most ${maxCount} names of at most ${maxNameLength} characters`)
    const needed = list(required, `${path}/required`, 0)
    for (const name of needed)
      if (typeof name !== 'string' || !Object.hasOwn(properties, name)) throw new SchemaError(`${path}/required`, 'expected names of properties')
    if (names.length > 0) {
      const members = names.map((name) => ({
        optional: !needed.includes(name),
        part: sequence(
          this.#graph.text(JSON.stringify(name)),
          this.#json.colon,
          this.#called(properties[name], `${path}/properties/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`, depth + 1),
        ),
      }))
      return this.#members(members)
    }
    if (additionalProperties === false) return sequence(this.#graph.text('{'), this.#json.space, this.#graph.text('}'))
    if (additionalProperties === undefined || additionalProperties === true) return this.#json.object
    const value = this.#called(additionalProperties, `${path}/additionalProperties`, depth + 1)
    return this.#json.list('{', sequence(this.#json.string(0, null), this.#json.colon, value), '}', 0, null)
  }

  /** Members in their order; those that are optional may be left out. */
  #members(members: readonly { readonly optional: boolean; readonly part: Part }[]): Part {
    const { space, comma } = this.#json
    return (next) => {
      const end = this.#graph.text('}')(next)
      const closing = space(end)
      // From the last member to the first: what follows it, where one was written before it and where none was.
      let later: Node = closing
      let first: Node = end
      for (const { optional, part } of members.toReversed()) {
        const written = part(later)
        first = optional ? this.#graph.split([written, first]) : written
        later = optional ? this.#graph.split([comma(written), later]) : comma(written)
      }
      return sequence(this.#graph.text('{'), space)(first)
    }
  }
}

/** A schema without `type` accepts values of any type; with keywords of one type, that type is meant. */
function implied(left: readonly string[]): Type[] | null {
  if (left.length === 0) return null
  return types.filter((type) => left.some((name) => keywords[type].includes(name)) && type !== 'integer')
}

function isOfType(value: unknown, type: unknown): boolean {
  if (type === 'null') return value === null
  if (type === 'array') return Array.isArray(value)
  if (type === 'object') return isObject(value)
  return type === 'integer' ? Number.isInteger(value) : typeof value === type
}

function find(root: unknown, reference: string, path: string): unknown {
  let at: unknown = root
  for (const step of reference.split('/').slice(1)) {
    const name = step.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) throw new SchemaError(path, 'expected a reference to a part of the schema')
    at = (at as Schema)[name]
  }
  return at
}

function bounds(schema: Schema, least: string, most: string, path: string): [min: number, max: number | null] {
  const read = (name: string): number | null => {
    const value = schema[name]
    if (value === undefined) return null
    if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > maxCount)
      throw new SchemaError(`${path}/${name}`, `expected an integer from 0 to ${maxCount}`)
    return value as number
  }
  const min = read(least) ?? 0
  const max = read(most)
  if (max !== null && max < min) throw new SchemaError(`${path}/${most}`, `expected at least ${least}`)
  return [min, max]
}

/** The integers that are written: within the bounds of the schema, and of up to 15 digits. */
function integerBounds(schema: Schema, path: string): [min: number, max: number] {
  const read = (name: string): number | null => {
    const value = schema[name]
    if (value !== undefined && (typeof value !== 'number' || !Number.isFinite(value))) throw new SchemaError(`${path}/${name}`, 'expected a number')
    return value ?? null
  }
  const above = read('exclusiveMinimum')
  const below = read('exclusiveMaximum')
  const min = Math.max(-largestInteger, Math.ceil(read('minimum') ?? -largestInteger), above === null ? -largestInteger : Math.floor(above) + 1)
  const max = Math.min(largestInteger, Math.floor(read('maximum') ?? largestInteger), below === null ? largestInteger : Math.ceil(below) - 1)
  if (min > max) throw new SchemaError(path, 'expected bounds that leave an integer')
  return [min, max]
}

/** Whether numbers are from 0 on, the one bound of fractions that is followed. */
function isFromZero(schema: Schema, path: string): boolean {
  for (const name of ['maximum', 'exclusiveMinimum', 'exclusiveMaximum'])
    if (schema[name] !== undefined) throw new SchemaError(`${path}/${name}`, 'this bound of a number is not supported')
  if (schema.minimum !== undefined && schema.minimum !== 0) throw new SchemaError(`${path}/minimum`, 'only 0 is supported for a number')
  return schema.minimum === 0
}

function list(value: unknown, path: string, least = 1): readonly unknown[] {
  if (!Array.isArray(value) || value.length < least || value.length > maxCount)
    throw new SchemaError(path, `expected a list of ${least} to ${maxCount}`)
  return value
}

function isObject(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

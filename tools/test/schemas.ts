import { readdirSync, readFileSync } from 'node:fs'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'

const directory = new URL('../../spec/schemas/', import.meta.url)

/** Every schema file of spec/schemas, parsed, by its name without `.schema.json`. */
export const schemas: ReadonlyMap<string, { readonly $id: string; readonly [name: string]: unknown }> = new Map(
  readdirSync(directory)
    .sort()
    .map((file) => [file.replace(/\.schema\.json$/, ''), JSON.parse(readFileSync(new URL(file, directory), 'utf8')) as { $id: string }]),
)

/** Strict in everything: an unknown keyword, a type that cannot match or a bound without its type is an error of the schema. */
const ajv = new Ajv2020({ strict: true, strictTypes: true, strictTuples: false, allErrors: true, validateFormats: false })
for (const schema of schemas.values()) ajv.addSchema(schema)

export function validatorOf(name: string): ValidateFunction {
  const found = ajv.getSchema(schemas.get(name)?.$id ?? '')
  if (found === undefined) throw new TypeError(`no schema ${name}`)
  return found
}

/** The complaints of a schema about a document; empty where it is valid. */
export function complaints(name: string, document: unknown): string[] {
  const validate = validatorOf(name)
  return validate(document) ? [] : (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`)
}

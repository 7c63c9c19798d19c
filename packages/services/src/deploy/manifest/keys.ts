import { readFile } from 'node:fs/promises'
import { parseJson, Shape } from 'veritee/bytes'
import type { GramineVersion } from '../layout.ts'

/** The keys that a release of Gramine documents: `*` is a name that the writer chooses. */
export interface DocumentedKeys {
  readonly gramine: GramineVersion
  readonly keys: ReadonlySet<string>
  /** Members of the tables in these arrays. */
  readonly items: ReadonlyMap<string, ReadonlySet<string>>
}

const shape = new Shape('enclave_input_malformed')

/** Reads the list of a release from `deploy/gramine`, which was taken from the document of that release that it names. */
export async function readDocumentedKeys(gramine: GramineVersion): Promise<DocumentedKeys> {
  const text = await readFile(new URL(`../../../../../deploy/gramine/keys-${gramine}.json`, import.meta.url), 'utf8')
  const o = shape.object(parseJson(text, { maxLength: 1 << 16, maxDepth: 6 }), 'keys', ['gramine', 'source', 'keys', 'items'])
  const names = (value: unknown, at: string): ReadonlySet<string> =>
    new Set(shape.array(value, at, 256).map((key, i) => shape.string(key, `${at}[${i}]`, 128)))
  return {
    gramine: shape.oneOf(o.gramine, 'gramine', [gramine]),
    keys: names(o.keys, 'keys'),
    items: new Map(Object.entries(shape.record(o.items, 'items')).map(([name, members]) => [name, names(members, name)])),
  }
}

/** Every key of a manifest that the release does not document, as a dotted path. Gramine of these releases ignores or refuses such keys: what was meant does not hold. */
export function undocumentedKeys(manifest: Readonly<Record<string, unknown>>, documented: DocumentedKeys): string[] {
  const known = [...documented.keys].map((key) => key.split('.'))
  const isPrefix = (path: readonly string[]): boolean =>
    known.some((key) => key.length > path.length && path.every((name, i) => key[i] === '*' || key[i] === name))
  const isKey = (path: readonly string[]): boolean =>
    known.some((key) => key.length === path.length && path.every((name, i) => key[i] === '*' || key[i] === name))
  const found: string[] = []
  const walk = (value: unknown, path: readonly string[]): void => {
    const items = documented.items.get(path.join('.'))
    if (isTable(value) && isPrefix(path) && items === undefined) {
      for (const [name, member] of Object.entries(value)) walk(member, [...path, name])
      return
    }
    if (!isKey(path) && items === undefined) found.push(path.join('.'))
    else if (items !== undefined && Array.isArray(value))
      for (const [i, item] of value.entries())
        if (isTable(item)) for (const name of Object.keys(item)) if (!items.has(name)) found.push(`${path.join('.')}[${i}].${name}`)
  }
  for (const [name, value] of Object.entries(manifest)) walk(value, [name])
  return found
}

/** A TOML table, and not an array or a date. */
export function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return value !== null && typeof value === 'object' && !Array.isArray(value) && !(value instanceof Date)
}

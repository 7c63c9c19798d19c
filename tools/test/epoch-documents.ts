/** What schema each file of an epoch bundle has; those that are missing here are no JSON (`leaves.txt`). */
const schemaOf: readonly (readonly [pattern: RegExp, schema: string])[] = [
  [/^manifest\.json$/, 'epoch-manifest'],
  [/^signatures\.json$/, 'epoch-signatures'],
  [/^policy\.json$/, 'scoring-policy'],
  [/^roster\.json$/, 'epoch-roster'],
  [/^(?:before|after)\.json$/, 'scoring-state'],
  [/^beacon\.json$/, 'epoch-beacon'],
  [/^log\.json$/, 'epoch-log'],
  [/\/records\.jsonl$/, 'audit-record'],
  [/\/openings\.jsonl$/, 'canary-opening'],
  [/\/duties\.json$/, 'epoch-duties'],
  [/\/canaries\.json$/, 'epoch-canaries'],
  [/^proofs\//, 'fraud-proof'],
  [/^proven\.json$/, 'epoch-proven'],
  [/^missed\.json$/, 'epoch-missed'],
  [/^scores\.json$/, 'epoch-scores'],
  [/^weights\.json$/, 'epoch-weights'],
]

export interface EpochDocument {
  readonly schema: string
  /** File, and in a file of lines the line, from 0. */
  readonly at: string
  readonly value: unknown
}

/** Every JSON document of a bundle, with the name of its schema. Throws `TypeError` for a file that has none. */
export function documentsOf(bundle: ReadonlyMap<string, string>): EpochDocument[] {
  return [...bundle].flatMap(([path, text]): EpochDocument[] => {
    if (path === 'leaves.txt') return []
    const schema = schemaOf.find(([pattern]) => pattern.test(path))?.[1]
    if (schema === undefined) throw new TypeError(`no schema of ${path}`)
    const lines = path.endsWith('.jsonl') ? text.split('\n').slice(0, -1) : [text]
    return lines.map((line, i) => ({ schema, at: lines.length === 1 ? path : `${path} ${i}`, value: JSON.parse(line) }))
  })
}

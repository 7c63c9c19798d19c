/** A policy document before anybody has reviewed it: plain JSON, which no reader of policies accepts yet. */
export interface Draft {
  readonly version: string
  readonly comments: { readonly [field: string]: string }
  readonly roles: { readonly [role: string]: { readonly [field: string]: unknown } }
}

/** Drafts in one: sections of different roles side by side, of one role with their lists joined, so that each of the machines is listed. */
export function mergeSections(texts: readonly string[]): Draft {
  const drafts = texts.map((text) => JSON.parse(text) as Draft)
  const [first] = drafts
  if (first === undefined) throw new TypeError('expected a draft')
  return drafts.slice(1).reduce(
    (merged, { comments, roles }) => ({
      version: merged.version,
      comments: { ...comments, ...merged.comments },
      roles: joined(merged.roles, roles) as Draft['roles'],
    }),
    first,
  )
}

export function oneDocument(draft: Draft): string {
  return `${JSON.stringify(draft, null, 2)}\n`
}

/** Objects by member, lists as a union; anything else stays as it was first, since drafts of one role agree on what is not a list. */
function joined(a: unknown, b: unknown): unknown {
  if (Array.isArray(a) && Array.isArray(b)) {
    const known = new Set(a.map((item) => JSON.stringify(item)))
    return [...(a as unknown[]), ...(b as unknown[]).filter((item) => !known.has(JSON.stringify(item)))]
  }
  if (!isObject(a) || !isObject(b)) return a ?? b
  return Object.fromEntries([...new Set([...Object.keys(a), ...Object.keys(b)])].map((name) => [name, joined(a[name], b[name])]))
}

function isObject(value: unknown): value is { readonly [name: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

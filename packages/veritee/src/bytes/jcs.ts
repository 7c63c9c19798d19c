/** A JSON value restricted as aci/1 Appendix A restricts it: numbers are safe integers. Decimals travel as strings. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json }

/**
 * JSON Canonicalization Scheme (RFC 8785) of a value whose numbers are safe integers.
 *
 * Members are sorted by UTF-16 code units, as RFC 8785 section 3.2.3 demands and as `<` on strings does.
 * Wrong arguments are `TypeError`: a non-integer or unsafe number, `undefined` members, lone surrogates, anything not JSON.
 */
export function jcs(value: Json): string {
  const ordered = inOrder(value)
  return ordered === undefined ? written(value) : JSON.stringify(ordered)
}

/**
 * The same value with the members of each object in their order, for `JSON.stringify`, which writes what RFC 8785 demands of everything but the order and is
 * several times faster than writing here. Objects that are in order already, as all are that were read from a canonical text, are not copied.
 * Undefined where no object can have that order: names that look like array indices come first in every object, and `__proto__` is no name like others.
 */
function inOrder(value: Json): Json | undefined {
  if (value === null || typeof value === 'boolean') return value
  if (typeof value === 'number') return safeInteger(value)
  if (typeof value === 'string') return wellFormed(value)
  if (Array.isArray(value)) {
    let copy: Json[] | null = null
    for (let i = 0; i < value.length; i++) {
      const item = inOrder(value[i] as Json)
      if (item === undefined) return undefined
      if (item === value[i]) continue
      copy ??= [...(value as readonly Json[])]
      copy[i] = item
    }
    return copy ?? value
  }
  const object = plainObject(value)
  const names = Object.keys(object)
  let sorted = true
  for (let i = 0; i < names.length; i++) {
    const name = wellFormed(names[i] as string)
    const first = name.charCodeAt(0)
    if ((first >= 0x30 && first <= 0x39) || name === '__proto__') return undefined
    if (i > 0 && name < (names[i - 1] as string)) sorted = false
  }
  if (!sorted) sort(names)
  let copy: Record<string, Json> | null = sorted ? null : {}
  for (let i = 0; i < names.length; i++) {
    const name = names[i] as string
    const member = inOrder(object[name] as Json)
    if (member === undefined) return undefined
    if (copy === null && member !== object[name]) {
      copy = {}
      for (let before = 0; before < i; before++) copy[names[before] as string] = object[names[before] as string] as Json
    }
    if (copy !== null) copy[name] = member
  }
  return copy ?? object
}

/** Sorts by UTF-16 code units, in place. The few names that most objects have by insertion: `sort` copies them twice, which takes longer than to compare them. */
function sort(names: string[]): void {
  if (names.length > 16) names.sort()
  else
    for (let i = 1; i < names.length; i++) {
      const name = names[i] as string
      let at = i
      for (; at > 0 && name < (names[at - 1] as string); at--) names[at] = names[at - 1] as string
      names[at] = name
    }
}

/** Written member by member. */
function written(value: Json): string {
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'number') return String(safeInteger(value))
  if (typeof value === 'string') return JSON.stringify(wellFormed(value))
  // Array.from turns the holes of a sparse array into undefined, which is refused; map would skip them.
  if (Array.isArray(value)) return `[${Array.from(value, (item) => written(item as Json)).join(',')}]`
  const object = plainObject(value)
  return `{${Object.keys(object)
    .sort()
    .map((name) => `${written(name)}:${written(object[name] as Json)}`)
    .join(',')}}`
}

function safeInteger(value: number): number {
  if (!Number.isSafeInteger(value)) throw new TypeError(`jcs: expected a safe integer, found ${value}`)
  return value === 0 ? 0 : value
}

function wellFormed(value: string): string {
  if (!value.isWellFormed()) throw new TypeError('jcs: a string holds a lone surrogate')
  return value
}

function plainObject(value: unknown): { readonly [name: string]: Json } {
  if (typeof value !== 'object' || value === null) throw new TypeError(`jcs: cannot encode ${typeof value}`)
  if (!isPlain(value)) throw new TypeError('jcs: cannot encode an object of a class')
  return value as { readonly [name: string]: Json }
}

/** An object literal or what JSON parsing gives, of any realm: dates, maps and byte arrays would all come out as `{}` or worse. */
function isPlain(value: object): boolean {
  const prototype: object | null = Object.getPrototypeOf(value) as object | null
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

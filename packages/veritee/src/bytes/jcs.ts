/** A JSON value restricted as aci/1 Appendix A restricts it: numbers are safe integers. Decimals travel as strings. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json }

/**
 * JSON Canonicalization Scheme (RFC 8785) of a value whose numbers are safe integers.
 *
 * Members are sorted by UTF-16 code units, as RFC 8785 section 3.2.3 demands and as `<` on strings does.
 * Wrong arguments are `TypeError`: a non-integer or unsafe number, `undefined` members, lone surrogates, anything not JSON.
 */
export function jcs(value: Json): string {
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new TypeError(`jcs: expected a safe integer, found ${value}`)
    return String(Object.is(value, -0) ? 0 : value)
  }
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new TypeError('jcs: a string holds a lone surrogate')
    return JSON.stringify(value)
  }
  // Array.from turns the holes of a sparse array into undefined, which is refused; map would skip them.
  if (Array.isArray(value)) return `[${Array.from(value, (item) => jcs(item as Json)).join(',')}]`
  if (typeof value !== 'object') throw new TypeError(`jcs: cannot encode ${typeof value}`)
  if (!isPlain(value)) throw new TypeError('jcs: cannot encode an object of a class')
  const object = value as { readonly [name: string]: Json }
  const members = Object.keys(object).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  return `{${members.map((name) => `${jcs(name)}:${jcs(object[name] as Json)}`).join(',')}}`
}

/** An object literal or what JSON parsing gives, of any realm: dates, maps and byte arrays would all come out as `{}` or worse. */
function isPlain(value: object): boolean {
  const prototype: object | null = Object.getPrototypeOf(value) as object | null
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

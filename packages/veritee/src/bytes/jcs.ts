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
  if (Array.isArray(value)) return `[${value.map((item) => jcs(item as Json)).join(',')}]`
  if (typeof value !== 'object') throw new TypeError(`jcs: cannot encode ${typeof value}`)
  const object = value as { readonly [name: string]: Json }
  const members = Object.keys(object).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  return `{${members.map((name) => `${jcs(name)}:${jcs(object[name] as Json)}`).join(',')}}`
}

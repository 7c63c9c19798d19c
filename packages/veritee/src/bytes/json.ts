import { type ErrorCode, fail } from '../errors.ts'

/** Bounds for {@link parseJson}. `maxLength` is in UTF-16 units of the text. */
export interface JsonLimits {
  readonly maxLength: number
  readonly maxDepth: number
  /** Of the document, names of members apart: each becomes memory, and time that all others wait, whatever its text takes. */
  readonly maxValues?: number
  /** Numbers with a fraction or an exponent are refused, also where their value is an integer: `5.0` is no security version. */
  readonly integersOnly?: true
}

/** Where one member stands in its text: `start` at the opening quote of its name, `end` just past its value. */
export interface MemberSpan {
  readonly name: string
  readonly start: number
  readonly valueStart: number
  readonly end: number
}

export interface ParsedJson {
  readonly value: unknown
  /** For each object, as deep as they were asked for, its members in the order of the text. */
  readonly spans: ReadonlyMap<object, readonly MemberSpan[]>
}

/**
 * Strict JSON (RFC 8259): one value, no duplicate member names, no `__proto__`, no lone surrogates, no byte order mark, bounded size and depth.
 *
 * Duplicate names are refused because parsers disagree on which one counts: what was signed could differ from what is read.
 * Numbers become JavaScript numbers; whether they are integers in range is the caller's check.
 * Throws `malformed_json`.
 */
export function parseJson(text: string, limits: JsonLimits): unknown {
  const fast = parsePlain(text, limits)
  return fast === undefined ? new Parser(text, limits, null).document() : fast
}

/**
 * The value of a text that `JSON.parse` reads as {@link Parser} would; undefined for every other text, which then is for {@link Parser} to judge, so that
 * each refusal has one place. It is several times faster.
 *
 * `JSON.parse` takes the same grammar. It differs in three things, each looked for here: it drops all but the last of members with one name, it takes
 * `__proto__` as a name, and it takes lone surrogates and numbers beyond the doubles.
 */
function parsePlain(text: string, limits: JsonLimits): unknown {
  if (text.length > limits.maxLength || mayExceed(text, limits.maxValues)) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  // Documents of integers only are Intel's, which are in the one form that is judged faster.
  if (limits.integersOnly && isCanonical(text, value, limits.maxDepth)) return value
  return 2 * countStrings(value, limits.maxDepth) === countMarks(text, limits) ? value : undefined
}

/** True for a text that could hold more values than it may: each but the first follows one of three characters, which may stand in strings too. */
function mayExceed(text: string, maxValues: number | undefined): boolean {
  if (maxValues === undefined || text.length <= maxValues) return false
  let found = 1
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === 0x2c || code === 0x5b || code === 0x7b) found++
  }
  return found > maxValues
}

/**
 * True for a text that `JSON.stringify` would write, character by character, without an escape sequence. Then no member was dropped, since it would be
 * missing; each string is well-formed, since a lone surrogate would be escaped; and each number is in one form, which has neither fraction nor exponent
 * where the value is a safe integer.
 */
function isCanonical(text: string, value: unknown, maxDepth: number): boolean {
  return !text.includes('\\') && !text.includes('__proto__') && isShallow(value, maxDepth) && JSON.stringify(value) === text
}

/**
 * The value of a text that is a JCS form (RFC 8785) of safe integers, as documents are that were signed here; undefined for every other text, which is then for
 * {@link parseJson} to judge. One pass over the value tells all that reading strictly does, and that the text needs no canonical form made of it.
 */
export function parseCanonical(text: string, { maxLength, maxDepth }: JsonLimits): unknown {
  if (text.length > maxLength) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  return isOrdered(value, maxDepth) && JSON.stringify(value) === text ? value : undefined
}

/**
 * True for a value no deeper than `depth` whose members are in the order of RFC 8785, section 3.2.3, whose numbers are safe integers and whose strings are
 * well-formed. What `JSON.parse` drops, a member whose name comes twice, is missing when the value is written again.
 */
function isOrdered(value: unknown, depth: number): boolean {
  if (typeof value === 'string') return value.isWellFormed()
  if (typeof value === 'number') return Number.isSafeInteger(value)
  if (typeof value !== 'object' || value === null) return true
  if (depth === 0) return false
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) if (!isOrdered(value[index], depth - 1)) return false
    return true
  }
  let before: string | null = null
  for (const name in value) {
    if ((before !== null && name <= before) || name === '__proto__' || !name.isWellFormed()) return false
    before = name
    if (!isOrdered((value as Record<string, unknown>)[name], depth - 1)) return false
  }
  return true
}

/** True for a value that is no deeper than `depth`, and whose numbers are safe integers. */
function isShallow(value: unknown, depth: number): boolean {
  if (typeof value === 'number') return Number.isSafeInteger(value)
  if (typeof value !== 'object' || value === null) return true
  if (depth === 0) return false
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) if (!isShallow(value[index], depth - 1)) return false
  } else for (const name in value) if (!isShallow((value as Record<string, unknown>)[name], depth - 1)) return false
  return true
}

/**
 * How many quotation marks a text that `JSON.parse` has read holds outside escape sequences. Each of them begins or ends a string, so if the value holds
 * as many names and strings as the text, nothing was dropped. NaN where a number has another form than the limits allow.
 */
function countMarks(text: string, { integersOnly }: JsonLimits): number {
  let marks = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === 0x5c) at++
    else if (code === 0x22) marks++
    // Outside of strings a point, or an e after a digit, is part of a number.
    else if (integersOnly && marks % 2 === 0 && (code === 0x2e || ((code | 0x20) === 0x65 && isDigit(text.charCodeAt(at - 1))))) return Number.NaN
  }
  return marks
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39
}

/** How many strings and names a value has; NaN where it is too deep or holds what {@link Parser} refuses. */
function countStrings(value: unknown, depth: number): number {
  if (typeof value === 'string') return value.isWellFormed() ? 1 : Number.NaN
  if (typeof value === 'number') return Number.isFinite(value) ? 0 : Number.NaN
  if (typeof value !== 'object' || value === null) return 0
  if (depth === 0) return Number.NaN
  let count = 0
  if (Array.isArray(value)) for (const item of value) count += countStrings(item, depth - 1)
  else
    for (const name in value) {
      if (name === '__proto__' || !name.isWellFormed()) return Number.NaN
      count += 1 + countStrings((value as Record<string, unknown>)[name], depth - 1)
    }
  return count
}

/** {@link parseJson} of one kind of document: whatever is wrong with the text is an error of that kind, `code`. */
export function parseDocument(text: string, limits: JsonLimits, code: ErrorCode, what: string): unknown {
  try {
    return parseJson(text, limits)
  } catch (cause) {
    throw fail(code, `${what} is not strict JSON: ${(cause as Error).message}`, cause)
  }
}

/** {@link parseDocument} that also tells where each member stands. */
export function parseDocumentSpans(text: string, limits: JsonLimits, code: ErrorCode, what: string): ParsedJson {
  try {
    return parseJsonSpans(text, limits)
  } catch (cause) {
    throw fail(code, `${what} is not strict JSON: ${(cause as Error).message}`, cause)
  }
}

/**
 * {@link parseJson} that also tells where each member stands, for cutting a document without re-serialising it. `spansTo`: only of objects that stand so deep at
 * most, 1 being the document itself.
 */
export function parseJsonSpans(text: string, limits: JsonLimits, spansTo: number = limits.maxDepth): ParsedJson {
  const spans = new Map<object, MemberSpan[]>()
  return { value: new Parser(text, limits, spans, spansTo).document(), spans }
}

const number = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
// One character class per run: alternation inside a repetition would cost stack for each character of a long string.
const run = /[^"\\\u0000-\u001f]*/y
const escapeSequence = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y

class Parser {
  readonly #text: string
  readonly #maxDepth: number
  readonly #integersOnly: boolean
  readonly #spans: Map<object, MemberSpan[]> | null
  readonly #spansTo: number
  /** Values that may still come. */
  #left: number
  #at = 0

  constructor(text: string, limits: JsonLimits, spans: Map<object, MemberSpan[]> | null, spansTo = 0) {
    if (text.length > limits.maxLength) throw fail('malformed_json', `expected at most ${limits.maxLength} characters, found ${text.length}`)
    this.#text = text
    this.#maxDepth = limits.maxDepth
    this.#integersOnly = limits.integersOnly === true
    this.#left = limits.maxValues ?? Number.POSITIVE_INFINITY
    this.#spans = spans
    this.#spansTo = spansTo
  }

  document(): unknown {
    const value = this.#value(0)
    this.#space()
    if (this.#at !== this.#text.length) throw this.#error('the end of the text')
    return value
  }

  #error(expected: string): Error {
    return fail('malformed_json', `expected ${expected} at offset ${this.#at}`)
  }

  #space(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at)
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return
      this.#at++
    }
  }

  #value(depth: number): unknown {
    if (this.#left-- === 0) throw this.#error('no more values')
    this.#space()
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object(depth + 1)
      case '[':
        return this.#array(depth + 1)
      case '"':
        return this.#string()
      case 't':
        return this.#literal('true', true)
      case 'f':
        return this.#literal('false', false)
      case 'n':
        return this.#literal('null', null)
      default:
        return this.#number()
    }
  }

  #literal<T>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) throw this.#error('a JSON value')
    this.#at += word.length
    return value
  }

  #number(): number {
    number.lastIndex = this.#at
    const found = number.exec(this.#text)
    if (found === null) throw this.#error('a JSON value')
    if (this.#integersOnly && !/^-?[0-9]+$/.test(found[0])) throw this.#error('an integer')
    this.#at = number.lastIndex
    const value = Number(found[0])
    if (!Number.isFinite(value)) throw this.#error('a number in the range of a double')
    return value
  }

  #string(): string {
    const start = this.#at++
    let escaped = false
    for (;;) {
      run.lastIndex = this.#at
      run.test(this.#text)
      this.#at = run.lastIndex
      const found = this.#text[this.#at]
      if (found === '"') break
      if (found !== '\\') throw this.#error('a string')
      escapeSequence.lastIndex = this.#at
      if (!escapeSequence.test(this.#text)) throw this.#error('an escape sequence')
      this.#at = escapeSequence.lastIndex
      escaped = true
    }
    const raw = this.#text.slice(start + 1, this.#at++)
    const value = escaped ? (JSON.parse(`"${raw}"`) as string) : raw
    if (!value.isWellFormed()) throw this.#error('a string without lone surrogates')
    return value
  }

  #descend(depth: number): void {
    if (depth > this.#maxDepth) throw this.#error(`at most ${this.#maxDepth} levels of nesting`)
    this.#at++
    this.#space()
  }

  #array(depth: number): unknown[] {
    this.#descend(depth)
    const items: unknown[] = []
    if (this.#text[this.#at] === ']') {
      this.#at++
      return items
    }
    for (;;) {
      items.push(this.#value(depth))
      if (this.#closes(']')) return items
    }
  }

  #object(depth: number): Record<string, unknown> {
    this.#descend(depth)
    const object: Record<string, unknown> = {}
    const spans: MemberSpan[] | null = depth > this.#spansTo ? null : []
    if (spans !== null) this.#spans?.set(object, spans)
    if (this.#text[this.#at] === '}') {
      this.#at++
      return object
    }
    for (;;) {
      this.#space()
      const start = this.#at
      if (this.#text[this.#at] !== '"') throw this.#error('a member name')
      const name = this.#string()
      if (name === '__proto__' || Object.hasOwn(object, name)) throw this.#error('no duplicate and no forbidden member name')
      this.#space()
      if (this.#text[this.#at] !== ':') throw this.#error("':'")
      this.#at++
      this.#space()
      const valueStart = this.#at
      object[name] = this.#value(depth)
      spans?.push({ name, start, valueStart, end: this.#at })
      if (this.#closes('}')) return object
    }
  }

  /** After an element: true at the closing bracket, false past a comma. */
  #closes(bracket: string): boolean {
    this.#space()
    const found = this.#text[this.#at]
    if (found !== bracket && found !== ',') throw this.#error(`',' or '${bracket}'`)
    this.#at++
    return found === bracket
  }
}

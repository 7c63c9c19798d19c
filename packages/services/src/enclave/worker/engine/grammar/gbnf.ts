import { type CharacterRange, character, complement } from './characters.ts'
import { GrammarError, type GraphBuilder, nothing, type Part, type Rule, sequence } from './graph.ts'

const maxText = 16_384
const maxRules = 500
const maxDepth = 32
const maxRepeat = 1_024

/** llama.cpp's GBNF: rules `name ::= ...` with `root`, literals, character classes, `.`, groups, `|`, `*`, `+`, `?`, `{m,n}` and `#` comments. Throws {@link GrammarError}. */
export function gbnfPart(graph: GraphBuilder, text: string): Part {
  if (text.length > maxText) throw new GrammarError(`expected a grammar of at most ${maxText} characters`)
  return new GbnfReader(graph, text).root
}

class GbnfReader {
  readonly #graph: GraphBuilder
  readonly #text: string
  readonly #rules = new Map<string, Rule>()
  readonly root: Part
  #at = 0

  constructor(graph: GraphBuilder, text: string) {
    this.#graph = graph
    this.#text = text
    this.#skip(true)
    while (this.#at < text.length) {
      const rule = this.#rule(this.#name())
      if (rule.entry !== null) throw this.#wrong('each rule once')
      this.#skip(false)
      this.#expect('::=')
      this.#skip(true)
      rule.entry = this.#alternatives(0, false)(graph.end)
      this.#skip(true)
    }
    for (const rule of this.#rules.values()) if (rule.entry === null) throw this.#wrong('a definition of every rule that is used')
    if (!this.#rules.has('root')) throw this.#wrong('a rule root')
    this.root = graph.call(this.#rule('root'))
  }

  #rule(name: string): Rule {
    const known = this.#rules.get(name)
    if (known !== undefined) return known
    if (this.#rules.size >= maxRules) throw this.#wrong(`at most ${maxRules} rules`)
    const rule: Rule = { entry: null }
    this.#rules.set(name, rule)
    return rule
  }

  #wrong(expected: string): GrammarError {
    return new GrammarError(`at character ${this.#at}: expected ${expected}`)
  }

  #match(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0] ?? null
    if (found !== null) this.#at += found.length
    return found
  }

  #expect(text: string): void {
    if (!this.#text.startsWith(text, this.#at)) throw this.#wrong(text)
    this.#at += text.length
  }

  #skip(lines: boolean): void {
    this.#match(lines ? /(?:[ \t\r\n]|#[^\n]*)*/y : /(?:[ \t]|#[^\n]*)*/y)
  }

  #name(): string {
    const name = this.#match(/[A-Za-z][A-Za-z0-9_-]{0,63}/y)
    if (name === null) throw this.#wrong('the name of a rule')
    return name
  }

  /** In a group, line breaks mean nothing; at the top one ends the rule. */
  #alternatives(depth: number, nested: boolean): Part {
    if (depth > maxDepth) throw this.#wrong(`at most ${maxDepth} levels of groups`)
    const parts = [this.#sequence(depth, nested)]
    while (this.#text.charAt(this.#at) === '|') {
      this.#at++
      this.#skip(true)
      parts.push(this.#sequence(depth, nested))
    }
    return this.#graph.any(...parts)
  }

  #sequence(depth: number, nested: boolean): Part {
    const parts: Part[] = []
    for (let part = this.#item(depth); part !== null; part = this.#item(depth)) {
      parts.push(this.#repeated(part))
      this.#skip(nested)
    }
    return parts.length === 0 ? nothing : sequence(...parts)
  }

  #item(depth: number): Part | null {
    const first = this.#text.charAt(this.#at)
    if (first === '"') return this.#literal()
    if (first === '[') return this.#class()
    if (first === '.') {
      this.#at++
      return character(this.#graph, [[0, 0x10ffff]])
    }
    if (first === '(') {
      this.#at++
      this.#skip(true)
      const part = this.#alternatives(depth + 1, true)
      this.#expect(')')
      return part
    }
    return /[A-Za-z]/.test(first) ? this.#graph.call(this.#rule(this.#name())) : null
  }

  #repeated(part: Part): Part {
    const sign = this.#match(/[*+?]|\{[0-9]{1,4}(?:,[0-9]{0,4})?\}/y)
    if (sign === null) return part
    // A rule of its own, so that repeating it costs one node.
    const once = this.#graph.call(this.#graph.rule(part))
    if (sign === '?') return this.#graph.optional(once)
    if (sign === '*' || sign === '+') return this.#graph.repeat(once, sign === '*' ? 0 : 1, null)
    const [least = '', most = least] = sign.slice(1, -1).split(',')
    const [min, max] = [Number(least), most === '' ? null : Number(most)]
    if (min > maxRepeat || (max !== null && (max > maxRepeat || max < min))) throw this.#wrong(`a repetition of at most ${maxRepeat}`)
    return this.#graph.repeat(once, min, max)
  }

  #literal(): Part {
    this.#at++
    let text = ''
    while (this.#text.charAt(this.#at) !== '"') text += String.fromCodePoint(this.#codePoint())
    this.#at++
    return this.#graph.text(text)
  }

  #class(): Part {
    this.#at++
    const negated = this.#match(/\^/y) !== null
    const ranges: CharacterRange[] = []
    while (this.#text.charAt(this.#at) !== ']') {
      const low = this.#codePoint()
      const high = this.#match(/-(?!\])/y) === null ? low : this.#codePoint()
      if (high < low) throw this.#wrong('a range from low to high')
      ranges.push([low, high])
    }
    this.#at++
    return character(this.#graph, negated ? complement(ranges) : ranges)
  }

  #codePoint(): number {
    const escaped = this.#match(/\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[nrt"\\[\]-])/y)
    const point = escaped === null ? this.#plain() : escapedPoint(escaped)
    if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) throw this.#wrong('a character')
    return point
  }

  #plain(): number {
    const point = this.#text.codePointAt(this.#at)
    if (point === undefined || point === 0x0a || point === 0x5c) throw this.#wrong('a character or a known escape')
    this.#at += point > 0xffff ? 2 : 1
    return point
  }
}

function escapedPoint(escaped: string): number {
  const letter = escaped.charAt(1)
  if (letter === 'n') return 0x0a
  if (letter === 'r') return 0x0d
  if (letter === 't') return 0x09
  return escaped.length === 2 ? letter.charCodeAt(0) : Number.parseInt(escaped.slice(2), 16)
}

import { character, complement } from './characters.ts'
import { byteSet, type GraphBuilder, nothing, type Part, type Rule, sequence } from './graph.ts'
import { integerRange } from './integer-range.ts'

/** Digits of an integer: all such integers are exact in a double. */
const maxDigits = 15
export const largestInteger: number = 10 ** maxDigits - 1
const maxIndent = 32

/** The pieces of JSON text. White space is bounded, so that an answer cannot fill itself with it. */
export class JsonParts {
  readonly graph: GraphBuilder
  readonly #character: Rule
  readonly #value: Rule
  readonly #object: Rule
  readonly #array: Rule
  /** After a bracket, a comma or a colon: nothing, one space, or a line break with an indentation of up to 32 spaces. */
  readonly space: Part

  constructor(graph: GraphBuilder) {
    this.graph = graph
    const space = graph.rule(graph.any(nothing, graph.text(' '), sequence(graph.text('\n'), graph.repeat(graph.text(' '), 0, maxIndent))))
    this.space = graph.call(space)
    this.#character = graph.rule(stringCharacter(graph))
    this.#value = { entry: null }
    const value = graph.call(this.#value)
    this.#object = graph.rule(this.list('{', sequence(this.string(0, null), this.colon, value), '}', 0, null))
    this.#array = graph.rule(this.list('[', value, ']', 0, null))
    const anything = graph.any(this.object, this.array, this.string(0, null), this.number(false), graph.oneOf(['true', 'false', 'null']))
    this.#value.entry = anything(graph.end)
  }

  get value(): Part {
    return this.graph.call(this.#value)
  }

  get object(): Part {
    return this.graph.call(this.#object)
  }

  get array(): Part {
    return this.graph.call(this.#array)
  }

  get comma(): Part {
    return sequence(this.graph.text(','), this.space)
  }

  get colon(): Part {
    return sequence(this.graph.text(':'), this.space)
  }

  /** `min` to `max` items between brackets. */
  list(open: string, item: Part, close: string, min: number, max: number | null): Part {
    const { graph } = this
    const more = graph.repeat(sequence(this.comma, item), Math.max(min - 1, 0), max === null ? null : max - 1)
    const items = max === 0 ? nothing : sequence(item, more, this.space)
    return sequence(graph.text(open), this.space, min === 0 ? graph.optional(items) : items, graph.text(close))
  }

  /** A string of `min` to `max` characters. */
  string(min: number, max: number | null): Part {
    const quote = this.graph.text('"')
    return sequence(quote, this.graph.repeat(this.graph.call(this.#character), min, max), quote)
  }

  number(positive: boolean): Part {
    const { graph } = this
    const whole = integerRange(graph, 0, largestInteger)
    const fraction = sequence(graph.text('.'), graph.repeat(graph.byte(digits), 1, maxDigits))
    const sign = graph.optional(graph.byte(byteSet([0x2b, 0x2b], [0x2d, 0x2d])))
    const exponent = sequence(graph.byte(byteSet([0x45, 0x45], [0x65, 0x65])), sign, graph.repeat(graph.byte(digits), 1, 2))
    return sequence(positive ? nothing : graph.optional(graph.text('-')), whole, graph.optional(fraction), graph.optional(exponent))
  }
}

const digits = byteSet([0x30, 0x39])

/** A character of a string as JSON writes it. Escapes of surrogates are left out: the characters they stand for are written as they are. */
function stringCharacter(graph: GraphBuilder): Part {
  const plain = character(
    graph,
    complement([
      [0, 0x1f],
      [0x22, 0x22],
      [0x5c, 0x5c],
    ]),
  )
  const short = graph.byte(byteSet(...[...'"\\/bfnrt'].map((letter) => [letter.charCodeAt(0), letter.charCodeAt(0)] as const)))
  const hex = byteSet([0x30, 0x39], [0x41, 0x46], [0x61, 0x66])
  const notD = byteSet([0x30, 0x39], [0x41, 0x43], [0x45, 0x46], [0x61, 0x63], [0x65, 0x66])
  const long = sequence(graph.text('u'), graph.byte(notD), graph.byte(hex), graph.byte(hex), graph.byte(hex))
  return graph.any(plain, sequence(graph.text('\\'), graph.any(short, long)))
}

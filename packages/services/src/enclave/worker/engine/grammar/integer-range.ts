import { byteSet, type GraphBuilder, nothing, type Part, sequence } from './graph.ts'

/** Decimal integers from `min` to `max`, both safe integers, without leading zeros and without `-0`. */
export function integerRange(graph: GraphBuilder, min: number, max: number): Part {
  const parts: Part[] = []
  if (min < 0) parts.push(sequence(graph.text('-'), positive(graph, Math.max(1, -max), -min)))
  if (max >= 0) parts.push(positive(graph, Math.max(0, min), max))
  return graph.any(...parts)
}

/** From one number of digits to the next. */
function positive(graph: GraphBuilder, min: number, max: number): Part {
  const parts: Part[] = []
  for (let length = String(min).length; length <= String(max).length; length++) {
    const low = Math.max(min, length === 1 ? 0 : 10 ** (length - 1))
    const high = Math.min(max, 10 ** length - 1)
    parts.push(ofLength(graph, String(low), String(high)))
  }
  return graph.any(...parts)
}

/** Numbers of as many digits as both bounds have; a bound holds as long as its digits are written. */
function ofLength(graph: GraphBuilder, low: string, high: string): Part {
  if (low === '') return nothing
  const [first, last] = [Number(low.charAt(0)), Number(high.charAt(0))]
  const rest = low.length - 1
  if (first === last) return sequence(digit(graph, first, first), ofLength(graph, low.slice(1), high.slice(1)))
  const parts: Part[] = []
  let [from, to] = [first, last]
  if (low.slice(1) !== '0'.repeat(rest)) {
    parts.push(sequence(digit(graph, first, first), ofLength(graph, low.slice(1), '9'.repeat(rest))))
    from++
  }
  if (high.slice(1) !== '9'.repeat(rest)) {
    parts.push(sequence(digit(graph, last, last), ofLength(graph, '0'.repeat(rest), high.slice(1))))
    to--
  }
  if (from <= to) parts.push(sequence(digit(graph, from, to), graph.repeat(digit(graph, 0, 9), rest, rest)))
  return graph.any(...parts)
}

function digit(graph: GraphBuilder, low: number, high: number): Part {
  return graph.byte(byteSet([0x30 + low, 0x30 + high]))
}

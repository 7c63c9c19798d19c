import { byteSet, type GraphBuilder, type Part, sequence } from './graph.ts'

export type CharacterRange = readonly [low: number, high: number]

/** Where the number of UTF-8 bytes changes; surrogates are no characters. */
const blocks: readonly CharacterRange[] = [
  [0, 0x7f],
  [0x80, 0x7ff],
  [0x800, 0xd7ff],
  [0xe000, 0xffff],
  [0x10000, 0x10ffff],
]

/** One character of these inclusive ranges, as well-formed UTF-8. */
export function character(graph: GraphBuilder, ranges: readonly CharacterRange[]): Part {
  const sequences: CharacterRange[][] = []
  for (const [low, high] of ranges)
    for (const [first, last] of blocks) {
      const [from, to] = [Math.max(low, first), Math.min(high, last)]
      if (from <= to) sequences.push(...byteSequences(encode(from), encode(to)))
    }
  return graph.any(...sequences.map((bytes) => sequence(...bytes.map((range) => graph.byte(byteSet(range))))))
}

/** All characters but those of the ranges. */
export function complement(ranges: readonly CharacterRange[]): CharacterRange[] {
  const out: CharacterRange[] = []
  let from = 0
  for (const [low, high] of [...ranges].sort((a, b) => a[0] - b[0])) {
    if (low > from) out.push([from, low - 1])
    from = Math.max(from, high + 1)
  }
  if (from <= 0x10ffff) out.push([from, 0x10ffff])
  return out
}

function encode(codePoint: number): number[] {
  return [...new TextEncoder().encode(String.fromCodePoint(codePoint))]
}

/** Encodings of equal length from `low` to `high`, as sequences of byte ranges. */
function byteSequences(low: readonly number[], high: readonly number[]): CharacterRange[][] {
  const [first = 0, ...lowRest] = low
  const [last = 0, ...highRest] = high
  if (lowRest.length === 0) return [[[first, last]]]
  if (first === last) return byteSequences(lowRest, highRest).map((rest) => [[first, first], ...rest])
  const lowest = lowRest.map(() => 0x80)
  const highest = highRest.map(() => 0xbf)
  const out: CharacterRange[][] = []
  let from = first
  let to = last
  if (lowRest.some((byte) => byte !== 0x80)) {
    out.push(...byteSequences(lowRest, highest).map((rest): CharacterRange[] => [[first, first], ...rest]))
    from++
  }
  const tail = highRest.some((byte) => byte !== 0xbf)
  if (tail) to--
  if (from <= to) out.push([[from, to], ...lowest.map((): CharacterRange => [0x80, 0xbf])])
  if (tail) out.push(...byteSequences(lowest, highRest).map((rest): CharacterRange[] => [[last, last], ...rest]))
  return out
}

import type { Random } from './random.ts'

/** No input is longer than this. */
export const maxInput: number = 1_048_576

const interesting = [0, 1, 2, 3, 5, 6, 0x0a, 0x20, 0x22, 0x2d, 0x30, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xa0, 0xa3, 0xff] as const
const integers = [0, 1, 6, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] as const
const tokens = [
  '{',
  '[',
  ']',
  '}',
  '"',
  ',',
  ':',
  '\\',
  '\\u0000',
  '\\ud800',
  'null',
  'true',
  '-0',
  '1e999',
  '1.5',
  '9007199254740993',
  '"__proto__":{},',
  '"constructor":1,',
  '-----BEGIN CERTIFICATE-----\n',
  '\n-----END CERTIFICATE-----\n',
  '\r\n',
  '\0',
  '0x',
  '\u00e9',
].map((text) => new TextEncoder().encode(text))

/** One input made of a seed by one to four edits; `others` lend parts. The seed is not changed. */
export function mutate(seed: Uint8Array, others: readonly Uint8Array[], random: Random): Uint8Array {
  let bytes = seed
  for (let edits = 1 + random.below(random.chance(4) ? 4 : 1); edits > 0; edits--) bytes = edit(bytes, others, random)
  if (random.chance(4000)) bytes = grown(bytes, random)
  return bytes.length > maxInput ? bytes.subarray(0, maxInput) : bytes
}

function edit(bytes: Uint8Array, others: readonly Uint8Array[], random: Random): Uint8Array {
  if (bytes.length === 0) return Uint8Array.of(random.below(256))
  const at = random.below(bytes.length)
  const length = 1 + random.below(random.chance(8) ? bytes.length : 32)
  switch (random.below(10)) {
    case 0:
    case 1:
      return replaced(bytes, at, Uint8Array.of((bytes[at] as number) ^ (1 << random.below(8))))
    case 2:
      return replaced(bytes, at, Uint8Array.of(random.pick(interesting)))
    case 3:
      return replaced(bytes, at, integer(random))
    case 4:
      return spliced(bytes, at, length, new Uint8Array(0))
    case 5:
      return spliced(bytes, at, 0, bytes.subarray(at, at + length))
    case 6:
      return spliced(bytes, at, random.below(2) * length, random.pick(tokens))
    case 7: {
      const other = random.pick(others)
      const from = random.below(Math.max(1, other.length))
      return spliced(bytes, at, length, other.subarray(from, from + length))
    }
    case 8:
      return bytes.subarray(0, at)
    default:
      return resized(bytes, random)
  }
}

function replaced(bytes: Uint8Array, at: number, value: Uint8Array): Uint8Array {
  const copy = new Uint8Array(bytes)
  copy.set(value.subarray(0, copy.length - at), at)
  return copy
}

function spliced(bytes: Uint8Array, at: number, remove: number, insert: Uint8Array): Uint8Array {
  const rest = bytes.subarray(Math.min(bytes.length, at + remove))
  const result = new Uint8Array(at + insert.length + rest.length)
  result.set(bytes.subarray(0, at), 0)
  result.set(insert, at)
  result.set(rest, at + insert.length)
  return result
}

function integer(random: Random): Uint8Array {
  const bytes = new Uint8Array(random.pick([2, 4]))
  const value = random.pick(integers)
  const view = new DataView(bytes.buffer)
  const little = random.chance(2)
  if (bytes.length === 2) view.setUint16(0, value & 0xffff, little)
  else view.setUint32(0, value, little)
  return bytes
}

/**
 * Changes one DER element in the first certificate-like part, and the lengths of all that hold it, so that the edit gets past the outer lengths.
 * Where there is no DER at the start, cuts a piece out of the middle.
 */
function resized(bytes: Uint8Array, random: Random): Uint8Array {
  const path: { readonly start: number; readonly content: number; readonly end: number }[] = []
  for (let at = 0, end = bytes.length; ; ) {
    const found = header(bytes, at, end)
    if (found === null) break
    path.push(found)
    const constructed = ((bytes[at] as number) & 0x20) !== 0
    if (!constructed || found.content === found.end || random.chance(6)) break
    // A random child: walk some siblings on.
    end = found.end
    at = found.content
    for (let skip = random.below(6); skip > 0; skip--) {
      const sibling = header(bytes, at, end)
      if (sibling === null || sibling.end >= end) break
      at = sibling.end
    }
  }
  const last = path.pop()
  if (last === undefined) return spliced(bytes, bytes.length >> 1, 1 + random.below(8), new Uint8Array(0))
  const old = bytes.subarray(last.start, last.end)
  let part: Uint8Array
  switch (random.below(4)) {
    case 0:
      part = new Uint8Array(0)
      break
    case 1:
      part = spliced(old, 0, 0, old)
      break
    case 2:
      part = element(bytes[last.start] as number, replacedContent(bytes.subarray(last.content, last.end), random))
      break
    default:
      part = element(random.pick(interesting), bytes.subarray(last.content, last.end))
  }
  let { start, end } = last
  for (const outer of path.reverse()) {
    const before = bytes.subarray(outer.content, start)
    const after = bytes.subarray(end, outer.end)
    const content = new Uint8Array(before.length + part.length + after.length)
    content.set(before, 0)
    content.set(part, before.length)
    content.set(after, before.length + part.length)
    part = element(bytes[outer.start] as number, content)
    start = outer.start
    end = outer.end
  }
  return spliced(bytes, start, end - start, part)
}

function replacedContent(content: Uint8Array, random: Random): Uint8Array {
  if (random.chance(3)) return content.subarray(0, random.below(content.length + 1))
  return spliced(content, random.below(content.length + 1), 0, Uint8Array.of(random.pick(interesting)))
}

function header(bytes: Uint8Array, at: number, limit: number): { readonly start: number; readonly content: number; readonly end: number } | null {
  const first = bytes[at + 1]
  if (first === undefined || at >= limit) return null
  let length = first
  let content = at + 2
  if (first >= 0x80) {
    const count = first & 0x7f
    if (count < 1 || count > 3) return null
    length = 0
    for (let i = 0; i < count; i++) length = length * 256 + (bytes[content + i] ?? 0)
    content += count
  }
  return content + length > limit ? null : { start: at, content, end: content + length }
}

function element(tag: number, content: Uint8Array): Uint8Array {
  const { length } = content
  const head =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : length < 0x1_0000
          ? [tag, 0x82, length >> 8, length & 0xff]
          : [tag, 0x83, length >> 16, (length >> 8) & 0xff, length & 0xff]
  const result = new Uint8Array(head.length + length)
  result.set(head, 0)
  result.set(content, head.length)
  return result
}

/** Repeats a piece until the input is large, at most {@link maxInput}. */
function grown(bytes: Uint8Array, random: Random): Uint8Array {
  const at = random.below(bytes.length + 1)
  const piece = bytes.subarray(at, at + 1 + random.below(64))
  if (piece.length === 0) return bytes
  const wanted = 1 + random.below(maxInput - Math.min(bytes.length, maxInput - 1))
  const run = new Uint8Array(wanted)
  for (let i = 0; i < wanted; i += piece.length) run.set(piece.subarray(0, wanted - i), i)
  return spliced(bytes, at, 0, run)
}

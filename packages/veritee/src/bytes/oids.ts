import { derOid } from './der-writer.ts'

// Longest object identifier accepted, in content octets; Intel's are at most 11.
const maxOctets = 32

/** The dotted form of the contents of an OBJECT IDENTIFIER (X.690 section 8.19); null for more than 32 octets, other forms, and arcs of 2^31 or more. */
export function dottedOid(octets: Uint8Array): string | null {
  if (octets.length === 0 || octets.length > maxOctets) return null
  let text = ''
  let arc = 0
  let started = false
  for (const octet of octets) {
    // Minimal: no arc begins with zeros.
    if ((!started && octet === 0x80) || arc >= 0x100_0000) return null
    arc = arc * 128 + (octet & 0x7f)
    started = octet >= 0x80
    if (started) continue
    if (text === '') text = arc < 80 ? `${Math.floor(arc / 40)}.${arc % 40}` : `2.${arc - 80}`
    else text += `.${arc}`
    arc = 0
  }
  return started ? null : text
}

/** The contents of the OBJECT IDENTIFIER of a dotted form. */
export function oidOctets(dotted: string): Uint8Array {
  // Its header is two octets: none has 128 octets of contents.
  return derOid(dotted).subarray(2)
}

interface Known {
  readonly octets: Uint8Array
  readonly dotted: string
}

/** Object identifiers that are expected, found by their octets: spelling one out takes longer than reading all that stands beside it. */
export class KnownOids {
  readonly #known: readonly Known[]

  constructor(dotted: readonly string[]) {
    this.#known = dotted.map((one) => ({ octets: oidOctets(one), dotted: one }))
  }

  /** The dotted form of the octets from `from` to `end`; undefined where they are none of these. */
  find(bytes: Uint8Array, from: number, end: number): string | undefined {
    const last = bytes[end - 1]
    for (const { octets, dotted } of this.#known) {
      const { length } = octets
      // Most differ in their last octet.
      if (length !== end - from || octets[length - 1] !== last) continue
      let at = 0
      while (at < length && octets[at] === bytes[from + at]) at++
      if (at === length) return dotted
    }
    return undefined
  }
}

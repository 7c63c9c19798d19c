import { type ErrorCode, fail } from '../errors.ts'
import { compare, fromUtf8 } from './bytes.ts'

/** Identifier octets of the universal and context types that X.509 profiles of this library use (X.690 section 8). */
export const derTag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

// Four length octets would be 16 MiB and more: no certificate, key or list is that large.
const maxLengthOctets = 3
// Longest object identifier accepted, in content octets; Intel's are at most 11.
const maxOidOctets = 32

/**
 * A reader of strict DER (X.690 section 10) over one run of bytes. It is driven by the caller's expectations, so nesting is bounded by the caller.
 *
 * Refused, with the error code given to the constructor: other tags than the expected ones, tag numbers above 30, indefinite or non-minimal lengths,
 * truncation, and, in {@link DerReader.finish}, bytes left over. Results are views of the input, not copies.
 */
export class DerReader {
  readonly #bytes: Uint8Array
  readonly #code: ErrorCode
  readonly #end: number
  #at: number

  /** Of `bytes` from `from` to `end`: readers of nested elements share one array, since making a view takes longer than reading most elements. */
  constructor(bytes: Uint8Array, code: ErrorCode, from = 0, end: number = bytes.length) {
    this.#bytes = bytes
    this.#code = code
    this.#at = from
    this.#end = end
  }

  /** True past the last element. */
  get done(): boolean {
    return this.#at === this.#end
  }

  refuse(expected: string): Error {
    return fail(this.#code, `expected ${expected}`)
  }

  /** True if the next element has this tag. */
  at(tag: number): boolean {
    return this.#at < this.#end && this.#bytes[this.#at] === tag
  }

  /** Refuses left-over bytes. */
  finish(what: string): void {
    if (!this.done) throw this.refuse(`no more elements in ${what}, found ${this.#end - this.#at} bytes`)
  }

  /** Contents of the next element, which must have this tag. */
  read(tag: number, what: string): Uint8Array {
    const from = this.#element(tag, what)
    return this.#bytes.subarray(from, this.#at)
  }

  /** The whole next element, header included. */
  raw(tag: number, what: string): Uint8Array {
    const start = this.#at
    this.#element(tag, what)
    return this.#bytes.subarray(start, this.#at)
  }

  /** A reader over the contents of the next element. */
  enter(tag: number, what: string): DerReader {
    const from = this.#element(tag, what)
    return new DerReader(this.#bytes, this.#code, from, this.#at)
  }

  /** TRUE is 0xff, FALSE 0x00 (X.690 section 11.1). */
  boolean(what: string): boolean {
    const contents = this.read(derTag.boolean, what)
    if (contents.length !== 1 || (contents[0] !== 0 && contents[0] !== 0xff)) throw this.refuse(`${what}: a DER boolean`)
    return contents[0] === 0xff
  }

  /** Two's complement octets of a minimally encoded integer; `tag` serves ENUMERATED too. */
  integer(what: string, tag: number = derTag.integer): Uint8Array {
    const contents = this.read(tag, what)
    const [first, second] = contents
    if (first === undefined) throw this.refuse(`${what}: a DER integer`)
    if (second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80)))
      throw this.refuse(`${what}: a minimal integer`)
    return contents
  }

  /** A non-negative integer of at most `max` (below 2^31). */
  unsigned(what: string, max: number, tag: number = derTag.integer): number {
    const contents = this.integer(what, tag)
    let value = 0
    for (const octet of contents.length > 4 ? [0xff] : contents) value = value * 256 + octet
    if (contents.length > 4 || (contents[0] as number) >= 0x80 || value > max) throw this.refuse(`${what}: an integer from 0 to ${max}`)
    return value
  }

  /** A non-negative integer as exactly `length` big-endian bytes. */
  unsignedBytes(what: string, length: number): Uint8Array {
    const contents = this.integer(what)
    if ((contents[0] as number) >= 0x80) throw this.refuse(`${what}: a non-negative integer`)
    const magnitude = contents[0] === 0 ? contents.subarray(1) : contents
    if (magnitude.length > length) throw this.refuse(`${what}: an integer of at most ${length} bytes`)
    const out = new Uint8Array(length)
    out.set(magnitude, length - magnitude.length)
    return out
  }

  /** An object identifier in dotted form. Arcs are below 2^31. */
  oid(what: string): string {
    const contents = this.read(derTag.oid, what)
    if (contents.length === 0 || contents.length > maxOidOctets) throw this.refuse(`${what}: an object identifier of 1 to ${maxOidOctets} octets`)
    let text = ''
    let arc = 0
    let started = false
    for (const octet of contents) {
      if (!started && octet === 0x80) throw this.refuse(`${what}: an object identifier with minimal arcs`)
      if (arc >= 0x100_0000) throw this.refuse(`${what}: an object identifier with arcs below 2^31`)
      arc = arc * 128 + (octet & 0x7f)
      started = octet >= 0x80
      if (started) continue
      if (text === '') text = arc < 80 ? `${Math.floor(arc / 40)}.${arc % 40}` : `2.${arc - 80}`
      else text += `.${arc}`
      arc = 0
    }
    if (started) throw this.refuse(`${what}: a complete object identifier`)
    return text
  }

  /** Octets of a bit string with no unused bits. */
  bitString(what: string): Uint8Array {
    const contents = this.read(derTag.bitString, what)
    if (contents[0] !== 0) throw this.refuse(`${what}: a bit string of whole octets`)
    return contents.subarray(1)
  }

  /** A named-bit list (X.690 section 11.2.2: no trailing zero bits) of at most 16 bits; bit n of the result is bit n of the list. */
  namedBits(what: string): number {
    const contents = this.read(derTag.bitString, what)
    const unused = contents[0]
    const octets = contents.subarray(1)
    if (unused === undefined || unused > 7 || octets.length > 2) throw this.refuse(`${what}: a list of at most 16 named bits`)
    const last = octets.at(-1)
    if (last === undefined ? unused !== 0 : ((last >> unused) & 1) === 0 || (last & ((1 << unused) - 1)) !== 0)
      throw this.refuse(`${what}: a named-bit list without trailing zero bits`)
    let bits = 0
    octets.forEach((octet, index) => {
      for (let bit = 0; bit < 8; bit++) if ((octet & (0x80 >> bit)) !== 0) bits |= 1 << (8 * index + bit)
    })
    return bits
  }

  /** UTCTime or GeneralizedTime in the one form RFC 5280 section 4.1.2.5 allows: seconds, no fraction, `Z`, a date that exists. */
  time(what: string): Date {
    const short = this.at(derTag.utcTime)
    const contents = this.read(short ? derTag.utcTime : derTag.generalizedTime, what)
    const digits = short ? 12 : 14
    if (contents.length !== digits + 1 || contents[digits] !== 0x5a) throw this.refuse(`${what}: a time in seconds and UTC`)
    const pair = (at: number): number => {
      const tens = (contents[at] as number) - 0x30
      const ones = (contents[at + 1] as number) - 0x30
      if (!(tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9)) throw this.refuse(`${what}: a time in seconds and UTC`)
      return 10 * tens + ones
    }
    const rest = digits - 10
    const [low, month, day, hour, minute, second] = [pair(rest - 2), pair(rest), pair(rest + 2), pair(rest + 4), pair(rest + 6), pair(rest + 8)]
    const year = (short ? (low < 50 ? 20 : 19) : pair(0)) * 100 + low
    // RFC 5280 gives each date one form: UTCTime through 2049, GeneralizedTime after.
    if (!short && year < 2050) throw this.refuse(`${what}: UTCTime for dates before 2050`)
    const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second))
    // What is out of range spills into the next larger unit: a day that exists is still that day of that month.
    if (date.getUTCDate() !== day || date.getUTCMonth() !== month - 1 || hour > 23 || minute > 59 || second > 59)
      throw this.refuse(`${what}: a date that exists`)
    return date
  }

  /** UTF8String, PrintableString or IA5String, of characters the type allows. */
  text(what: string): string {
    for (const [tag, allowed] of stringTypes) {
      if (!this.at(tag)) continue
      const contents = this.read(tag, what)
      if (allowed === null) {
        try {
          return fromUtf8(contents)
        } catch {
          throw this.refuse(`${what}: valid UTF-8`)
        }
      }
      let text = ''
      for (const octet of contents) text += String.fromCharCode(octet)
      if (!allowed.test(text)) throw this.refuse(`${what}: characters of its string type`)
      return text
    }
    throw this.refuse(`${what}: a UTF8String, PrintableString or IA5String`)
  }

  /** Visits the elements of a SET OF or SEQUENCE OF; those of a SET must ascend (X.690 section 11.6). */
  *elements(tag: number, what: string, maxItems: number): Generator<DerReader> {
    const items = this.enter(tag, what)
    let before: Uint8Array | null = null
    for (let count = 0; !items.done; count++) {
      if (count === maxItems) throw this.refuse(`at most ${maxItems} items in ${what}`)
      const start = items.#at
      const item = items.enter(derTag.sequence, what)
      if (tag === derTag.set) {
        const whole = this.#bytes.subarray(start, items.#at)
        if (before !== null && compare(before, whole) >= 0) throw this.refuse(`${what}: a set in ascending order`)
        before = whole
      }
      yield item
    }
  }

  /** Where the contents of the next element begin; the reader then stands at their end. */
  #element(tag: number, what: string): number {
    const bytes = this.#bytes
    const end = this.#end
    const found = this.#at < end ? bytes[this.#at] : undefined
    if (found !== tag) throw this.refuse(`${what}: tag 0x${tag.toString(16)}, found ${found === undefined ? 'the end' : `0x${found.toString(16)}`}`)
    let from = this.#at + 1
    if (from === end) throw this.refuse(`${what}: a length`)
    let length = bytes[from++] as number
    if (length >= 0x80) {
      const octets = length - 0x80
      if (octets === 0 || octets > maxLengthOctets || from + octets > end) throw this.refuse(`${what}: a definite length of at most 3 octets`)
      length = 0
      for (let i = 0; i < octets; i++) length = length * 256 + (bytes[from++] as number)
      if (length < 0x80 || length < 256 ** (octets - 1)) throw this.refuse(`${what}: a minimal length`)
    }
    if (from + length > end) throw this.refuse(`${what}: ${length} bytes, found ${end - from}`)
    this.#at = from + length
    return from
  }
}

const stringTypes: readonly (readonly [number, RegExp | null])[] = [
  [derTag.utf8String, null],
  [derTag.printableString, /^[A-Za-z0-9 '()+,\-./:=?]*$/],
  [derTag.ia5String, /^[\x00-\x7f]*$/],
]

import { type ErrorCode, fail } from '../errors.ts'
import { compare, fromUtf8 } from './bytes.ts'
import { readTime } from './der-time.ts'
import { dottedOid, type KnownOids } from './oids.ts'

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

/**
 * A reader of strict DER (X.690 section 10) over one run of bytes. It is driven by the caller's expectations, so nesting is bounded by the caller:
 * {@link DerReader.open} steps into an element, {@link DerReader.close} out of it.
 *
 * Refused, with the error code given to the constructor: other tags than the expected ones, tag numbers above 30, indefinite or non-minimal lengths,
 * truncation, and, in {@link DerReader.close} and {@link DerReader.finish}, bytes left over. Results are views of the input, not copies.
 *
 * One reader walks a whole document by position: a reader or a view for each element would take longer to make than most elements take to read.
 */
export class DerReader {
  readonly #bytes: Uint8Array
  readonly #code: ErrorCode
  #end: number
  #at = 0

  constructor(bytes: Uint8Array, code: ErrorCode) {
    this.#bytes = bytes
    this.#code = code
    this.#end = bytes.length
  }

  /** True past the last element of what was opened last. */
  get done(): boolean {
    return this.#at === this.#end
  }

  /** Where the next element begins. */
  get position(): number {
    return this.#at
  }

  /** How many bytes are left of what was opened last. */
  get left(): number {
    return this.#end - this.#at
  }

  refuse(expected: string): Error {
    return fail(this.#code, `expected ${expected}`)
  }

  /** True if the next element has this tag. */
  at(tag: number): boolean {
    return this.#at < this.#end && this.#bytes[this.#at] === tag
  }

  /** Steps into the next element, which must have this tag. What it returns is for {@link DerReader.close}. */
  open(tag: number, what: string): number {
    const outer = this.#end
    const from = this.#element(tag, what)
    this.#end = this.#at
    this.#at = from
    return outer
  }

  /** Refuses left-over bytes, and steps out of the element whose opening returned `outer`. */
  close(outer: number, what: string): void {
    this.finish(what)
    this.#end = outer
  }

  /** Steps out of it whatever is left in it. */
  leave(outer: number): void {
    this.#at = this.#end
    this.#end = outer
  }

  /** Refuses left-over bytes. */
  finish(what: string): void {
    if (!this.done) throw this.refuse(`no more elements in ${what}, found ${this.#end - this.#at} bytes`)
  }

  /** Reads the next element, which must have this tag, and returns where its contents begin; they end here. */
  pass(tag: number, what: string): number {
    return this.#element(tag, what)
  }

  /** Contents of the next element, which must have this tag. */
  read(tag: number, what: string): Uint8Array {
    return this.since(this.#element(tag, what))
  }

  /** The whole next element, header included. */
  raw(tag: number, what: string): Uint8Array {
    const from = this.#at
    this.#element(tag, what)
    return this.since(from)
  }

  /** What was read since the position `from`. */
  since(from: number): Uint8Array {
    return this.#bytes.subarray(from, this.#at)
  }

  /** From the position `from` to the end of what was opened last. */
  through(from: number): Uint8Array {
    return this.#bytes.subarray(from, this.#end)
  }

  /** True if what stands from `a` and from `b` on is the same for `length` bytes. Both have been read. */
  same(a: number, b: number, length: number): boolean {
    for (let i = 0; i < length; i++) if (this.#bytes[a + i] !== this.#bytes[b + i]) return false
    return true
  }

  /** Refuses a SET OF whose element from `first` to `second` does not come before the one from there to here (X.690 section 11.6). */
  ascending(first: number, second: number, what: string): void {
    if (compare(this.#bytes.subarray(first, second), this.since(second)) >= 0) throw this.refuse(`${what}: a set in ascending order`)
  }

  /** TRUE is 0xff, FALSE 0x00 (X.690 section 11.1). */
  boolean(what: string): boolean {
    const from = this.#element(derTag.boolean, what)
    const value = this.#bytes[from]
    if (this.#at !== from + 1 || (value !== 0 && value !== 0xff)) throw this.refuse(`${what}: a DER boolean`)
    return value === 0xff
  }

  /** {@link DerReader.boolean} of a member that is FALSE by default: then it is absent (X.690 section 11.5). */
  flag(what: string): boolean {
    if (!this.at(derTag.boolean)) return false
    if (!this.boolean(what)) throw this.refuse(`${what}: DEFAULT FALSE left out`)
    return true
  }

  /** Two's complement octets of a minimally encoded integer. */
  integer(what: string): Uint8Array {
    return this.since(this.passInteger(what))
  }

  /** Reads an integer as {@link DerReader.integer} does, and returns where its octets begin; they end here. `tag` serves ENUMERATED too. */
  passInteger(what: string, tag: number = derTag.integer): number {
    const from = this.#element(tag, what)
    const length = this.#at - from
    if (length === 0) throw this.refuse(`${what}: a DER integer`)
    if (length === 1) return from
    const first = this.#bytes[from] as number
    const second = this.#bytes[from + 1] as number
    if ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80)) throw this.refuse(`${what}: a minimal integer`)
    return from
  }

  /** A non-negative integer of at most `max` (below 2^31). */
  unsigned(what: string, max: number, tag: number = derTag.integer): number {
    const from = this.passInteger(what, tag)
    const end = this.#at
    let value = 0
    for (let at = from; at < end && value <= max; at++) value = value * 256 + (this.#bytes[at] as number)
    if ((this.#bytes[from] as number) >= 0x80 || value > max) throw this.refuse(`${what}: an integer from 0 to ${max}`)
    return value
  }

  /** A non-negative integer as the big-endian bytes of `out` from `at` on, `length` of them, which hold zeros. */
  unsignedInto(out: Uint8Array, at: number, length: number, what: string): void {
    let from = this.passInteger(what)
    if ((this.#bytes[from] as number) >= 0x80) throw this.refuse(`${what}: a non-negative integer`)
    if (this.#bytes[from] === 0) from++
    if (this.#at - from > length) throw this.refuse(`${what}: an integer of at most ${length} bytes`)
    for (let to = at + length - (this.#at - from); from < this.#at; from++) out[to++] = this.#bytes[from] as number
  }

  /** An object identifier in dotted form. Arcs are below 2^31. Those that are `known` are not spelled out again. */
  oid(what: string, known?: KnownOids): string {
    const from = this.#element(derTag.oid, what)
    const dotted = known?.find(this.#bytes, from, this.#at) ?? dottedOid(this.since(from))
    if (dotted === null) throw this.refuse(`${what}: an object identifier of at most 32 octets, with minimal arcs below 2^31`)
    return dotted
  }

  /**
   * The last arc of an object identifier that consists of `prefix`, as its octets, and one arc of 1 to 127. Zero for any other, and then nothing is
   * read.
   */
  arcBelow(prefix: Uint8Array, what: string): number {
    const start = this.#at
    const from = this.#element(derTag.oid, what)
    const { length } = prefix
    const arc = this.#at === from + length + 1 ? (this.#bytes[from + length] as number) : 0
    let same = arc > 0 && arc < 0x80
    for (let i = 0; same && i < length; i++) same = this.#bytes[from + i] === prefix[i]
    if (same) return arc
    this.#at = start
    return 0
  }

  /** Steps into a bit string of whole octets, as {@link DerReader.open} does. */
  openBits(what: string): number {
    const outer = this.open(derTag.bitString, what)
    if (this.done || this.#bytes[this.#at] !== 0) throw this.refuse(`${what}: a bit string of whole octets`)
    this.#at++
    return outer
  }

  /** A named-bit list (X.690 section 11.2.2: no trailing zero bits) of at most 16 bits; bit n of the result is bit n of the list. */
  namedBits(what: string): number {
    const from = this.#element(derTag.bitString, what)
    const end = this.#at
    const unused = from < end ? (this.#bytes[from] as number) : 8
    const octets = end - from - 1
    if (unused > 7 || octets > 2) throw this.refuse(`${what}: a list of at most 16 named bits`)
    const last = this.#bytes[end - 1] as number
    if (octets === 0 ? unused !== 0 : ((last >> unused) & 1) === 0 || (last & ((1 << unused) - 1)) !== 0)
      throw this.refuse(`${what}: a named-bit list without trailing zero bits`)
    let bits = 0
    for (let bit = 0; bit < 8 * octets; bit++) if (((this.#bytes[from + 1 + (bit >> 3)] as number) & (0x80 >> (bit & 7))) !== 0) bits |= 1 << bit
    return bits
  }

  /** UTCTime or GeneralizedTime in the one form RFC 5280 section 4.1.2.5 allows: seconds, no fraction, `Z`, a date that exists. */
  time(what: string): Date {
    const short = this.at(derTag.utcTime)
    const from = this.#element(short ? derTag.utcTime : derTag.generalizedTime, what)
    const time = readTime(this.#bytes, from, this.#at, short)
    if (typeof time === 'string') throw this.refuse(`${what}: ${time}`)
    return time
  }

  /** UTF8String, PrintableString or IA5String, of characters the type allows. */
  text(what: string): string {
    const from = this.passText(what)
    return fromUtf8(this.since(from))
  }

  /** Refuses what {@link DerReader.text} refuses, and returns where the octets begin; they end here. */
  passText(what: string): number {
    const tag = this.#at < this.#end ? (this.#bytes[this.#at] as number) : 0
    if (tag !== derTag.utf8String && tag !== derTag.printableString && tag !== derTag.ia5String)
      throw this.refuse(`${what}: a UTF8String, PrintableString or IA5String`)
    const from = this.#element(tag, what)
    const wanted = tag === derTag.printableString ? printable : 1
    for (let at = from; at < this.#at; at++) {
      if (((characters[this.#bytes[at] as number] as number) & wanted) !== 0) continue
      if (tag !== derTag.utf8String) throw this.refuse(`${what}: characters of its string type`)
      this.#utf8(from, what)
      break
    }
    return from
  }

  #utf8(from: number, what: string): void {
    try {
      fromUtf8(this.since(from))
    } catch {
      throw this.refuse(`${what}: valid UTF-8`)
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
      if (length < 0x80 || length < 1 << (8 * (octets - 1))) throw this.refuse(`${what}: a minimal length`)
    }
    if (from + length > end) throw this.refuse(`${what}: ${length} bytes, found ${end - from}`)
    this.#at = from + length
    return from
  }
}

// Of each octet: bit 0 where it is ASCII, bit 1 where a PrintableString may hold it.
const printable = 2
const characters: Uint8Array = new Uint8Array(256).fill(1, 0, 0x80)
for (const octet of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?") characters[octet.charCodeAt(0)] = 1 | printable

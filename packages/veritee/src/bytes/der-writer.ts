import { compare, concat, utf8 } from './bytes.ts'

/**
 * A writer of DER (X.690 section 10): definite minimal lengths, minimal integers, sorted SET OF, TRUE as 0xff.
 * Each function returns one whole element, so elements nest by passing them as contents. Wrong values are `TypeError`.
 * It does not know defaults: an element that has its DEFAULT value is left out by the caller (X.690 section 11.5).
 */

/** One element: identifier octet (tag numbers up to 30 only), length, contents. */
export function der(identifier: number, ...contents: readonly Uint8Array[]): Uint8Array {
  if (!Number.isInteger(identifier) || identifier < 0 || identifier > 0xff || (identifier & 0x1f) === 0x1f)
    throw new TypeError(`der: expected a single identifier octet, found ${identifier}`)
  const body = concat(...contents)
  const header = [identifier]
  if (body.length < 0x80) header.push(body.length)
  else {
    const octets: number[] = []
    for (let rest = body.length; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256)
    header.push(0x80 | octets.length, ...octets)
  }
  return concat(Uint8Array.from(header), body)
}

export function derSequence(...elements: readonly Uint8Array[]): Uint8Array {
  return der(0x30, ...elements)
}

/** SET OF: its elements are sorted by their encodings (X.690 section 11.6). */
export function derSetOf(...elements: readonly Uint8Array[]): Uint8Array {
  return der(0x31, ...[...elements].sort(compare))
}

/** A context-specific element that wraps others: `[n] EXPLICIT`, or `[n] IMPLICIT` of a constructed type when given its contents. */
export function derContext(number: number, ...elements: readonly Uint8Array[]): Uint8Array {
  return der(0xa0 | contextNumber(number), ...elements)
}

/** `[n] IMPLICIT` of a primitive type, given its contents. */
export function derContextPrimitive(number: number, contents: Uint8Array): Uint8Array {
  return der(0x80 | contextNumber(number), contents)
}

function contextNumber(number: number): number {
  if (!Number.isInteger(number) || number < 0 || number > 30) throw new TypeError(`der: expected a context number of 0 to 30, found ${number}`)
  return number
}

/** A non-negative INTEGER, from a number or from unsigned big-endian bytes, in its shortest form. */
export function derInteger(value: number | Uint8Array): Uint8Array {
  return der(0x02, unsigned(value))
}

export function derEnumerated(value: number): Uint8Array {
  return der(0x0a, unsigned(value))
}

function unsigned(value: number | Uint8Array): Uint8Array {
  let octets: readonly number[]
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value) || value < 0) throw new TypeError(`der: expected a non-negative safe integer, found ${value}`)
    const digits: number[] = []
    for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256)
    octets = digits
  } else {
    const first = value.findIndex((octet) => octet !== 0)
    octets = first < 0 ? [] : [...value.subarray(first)]
  }
  // A leading zero keeps the sign bit clear; zero itself is one octet.
  const [first] = octets
  return Uint8Array.from(first === undefined || first >= 0x80 ? [0, ...octets] : octets)
}

export function derBoolean(value: boolean): Uint8Array {
  return der(0x01, Uint8Array.of(value ? 0xff : 0))
}

export function derNull(): Uint8Array {
  return der(0x05)
}

export function derOctetString(contents: Uint8Array): Uint8Array {
  return der(0x04, contents)
}

/** A BIT STRING of whole octets. */
export function derBitString(contents: Uint8Array): Uint8Array {
  return der(0x03, Uint8Array.of(0), contents)
}

/** A BIT STRING with named bits (such as KeyUsage), of at most 32 bits; trailing zero bits are dropped (X.690 section 11.2.2). */
export function derNamedBits(bits: readonly number[]): Uint8Array {
  const octets: number[] = []
  let highest = -1
  for (const bit of bits) {
    if (!Number.isInteger(bit) || bit < 0 || bit > 31) throw new TypeError(`der: expected a bit of 0 to 31, found ${bit}`)
    while (octets.length <= bit >> 3) octets.push(0)
    octets[bit >> 3] = (octets[bit >> 3] ?? 0) | (0x80 >> (bit & 7))
    highest = Math.max(highest, bit)
  }
  return der(0x03, Uint8Array.of(highest < 0 ? 0 : 7 - (highest & 7), ...octets))
}

/** An OBJECT IDENTIFIER in dotted form (X.690 section 8.19). */
export function derOid(dotted: string): Uint8Array {
  if (!/^[0-2](?:\.(?:0|[1-9][0-9]{0,14}))+$/.test(dotted)) throw new TypeError(`der: expected a dotted object identifier, found ${dotted}`)
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  if (first < 2 && second > 39) throw new TypeError(`der: the second arc of ${dotted} is above 39`)
  return der(0x06, Uint8Array.from([40 * first + second, ...rest].flatMap(base128)))
}

function base128(arc: number): number[] {
  const digits = [arc % 128]
  for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) digits.unshift(0x80 | (left % 128))
  return digits
}

export function derUtf8String(text: string): Uint8Array {
  if (!text.isWellFormed()) throw new TypeError('der: a UTF8String holds a lone surrogate')
  return der(0x0c, utf8(text))
}

/** PrintableString: letters, digits, space and `'()+,-./:=?`. */
export function derPrintableString(text: string): Uint8Array {
  if (!/^[A-Za-z0-9 '()+,\-./:=?]*$/.test(text)) throw new TypeError('der: a PrintableString holds other characters')
  return der(0x13, utf8(text))
}

/** UTCTime for the years 1950 to 2049, GeneralizedTime after (RFC 5280 section 4.1.2.5). Whole seconds; milliseconds are cut off. */
export function derTime(at: Date): Uint8Array {
  const year = at.getUTCFullYear()
  if (!(year >= 1950 && year <= 9999)) throw new TypeError('der: expected a date from 1950 to 9999')
  const digits = `${at.toISOString().slice(0, 19).replace(/[-T:]/g, '')}Z`
  return year < 2050 ? der(0x17, utf8(digits.slice(2))) : der(0x18, utf8(digits))
}

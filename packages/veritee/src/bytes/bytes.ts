import { fail } from '../errors.ts'

const encoder = new TextEncoder()
const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** UTF-8 bytes of a string. */
export function utf8(text: string): Uint8Array {
  // Nearly all texts are ASCII, and writing into an array that is there takes a third of the time that `encode` takes.
  const out = new Uint8Array(text.length)
  return encoder.encodeInto(text, out).read === text.length ? out : encoder.encode(text)
}

/** Text of UTF-8 bytes. Throws `malformed_encoding` on invalid sequences; a byte order mark is kept, not dropped. */
export function fromUtf8(bytes: Uint8Array): string {
  try {
    return strictDecoder.decode(bytes)
  } catch (cause) {
    throw fail('malformed_encoding', 'expected valid UTF-8', cause)
  }
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return concatAll(parts)
}

/** {@link concat} of a list of any length: spreading a long list into arguments overflows the stack. */
export function concatAll(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0
  for (const part of parts) length += part.length
  const out = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Equality of public values. The time depends on the length only, so it serves for secrets of known length too. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] as number)
  return difference === 0
}

/** Lexicographic order of byte strings. */
export function compare(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length)
  for (let i = 0; i < shared; i++) {
    const difference = (a[i] as number) - (b[i] as number)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

export function isZero(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0) return false
  return true
}

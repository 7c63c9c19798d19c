import { hash } from 'node:crypto'

const blockBytes = 64
const digestBytes = 32
/** Of a message: the longest here is the context of HPKE's key schedule with its labels, half of this. */
const maxMessage = 256

const inner = Buffer.alloc(blockBytes + maxMessage)
const outer = Buffer.alloc(blockBytes + digestBytes)
/** Of the first buffer, by length: made anew for each HMAC, they would be half of what one leaves behind. */
const views: readonly Buffer[] = Array.from({ length: inner.length + 1 }, (_, length) => inner.subarray(0, length))
const nothing: Uint8Array = new Uint8Array(0)

/**
 * HMAC-SHA256 (RFC 2104) of a message in up to four parts: two hashes, each at once. A request with an encrypted body needs twelve, and Node's object for one takes three times as long. The result is an
 * array of its own, since Node's pool lies behind the arrays of others too. Neither branches nor look-ups depend on what is secret.
 */
export function hmacSha256(key: Uint8Array, first: Uint8Array, second = nothing, third = nothing, fourth = nothing): Uint8Array {
  if (key.length > blockBytes) throw new RangeError(`hmacSha256: expected a key of at most ${blockBytes} bytes`)
  inner.fill(0x36, 0, blockBytes)
  outer.fill(0x5c, 0, blockBytes)
  for (let at = 0; at < key.length; at++) {
    const byte = key[at] as number
    inner[at] = byte ^ 0x36
    outer[at] = byte ^ 0x5c
  }
  let length = append(blockBytes, first)
  if (second !== nothing) length = append(length, second)
  if (third !== nothing) length = append(length, third)
  if (fourth !== nothing) length = append(length, fourth)
  outer.write(hash('sha256', views[length] as Buffer, 'binary'), blockBytes, 'latin1')
  const digest = hash('sha256', outer, 'binary')
  inner.fill(0, 0, length)
  outer.fill(0)
  const mac = new Uint8Array(digestBytes)
  for (let at = 0; at < digestBytes; at++) mac[at] = digest.charCodeAt(at)
  return mac
}

/** Gives where the part ends. */
function append(at: number, part: Uint8Array): number {
  inner.set(part, at)
  return at + part.length
}

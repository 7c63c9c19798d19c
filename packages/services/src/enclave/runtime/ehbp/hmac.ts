import { hash } from 'node:crypto'

const blockBytes = 64
const digestBytes = 32
/** Of a message: the longest here is the context of HPKE's key schedule with its labels, half of this. */
const maxMessage = 256

const inner = Buffer.alloc(blockBytes + maxMessage)
const outer = Buffer.alloc(blockBytes + digestBytes)

/**
 * HMAC-SHA256 (RFC 2104) of a message in parts: two hashes, each at once. A request with an encrypted body needs twelve, and Node's object for one takes three times as long. The result is an
 * array of its own, since Node's pool lies behind the arrays of others too. Neither branches nor look-ups depend on what is secret.
 */
export function hmacSha256(key: Uint8Array, ...message: readonly Uint8Array[]): Uint8Array {
  if (key.length > blockBytes) throw new RangeError(`hmacSha256: expected a key of at most ${blockBytes} bytes`)
  inner.fill(0x36, 0, blockBytes)
  outer.fill(0x5c, 0, blockBytes)
  for (let at = 0; at < key.length; at++) {
    const byte = key[at] as number
    inner[at] = byte ^ 0x36
    outer[at] = byte ^ 0x5c
  }
  let length = blockBytes
  for (const part of message) {
    inner.set(part, length)
    length += part.length
  }
  outer.write(hash('sha256', inner.subarray(0, length), 'binary'), blockBytes, 'latin1')
  const digest = hash('sha256', outer, 'binary')
  inner.fill(0, 0, length)
  outer.fill(0)
  const mac = new Uint8Array(digestBytes)
  for (let at = 0; at < digestBytes; at++) mac[at] = digest.charCodeAt(at)
  return mac
}

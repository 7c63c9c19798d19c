import * as crypto from '#crypto'
import { fail } from '../errors.ts'

/** Standard base64 with padding (RFC 4648 section 4). */
export function toBase64(bytes: Uint8Array): string {
  let binary = ''
  for (let at = 0; at < bytes.length; at += 0x8000) binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000))
  return btoa(binary)
}

/** Bytes of standard base64. Refuses missing padding, white space and non-zero trailing bits. Throws `malformed_encoding`. */
export function fromBase64(text: string): Uint8Array {
  const bytes = crypto.decodeBase64(text)
  if (bytes === null) throw fail('malformed_encoding', 'expected canonical base64')
  return bytes
}

import { fail } from '../errors.ts'

/** Standard base64 with padding (RFC 4648 section 4). */
export function toBase64(bytes: Uint8Array): string {
  let binary = ''
  for (let at = 0; at < bytes.length; at += 0x8000) binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000))
  return btoa(binary)
}

/** Bytes of standard base64. Refuses missing padding, white space and non-zero trailing bits. Throws `malformed_encoding`. */
export function fromBase64(text: string): Uint8Array {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw fail('malformed_encoding', 'expected canonical base64')
  const binary = atob(text)
  const out = new Uint8Array(binary.length)
  for (let i = 0; i < out.length; i++) out[i] = binary.charCodeAt(i)
  if (toBase64(out.subarray(out.length - (out.length % 3 || 3))) !== text.slice(-4) && text.length > 0)
    throw fail('malformed_encoding', 'expected canonical base64: trailing bits are not zero')
  return out
}

import * as crypto from '#crypto'
import { type Json, jcs } from './jcs.ts'

/** `sha256:` + lower-case hex of SHA-256 over bytes: the form of digest fields in aci/1 (Appendix A). */
export async function sha256Digest(bytes: Uint8Array): Promise<string> {
  return `sha256:${await crypto.sha256Hex(bytes)}`
}

/** {@link sha256Digest} over a text in UTF-8. */
export async function textDigest(text: string): Promise<string> {
  return `sha256:${await crypto.sha256Hex(text)}`
}

/** {@link sha256Digest} over the JCS form of a document. */
export function jcsDigest(document: Json): Promise<string> {
  return textDigest(jcs(document))
}

import * as crypto from '#crypto'
import { utf8 } from './bytes.ts'
import { toHex } from './hex.ts'
import { type Json, jcs } from './jcs.ts'

/** `sha256:` + lower-case hex of SHA-256 over bytes: the form of digest fields in aci/1 (Appendix A). */
export async function sha256Digest(bytes: Uint8Array): Promise<string> {
  return `sha256:${toHex(await crypto.sha256(bytes))}`
}

/** {@link sha256Digest} over the JCS form of a document. */
export function jcsDigest(document: Json): Promise<string> {
  return sha256Digest(utf8(jcs(document)))
}

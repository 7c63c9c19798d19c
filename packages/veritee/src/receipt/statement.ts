import * as crypto from '#crypto'
import { utf8 } from '../bytes/bytes.ts'

/**
 * The attestation statement of aci/1 section 3.2, exact bytes. `digest` is `sha256:` and 64 lower-case hex digits,
 * `nonce` 64 lower-case hex digits or null (binding without freshness). Anything else is a TypeError.
 */
export function statement(digest: string, nonce: string | null): string {
  if (!/^sha256:[0-9a-f]{64}$/.test(digest)) throw new TypeError('statement: digest is not sha256: and 64 lower-case hex digits')
  if (nonce !== null && !/^[0-9a-f]{64}$/.test(nonce)) throw new TypeError('statement: nonce is not 64 lower-case hex digits')
  return `{"keyset_digest":"${digest}","nonce":${nonce === null ? 'null' : `"${nonce}"`},"purpose":"aci.report_data.v1"}`
}

/** The 64 bytes of the report-data slot: SHA-256 of the statement, then 32 zero bytes. */
export async function statementReportData(digest: string, nonce: string | null): Promise<Uint8Array> {
  const slot = new Uint8Array(64)
  slot.set(await crypto.sha256(utf8(statement(digest, nonce))))
  return slot
}

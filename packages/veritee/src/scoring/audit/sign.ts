import * as crypto from '#crypto'
import type { Verified } from '../../attestation/claims.ts'
import { utf8 } from '../../bytes/bytes.ts'
import { fromHex, toHex } from '../../bytes/hex.ts'
import { type Json, jcs } from '../../bytes/jcs.ts'
import type { Ed25519Key, SigningKey } from '../../crypto/types.ts'
import { fail } from '../../errors.ts'
import { auditRecordFromJson, parseAuditRecord } from './parse.ts'
import { type AuditRecord, auditVersion, type UnsignedAuditRecord } from './record.ts'

export type VerifiedAuditRecord = Verified<AuditRecord>

/** Signs a record and gives its text (JCS), one line without its end. Throws `audit_record_malformed` for one that no reader would take. */
export async function signAuditRecord(record: UnsignedAuditRecord, key: SigningKey): Promise<string> {
  if (record.validator !== toHex(key.publicKey)) throw new TypeError('signAuditRecord: expected the key of the validator that the record names')
  const signature = toHex(await key.sign(signedBytes(record)))
  const signed = { ...record, signature }
  auditRecordFromJson(signed)
  return jcs(signed as unknown as Json)
}

/**
 * Reads a record and verifies its signature under the validator key that it names. Whether that validator counts in the network, and whether what it says is
 * so, is not judged here. `keyOf` may give keys that were taken in before. Throws `audit_record_malformed`, `audit_record_signature_invalid`.
 */
export async function verifyAuditRecord(
  text: string,
  keyOf: (validator: string) => Ed25519Key | null | undefined = () => undefined,
): Promise<VerifiedAuditRecord> {
  const record = parseAuditRecord(text)
  const key = keyOf(record.validator) ?? (await crypto.importEd25519(fromHex(record.validator)))
  if (key === null || !(await key.verify(fromHex(record.signature), utf8(`${auditVersion}\n${withoutSignature(text)}`))))
    throw fail('audit_record_signature_invalid', `expected a signature of ${record.validator} over record ${record.index} of epoch ${record.epoch}`)
  return record as VerifiedAuditRecord
}

/**
 * The JCS form of a record without its signature, from that with it: a member whose value is 128 digits. What looks like its name within a string has other characters
 * around it, since quotes are escaped there, and no other object of a record has a member of that name.
 */
export function withoutSignature(text: string): string {
  const at = text.indexOf(signatureMember)
  return text.slice(0, at) + text.slice(at + signatureMember.length + 128 + 1)
}

const signatureMember = ',"signature":"'

/** A prefix that no other signed document begins with, then JCS without the signature. */
function signedBytes(unsigned: UnsignedAuditRecord): Uint8Array {
  return utf8(`${auditVersion}\n${jcs(unsigned as unknown as Json)}`)
}

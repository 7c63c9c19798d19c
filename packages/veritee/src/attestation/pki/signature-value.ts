import { DerReader, derTag } from '../../bytes/der.ts'
import type { ErrorCode } from '../../errors.ts'
import { oid } from './oid.ts'

/** Reads an AlgorithmIdentifier and returns its whole DER and its object identifier. Parameters are not interpreted. */
export function readAlgorithm(reader: DerReader, code: ErrorCode, what: string): { readonly der: Uint8Array; readonly id: string } {
  const der = reader.raw(derTag.sequence, what)
  const fields = new DerReader(der, code).enter(derTag.sequence, what)
  const id = fields.oid(what)
  // RFC 5758 section 3.2: no parameters with ecdsa-with-SHA256.
  if (id === oid.ecdsaWithSha256) fields.finish(what)
  return { der, id }
}

/** The 64 bytes r || s of an Ecdsa-Sig-Value (RFC 3279 section 2.2.3) on P-256. */
export function readEcdsaSignature(value: Uint8Array, code: ErrorCode): Uint8Array {
  const outer = new DerReader(value, code)
  const fields = outer.enter(derTag.sequence, 'signature value')
  outer.finish('signature value')
  const signature = new Uint8Array(64)
  signature.set(fields.unsignedBytes('signature r', 32), 0)
  signature.set(fields.unsignedBytes('signature s', 32), 32)
  fields.finish('signature value')
  return signature
}

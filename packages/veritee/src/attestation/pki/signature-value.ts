import { type DerReader, derTag } from '../../bytes/der.ts'
import { knownOids, oid } from './oid.ts'

/** Reads an AlgorithmIdentifier and returns its object identifier. Parameters are not interpreted. */
export function readAlgorithm(reader: DerReader, what: string): string {
  const outer = reader.open(derTag.sequence, what)
  const id = reader.oid(what, knownOids)
  // RFC 5758 section 3.2: no parameters with ecdsa-with-SHA256.
  if (id === oid.ecdsaWithSha256) reader.finish(what)
  reader.leave(outer)
  return id
}

/** Reads a signatureValue: the 64 bytes r || s of an Ecdsa-Sig-Value (RFC 3279 section 2.2.3) on P-256. */
export function readEcdsaSignature(reader: DerReader): Uint8Array {
  const what = 'signature value'
  const bits = reader.openBits(what)
  const outer = reader.open(derTag.sequence, what)
  const signature = new Uint8Array(64)
  reader.unsignedInto(signature, 0, 32, 'signature r')
  reader.unsignedInto(signature, 32, 32, 'signature s')
  reader.close(outer, what)
  reader.close(bits, what)
  return signature
}

import { equal } from '../../bytes/bytes.ts'
import { fail } from '../../errors.ts'
import type { SgxReport } from '../sgx/report.ts'
import { readDocument, readHex, readSignedDocument, type SignedDocument, shape } from './document.ts'
import { type IsvLevel, readIsvLevels } from './isv-level.ts'

/** Intel's identity of the quoting enclave: `QE` quotes SGX enclaves, `TD_QE` quotes TDs (P9). As parsed. */
export interface QeIdentity extends SignedDocument {
  readonly id: 'QE' | 'TD_QE'
  readonly miscSelect: Uint8Array
  readonly miscSelectMask: Uint8Array
  readonly attributes: Uint8Array
  readonly attributesMask: Uint8Array
  readonly mrSigner: Uint8Array
  readonly isvProdId: number
  /** Highest first. */
  readonly levels: readonly IsvLevel[]
}

const where = 'enclaveIdentity'

/**
 * Parses the text of a QE identity, version 2 (Intel PCS API v4, Get Enclave Identity). Types and ranges are strict, unknown members are allowed,
 * unknown ids and statuses are not. Throws `malformed_json`, `collateral_malformed`.
 */
export function parseQeIdentity(text: string): QeIdentity {
  const document = readDocument(text, where)
  if (shape.integer(document.version, `${where}.version`) !== 2) throw shape.refuse(`${where}.version`, '2')
  return {
    id: shape.oneOf(document.id, `${where}.id`, ['QE', 'TD_QE']),
    ...readSignedDocument(document, where),
    miscSelect: readHex(document.miscselect, `${where}.miscselect`, 4),
    miscSelectMask: readHex(document.miscselectMask, `${where}.miscselectMask`, 4),
    attributes: readHex(document.attributes, `${where}.attributes`, 16),
    attributesMask: readHex(document.attributesMask, `${where}.attributesMask`, 16),
    mrSigner: readHex(document.mrsigner, `${where}.mrsigner`, 32),
    isvProdId: shape.integer(document.isvprodid, `${where}.isvprodid`, 65_535),
    levels: readIsvLevels(document.tcbLevels, `${where}.tcbLevels`, 65_535, 'refused'),
  }
}

/**
 * Checks a QE report against the identity: MISCSELECT and ATTRIBUTES under their masks, MRSIGNER, ISVPRODID. ISVSVN is judged with the TCB.
 * Throws `qe_identity_mismatch`.
 */
export function checkQeIdentity(identity: QeIdentity, report: SgxReport): void {
  if (!equalUnder(identity.miscSelectMask, report.miscSelect, identity.miscSelect)) throw fail('qe_identity_mismatch', 'MISCSELECT differs')
  if (!equalUnder(identity.attributesMask, report.attributes, identity.attributes)) throw fail('qe_identity_mismatch', 'ATTRIBUTES differ')
  if (!equal(report.mrsigner, identity.mrSigner)) throw fail('qe_identity_mismatch', 'MRSIGNER differs')
  if (report.isvProdId !== identity.isvProdId)
    throw fail('qe_identity_mismatch', `expected ISVPRODID ${identity.isvProdId}, found ${report.isvProdId}`)
}

/** True if the masked bytes of `found` are `expected`, all three being of one length. A bit expected outside of the mask is never found. */
function equalUnder(mask: Uint8Array, found: Uint8Array, expected: Uint8Array): boolean {
  for (let at = 0; at < expected.length; at++) if (((found[at] as number) & (mask[at] as number)) !== expected[at]) return false
  return true
}

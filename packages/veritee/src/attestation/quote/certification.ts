import { fail } from '../../errors.ts'
import { readSgxReport, type SgxReport } from '../sgx/report.ts'
import { ByteCursor } from './byte-cursor.ts'

/**
 * What a quote says about the certificate of its quoting enclave's key (Intel SGX ECDSA Quote Library Reference, appendix A.4, table 9).
 * Only `pck-chain` (type 5) is self-contained; with the others the certificate must be fetched by the platform named.
 */
export type CertificationData =
  | {
      readonly kind: 'platform'
      readonly type: 1 | 2 | 3
      /** In the clear for type 1; RSA-2048-OAEP and RSA-3072-OAEP ciphertext for types 2 and 3. */
      readonly ppid: Uint8Array
      readonly cpuSvn: Uint8Array
      readonly pceSvn: number
      readonly pceId: Uint8Array
    }
  | { readonly kind: 'pck-leaf'; readonly type: 4; readonly pem: Uint8Array }
  /** PEM, leaf to root as Intel writes it, often ended by NUL. */
  | { readonly kind: 'pck-chain'; readonly type: 5; readonly pem: Uint8Array }

/** The report of the quoting enclave with what certifies it: in v4 and v5 the payload of certification data type 6. */
export interface QeCertification {
  readonly qeReport: SgxReport
  readonly qeReportSignature: Uint8Array
  /** Of any length (P16). */
  readonly qeAuthData: Uint8Array
  readonly certification: CertificationData
}

const ppidLength = { 1: 16, 2: 256, 3: 384 } as const

/** Version 3: the QE report and its certification stand directly in the signature section. */
export function readQeCertification(cursor: ByteCursor): QeCertification {
  const qeReport = readSgxReport(cursor, 'QE report')
  const qeReportSignature = cursor.take(64, 'QE report signature')
  const qeAuthData = cursor.take(cursor.u16('QE authentication data length'), 'QE authentication data')
  const type = cursor.u16('certification data type')
  const data = cursor.take(cursor.u32('certification data length'), 'certification data')
  return { qeReport, qeReportSignature, qeAuthData, certification: readCertification(type, data) }
}

/** Versions 4 and 5: the same inside certification data of type 6, and of no other type. */
export function readNestedQeCertification(cursor: ByteCursor): QeCertification {
  const type = cursor.u16('certification data type')
  if (type !== 6) throw fail('quote_unsupported', `expected certification data of type 6, found ${type}`)
  const nested = new ByteCursor(cursor.take(cursor.u32('certification data length'), 'certification data'))
  const found = readQeCertification(nested)
  nested.finish('certification data of type 6')
  return found
}

function readCertification(type: number, data: Uint8Array): CertificationData {
  switch (type) {
    case 1:
    case 2:
    case 3: {
      const cursor = new ByteCursor(data)
      const ppid = cursor.take(ppidLength[type], 'PPID')
      const cpuSvn = cursor.take(16, 'CPUSVN')
      const pceSvn = cursor.u16('PCE ISVSVN')
      const pceId = cursor.take(2, 'PCE id')
      cursor.finish('certification data')
      return { kind: 'platform', type, ppid, cpuSvn, pceSvn, pceId }
    }
    case 4:
      return { kind: 'pck-leaf', type, pem: data }
    case 5:
      return { kind: 'pck-chain', type, pem: data }
    default:
      throw fail('quote_unsupported', `expected certification data of type 1 to 5, found ${type}`)
  }
}

import * as crypto from '#crypto'
import { concat, equal, isZero } from '../../bytes/bytes.ts'
import { toHex } from '../../bytes/hex.ts'
import type { MaybePromise } from '../../crypto/types.ts'
import { whenDone } from '../../crypto/when-done.ts'
import { type ErrorCode, fail } from '../../errors.ts'
import type { Quote } from '../quote/quote.ts'
import { checkQeIdentity, type QeIdentity } from '../tcb/qe-identity.ts'
import type { TcbInfo } from '../tcb/tcb-info.ts'
import { checkTdxModule } from '../tdx/module.ts'
import type { Pck } from './pck.ts'
import type { Session } from './session.ts'

/**
 * `tdx.module` to `quote.signature`: the TDX module's signer; the PCK key signs the QE report, the QE report binds the attestation key, Intel's
 * identity names that QE, and the attestation key signs header and body.
 */
export function verifyReports(session: Session, quote: Quote, pck: Pck, tcbInfo: TcbInfo, identity: QeIdentity): MaybePromise<void> {
  const { checks, pool } = session
  const { body, qeReport } = quote
  if (body.kind !== 'sgx')
    checks.take(
      'tdx.module',
      () => checkTdxModule(tcbInfo, body),
      () => `TEE_TCB_SVN ${toHex(body.teeTcbSvn)}`,
    )
  const certified = checks.takeLater(
    'qe-report.signature',
    () => {
      // The report says nothing of the quoted body: it stays the same for as long as the quoting enclave keeps its attestation key.
      const valid = pool.signed(pck.leaf, pool.signedBytes(qeReport.bytes, quote.qeReportSignature))
      return demand(valid, 'qe_report_signature_invalid', 'the signature is not by the PCK key')
    },
    () => 'by the PCK key',
  )
  const takeData = (): MaybePromise<void> =>
    checks.takeLater(
      'qe-report.data',
      () => checkReportData(quote),
      () => 'binds the attestation key',
    )
  return whenDone(whenDone(certified, takeData), () => {
    checks.take(
      'qe.identity',
      () => checkQeIdentity(identity, qeReport),
      () => `ISVPRODID ${qeReport.isvProdId}, ISVSVN ${qeReport.isvSvn}`,
    )
    return checks.takeLater(
      'quote.signature',
      () => {
        const valid = pool.verify(quote.attestationKey, quote.signature, quote.signed)
        return demand(valid, 'quote_signature_invalid', 'the signature is not by the attestation key')
      },
      () => 'by the attestation key',
    )
  })
}

function demand(valid: MaybePromise<boolean>, code: ErrorCode, otherwise: string): MaybePromise<void> {
  return whenDone(valid, (found) => {
    if (!found) throw fail(code, otherwise)
  })
}

/** SHA-256 of attestation key and authentication data of any length (P16), then zeros; Intel's library does not look at the zeros. */
function checkReportData(quote: Quote): MaybePromise<void> {
  const { reportData } = quote.qeReport
  return whenDone(crypto.sha256(concat(quote.attestationKey, quote.qeAuthData)), (bound) => {
    if (!equal(reportData.subarray(0, 32), bound))
      throw fail('qe_report_data_mismatch', 'the report data is not the hash of attestation key and authentication data')
    if (!isZero(reportData.subarray(32))) throw fail('qe_report_data_mismatch', 'the report data does not end in 32 zero bytes')
  })
}

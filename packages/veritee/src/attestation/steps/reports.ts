import * as crypto from '#crypto'
import { concat, equal, isZero } from '../../bytes/bytes.ts'
import { toHex } from '../../bytes/hex.ts'
import { fail } from '../../errors.ts'
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
export async function verifyReports(session: Session, quote: Quote, pck: Pck, tcbInfo: TcbInfo, identity: QeIdentity): Promise<void> {
  const { checks } = session
  const { body, qeReport } = quote
  if (body.kind !== 'sgx')
    await checks.take(
      'tdx.module',
      () => checkTdxModule(tcbInfo, body),
      () => `TEE_TCB_SVN ${toHex(body.teeTcbSvn)}`,
    )
  await checks.take(
    'qe-report.signature',
    async () => {
      const { publicKey } = pck.leaf
      if (publicKey === null || !(await crypto.verifyP256(publicKey, quote.qeReportSignature, qeReport.bytes)))
        throw fail('qe_report_signature_invalid', 'the signature is not by the PCK key')
    },
    () => 'by the PCK key',
  )
  await checks.take(
    'qe-report.data',
    () => checkReportData(quote),
    () => 'binds the attestation key',
  )
  await checks.take(
    'qe.identity',
    () => checkQeIdentity(identity, qeReport),
    () => `ISVPRODID ${qeReport.isvProdId}, ISVSVN ${qeReport.isvSvn}`,
  )
  await checks.take(
    'quote.signature',
    async () => {
      if (!(await crypto.verifyP256(quote.attestationKey, quote.signature, quote.signed)))
        throw fail('quote_signature_invalid', 'the signature is not by the attestation key')
    },
    () => 'by the attestation key',
  )
}

/** SHA-256 of attestation key and authentication data of any length (P16), then zeros; Intel's library does not look at the zeros. */
async function checkReportData(quote: Quote): Promise<void> {
  const { reportData } = quote.qeReport
  const bound = await crypto.sha256(concat(quote.attestationKey, quote.qeAuthData))
  if (!equal(reportData.subarray(0, 32), bound))
    throw fail('qe_report_data_mismatch', 'the report data is not the hash of attestation key and authentication data')
  if (!isZero(reportData.subarray(32))) throw fail('qe_report_data_mismatch', 'the report data does not end in 32 zero bytes')
}

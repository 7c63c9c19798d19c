import * as crypto from '#crypto'
import { toHex } from '../../bytes/hex.ts'
import type { MaybePromise } from '../../crypto/types.ts'
import { whenDone } from '../../crypto/when-done.ts'
import { fail } from '../../errors.ts'
import type { Slab } from '../cache/slab.ts'
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
  const { checks, pool, slab } = session
  const { body, qeReport } = quote
  if (body.kind !== 'sgx') {
    checks.begin('tdx.module')
    checkTdxModule(tcbInfo, body)
    checks.pass(`TEE_TCB_SVN ${toHex(body.teeTcbSvn)}`)
  }
  checks.begin('qe-report.signature')
  // The report says nothing of the quoted body: it stays the same for as long as the quoting enclave keeps its attestation key.
  return whenDone(pool.signed(pck.leaf, pool.signedBytes(qeReport.bytes, quote.qeReportSignature)), (byPck) => {
    if (!byPck) throw fail('qe_report_signature_invalid', 'the signature is not by the PCK key')
    checks.pass('by the PCK key')
    checks.begin('qe-report.data')
    return whenDone(crypto.sha256(boundBytes(quote, slab)), (bound) => {
      checkReportData(qeReport.reportData, bound)
      checks.pass('binds the attestation key')
      checks.begin('qe.identity')
      checkQeIdentity(identity, qeReport)
      checks.pass(`ISVPRODID ${qeReport.isvProdId}, ISVSVN ${qeReport.isvSvn}`)
      checks.begin('quote.signature')
      return whenDone(pool.verify(quote.attestationKey, quote.signature, quote.signed), (byKey) => {
        if (!byKey) throw fail('quote_signature_invalid', 'the signature is not by the attestation key')
        checks.pass('by the attestation key')
      })
    })
  })
}

function boundBytes({ attestationKey, qeAuthData }: Quote, slab: Slab): Uint8Array {
  const bytes = slab.take(attestationKey.length + qeAuthData.length)
  bytes.set(attestationKey)
  bytes.set(qeAuthData, attestationKey.length)
  return bytes
}

/** SHA-256 of attestation key and authentication data of any length (P16), then zeros; Intel's library does not look at the zeros. */
function checkReportData(reportData: Uint8Array, bound: Uint8Array): void {
  for (let at = 0; at < 32; at++)
    if (reportData[at] !== bound[at])
      throw fail('qe_report_data_mismatch', 'the report data is not the hash of attestation key and authentication data')
  for (let at = 32; at < 64; at++) if (reportData[at] !== 0) throw fail('qe_report_data_mismatch', 'the report data does not end in 32 zero bytes')
}

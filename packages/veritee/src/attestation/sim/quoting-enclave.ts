import * as crypto from '#crypto'
import { concat } from '../../bytes/index.ts'
import type { Authority } from './authority.ts'
import { assembleQuote, type CertificationFields, type QuoteBody, qeReportData, type SgxReportFields, sgxReport } from './quote.ts'

/** What a simulated quoting enclave is. `report.reportData` is overwritten unless {@link createQuotingEnclave} is told otherwise. */
export interface QuotingEnclaveFields {
  readonly report: Omit<SgxReportFields, 'reportData'>
  readonly pceSvn: number
  /** Any length up to 65535 bytes; hardware has 32. */
  readonly authData: Uint8Array
}

/** Turns a report body into a quote over it, in a version that has a place for it. */
export type QuotingEnclave = (version: 3 | 4 | 5, body: QuoteBody, certification: CertificationFields) => Promise<Uint8Array>

/**
 * A quoting enclave with a fresh attestation key, certified once by the PCK key as on hardware.
 * `alter` changes its own report before the PCK key signs it: tests make with it what a verifier must refuse.
 */
export async function createQuotingEnclave(
  fields: QuotingEnclaveFields,
  pck: Authority,
  alter: (report: SgxReportFields) => SgxReportFields = (report) => report,
): Promise<QuotingEnclave> {
  const key = await crypto.generateP256()
  const qeReport = sgxReport(alter({ ...fields.report, reportData: await qeReportData(key.publicKey, fields.authData) }))
  const parts = {
    qeSvn: fields.report.isvSvn,
    pceSvn: fields.pceSvn,
    // The identifier of the quoting enclave, then four zeros, as Intel's writes it.
    userData: concat(crypto.randomBytes(16), new Uint8Array(4)),
    qeReport,
    qeReportSignature: await pck.key.sign(qeReport),
    qeAuthData: fields.authData,
    attestationKey: key.publicKey,
  }
  return (version, body, certification) => assembleQuote({ ...parts, version, body, certification }, key.sign)
}

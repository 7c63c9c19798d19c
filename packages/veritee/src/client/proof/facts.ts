import { isoTime } from '../../bytes/iso-time.ts'
import type { EvidencePolicy } from '../../policy/index.ts'
import { verdictTcb } from '../../policy/verdict.ts'
import { type ModelEvent, type Receipt, receiptDigest, type VerifiedReport } from '../../receipt/index.ts'
import type { ProvenCheck, ProvenEnclave, ProvenModel, ProvenReceipt, SgxMeasurement, TdxMeasurement } from './proof.ts'

/** What a proof says of one enclave whose report was verified and accepted under `policy`. */
export function provenEnclave(
  report: VerifiedReport,
  policy: EvidencePolicy,
  met: Pick<ProvenEnclave, 'origin' | 'channel'> & { readonly attestedAt: Date },
): ProvenEnclave {
  const { claims, descriptor } = report
  return {
    role: descriptor.role,
    origin: met.origin,
    keysetDigest: report.keysetDigest,
    tee: claims.body.tee,
    measurement: measurementOf(claims.body),
    debug: claims.debug,
    simulated: claims.simulated,
    tcb: verdictTcb(claims),
    fmspc: claims.platform.fmspc,
    physical: policy.physical,
    operatorKey: descriptor.operator_key,
    release: descriptor.release,
    engine: descriptor.engine,
    attestedAt: isoTime(met.attestedAt),
    fresh: report.fresh,
    channel: met.channel,
  }
}

function measurementOf(body: VerifiedReport['claims']['body']): SgxMeasurement | TdxMeasurement {
  if (body.tee === 'sgx') {
    const { mrenclave, mrsigner, isvProdId, isvSvn } = body
    return { mrenclave, mrsigner, isvProdId, isvSvn }
  }
  const { mrtd, rtmr0, rtmr1, rtmr2, rtmr3, mrseam } = body
  return { mrtd, rtmr0, rtmr1, rtmr2, rtmr3, mrseam }
}

export function provenModel({ name, files, format, sealed, provenance }: ModelEvent): ProvenModel {
  return { name, files, format, sealed, provenance }
}

export async function provenReceipt(receipt: Receipt): Promise<ProvenReceipt> {
  return { id: receipt.receiptId, digest: await receiptDigest(receipt), servedAt: isoTime(new Date(receipt.servedAt * 1000)) }
}

/** Checks with what they are of, in the form of a proof. */
export function checksOf(
  of: ProvenCheck['of'],
  checks: readonly { readonly id: string; readonly status: ProvenCheck['status']; readonly detail: string }[],
): ProvenCheck[] {
  return checks.map(({ id, status, detail }) => ({ of, id, status, detail }))
}

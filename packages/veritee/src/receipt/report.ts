import { verifyOperator } from '../admission/operator.ts'
import type { Check, QuoteClaims, Verified } from '../attestation/claims.ts'
import { type Collateral, collateralFromJson, type Trust, type VerifyOptions, verifyQuote } from '../attestation/index.ts'
import { fromBase64 } from '../bytes/base64.ts'
import { toHex } from '../bytes/hex.ts'
import { parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import { fail } from '../errors.ts'
import { descriptorSubject, parseDescriptor, type ServiceDescriptor } from './descriptor.ts'
import { checkKeyRoles, checkKeysetWindow, type Keyset, keysetDigest, parseKeyset } from './keyset.ts'
import { statementReportData } from './statement.ts'

/** An aci/1 attestation report with Veritee's SGX evidence (spec/aci-sgx.md), as parsed: nothing in it is verified. */
export interface Report {
  readonly keysetDigest: string
  readonly teeType: 'sgx' | 'tdx'
  readonly keyset: Keyset
  /** 32 bytes hex, as restated beside the quote. */
  readonly reportData: string
  readonly quote: Uint8Array
  readonly collateral: Collateral
  readonly descriptor: ServiceDescriptor
  /** The nonce the service says it bound. Convenience for stored reports; a live caller uses its own. */
  readonly statedNonce: string | null
  /** 64 bytes hex, of the operator over the keyset digest (rule S17); null where none came with the report. */
  readonly operatorSignature: string | null
  readonly serving: 'direct' | 'aggregator'
}

/** A service whose keys and descriptor a quote binds. What the quote proves is in `claims`; whether that is wanted is the policy's question. */
export interface VerifiedReport {
  readonly keyset: Keyset
  readonly keysetDigest: string
  readonly descriptor: ServiceDescriptor
  /** The operator that the descriptor names and who signed the keyset digest, 32 bytes hex; null where one of the two is missing (rule S17). */
  readonly operator: string | null
  readonly serving: 'direct' | 'aggregator'
  readonly claims: Verified<QuoteClaims>
  readonly checks: readonly Check[]
  /** True where the quote binds a nonce that the caller drew. */
  readonly fresh: boolean
}

/** Bytes of the largest report accepted. */
export const maxReportBytes: number = 1 << 20
const shape = new Shape('report_malformed')

/**
 * Reads a report as `GET /v1/aci/attestation` serves it (aci/1 section 4.1). Throws `report_malformed`, `malformed_encoding` or a code of the collateral reader.
 * Verifies nothing. Unknown `service_capabilities` are ignored, as Appendix B demands.
 */
export function parseReport(text: string): Report {
  return reportFromJson(parseDocument(text, { maxLength: maxReportBytes, maxDepth: 16 }, 'report_malformed', 'the report'))
}

/** {@link parseReport} of a value that strict JSON parsing gave. */
export function reportFromJson(value: unknown): Report {
  const o = shape.record(value, 'report')
  shape.oneOf(o.api_version, 'api_version', ['aci/1'])
  const attestation = shape.record(o.attestation, 'attestation')
  const evidence = shape.object(
    attestation.evidence,
    'attestation.evidence',
    ['quote_b64', 'collateral', 'descriptor', 'nonce'],
    ['operator_signature'],
  )
  const capabilities = shape.record(o.service_capabilities, 'service_capabilities')
  return {
    keysetDigest: shape.digest(o.workload_keyset_digest, 'workload_keyset_digest'),
    teeType: shape.oneOf(attestation.tee_type, 'attestation.tee_type', ['sgx', 'tdx']),
    keyset: parseKeyset(attestation.workload_keyset),
    reportData: shape.hex(attestation.report_data, 'attestation.report_data', 32),
    quote: fromBase64(shape.string(evidence.quote_b64, 'evidence.quote_b64', 65_536)),
    collateral: collateralFromJson(evidence.collateral),
    descriptor: parseDescriptor(evidence.descriptor),
    statedNonce: evidence.nonce === null ? null : shape.hex(evidence.nonce, 'evidence.nonce', 32),
    operatorSignature: evidence.operator_signature === undefined ? null : shape.hex(evidence.operator_signature, 'evidence.operator_signature', 64),
    serving: shape.oneOf(capabilities.serving, 'service_capabilities.serving', ['direct', 'aggregator']),
  }
}

/**
 * Verifies a report, in this order: the keyset hashes to the stated digest; the quote is genuine under `trust` at `at`;
 * the quote's report data is the statement over that digest and the nonce, bytes 32..63 zero; the keyset is in its window, each key in one role;
 * the descriptor hashes to the keyset's subject, and the way of serving that the report states is that of the descriptor's role; an operator's signature,
 * where one came, is of the operator that the descriptor names.
 *
 * `nonce` is what the caller drew, or `'stated'` to take the report's word for it: that proves binding but no freshness.
 * Does not judge identity, TCB status, debug mode or simulation: see `evaluateReport`. Nor the channel the report came over.
 *
 * Throws `report_keyset_mismatch`, `report_nonce_mismatch`, `report_descriptor_mismatch`, `keyset_expired`, `report_malformed`, `operator_signature_invalid`,
 * and every code of `verifyQuote`.
 */
export async function verifyReport(
  report: Report,
  nonce: string | null | 'stated',
  trust: Trust,
  at: Date,
  options: VerifyOptions = {},
): Promise<VerifiedReport> {
  const digest = await keysetDigest(report.keyset)
  if (digest !== report.keysetDigest) throw fail('report_keyset_mismatch', `expected the keyset to hash to ${report.keysetDigest}, found ${digest}`)
  const { claims, checks } = await verifyQuote(report.quote, report.collateral, trust, at, options)
  if (claims.body.tee !== report.teeType) throw fail('report_malformed', `expected tee_type ${claims.body.tee}, found ${report.teeType}`)
  const bound = nonce === 'stated' ? report.statedNonce : nonce
  const expected = toHex(await statementReportData(digest, bound))
  if (claims.reportData !== expected || report.reportData !== expected.slice(0, 64))
    throw fail(
      'report_nonce_mismatch',
      `expected report data ${expected}, found ${claims.reportData} in the quote and ${report.reportData} beside it`,
    )
  checkKeysetWindow(report.keyset, at)
  await checkKeyRoles(report.keyset)
  const subject = await descriptorSubject(report.descriptor)
  if (report.keyset.subject !== subject)
    throw fail('report_descriptor_mismatch', `expected the keyset's subject to be ${subject}, found ${report.keyset.subject ?? 'none'}`)
  // `service_capabilities` is not under the quote (rule S7): the role says how a service serves.
  const serving = report.descriptor.role === 'controller' ? 'aggregator' : 'direct'
  if (report.serving !== serving)
    throw fail('report_malformed', `expected a ${report.descriptor.role} to say it serves ${serving}, found ${report.serving}`)
  const { operatorSignature } = report
  const operator = operatorSignature === null ? null : await verifyOperator(report.descriptor.operator_key, digest, operatorSignature)
  const fresh = nonce !== 'stated' && nonce !== null
  return {
    keyset: report.keyset,
    keysetDigest: digest,
    descriptor: report.descriptor,
    operator,
    serving,
    claims,
    checks: [
      ...checks,
      { id: 'report.keyset', status: 'pass', detail: `the quote binds keyset ${digest}` },
      fresh
        ? { id: 'report.nonce', status: 'pass', detail: 'the quote binds the nonce of this verification' }
        : { id: 'report.nonce', status: 'waived', detail: 'the quote binds a nonce this verifier did not draw: no proof of freshness' },
      { id: 'report.window', status: 'pass', detail: `the keyset is valid until ${new Date(report.keyset.not_after * 1000).toISOString()}` },
      { id: 'report.descriptor', status: 'pass', detail: `the keyset binds the ${report.descriptor.role} descriptor` },
    ],
    fresh,
  }
}

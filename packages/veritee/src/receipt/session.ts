import { fromBase64, toBase64 } from '../bytes/base64.ts'
import { fromUtf8, utf8 } from '../bytes/bytes.ts'
import { jcsDigest, sha256Digest } from '../bytes/digest.ts'
import type { Json } from '../bytes/jcs.ts'
import { parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import { fail } from '../errors.ts'
import { type Report, reportFromJson } from './report.ts'

/** Typed claims of aci/1 section 8.3. */
export const claimNames = [
  'tee_attested',
  'gpu_attested',
  'tcb_up_to_date',
  'os_known_good',
  'serving_software_known_good',
  'model_weights_provenance',
] as const
export type ClaimName = (typeof claimNames)[number]
export type Claim =
  | { readonly status: 'unknown' }
  | {
      readonly status: 'asserted' | 'refuted'
      readonly source: 'hardware_proven' | 'verifier_derived' | 'provider_asserted' | 'operator_asserted'
      readonly reason: string
    }
export type SessionClaims = { readonly [N in ClaimName]: Claim } & { readonly extra: { readonly [name: string]: string | number | boolean } }

/** The immutable record of one verification of a worker by the controller (aci/1 section 8.2). */
export type SessionDocument = {
  readonly api_version: 'aci/1'
  readonly upstream_name: string
  readonly endpoint: string | null
  readonly verifier_id: string
  readonly established_at: number
  readonly expires_at: number
  readonly identity: { readonly workload_keyset_digest: string }
  readonly channel_binding: readonly { readonly type: 'tls_spki_sha256'; readonly origin: string; readonly spki_sha256: string }[]
  readonly claims: SessionClaims
  readonly evidence: { readonly digest: string; readonly data: string }
}

/** A session whose id and evidence digest were recomputed, with the evidence it carries: the worker's report and the controller's nonce. */
export interface Session {
  readonly id: string
  readonly document: SessionDocument
  readonly report: Report
  readonly nonce: string
}

export const evidenceMediaType = 'application/vnd.veritee.worker-evidence+json'
const prefix = `data:${evidenceMediaType};base64,`
export const maxSessionBytes: number = 1 << 21
const shape = new Shape('session_mismatch')

/** `session_id`: bare hex of SHA-256 over the JCS form of the document (aci/1 section 8). */
export async function sessionId(document: SessionDocument): Promise<string> {
  return (await jcsDigest(document as unknown as Json)).slice(7)
}

/** The `evidence` member over a worker's report text (as the worker served it) and the nonce the controller drew for it. */
export async function sessionEvidence(reportText: string, nonce: string): Promise<SessionDocument['evidence']> {
  const bytes = utf8(`{"nonce":"${nonce}","report":${reportText}}`)
  return { digest: await sha256Digest(bytes), data: prefix + toBase64(bytes) }
}

/**
 * Reads a session record and recomputes its id and evidence digest (aci/1 section 9.2, points 1 and 2). Throws `session_mismatch`, `malformed_encoding`
 * and what the report reader throws. Does not verify the evidence: pass `report` to `verifyReport` (deep audit), with the nonce as stated.
 */
export async function parseSession(text: string, id: string): Promise<Session> {
  const value = strict(text, maxSessionBytes)
  const o = shape.object(value, 'session', [
    'api_version',
    'upstream_name',
    'endpoint',
    'verifier_id',
    'established_at',
    'expires_at',
    'identity',
    'channel_binding',
    'claims',
    'evidence',
  ])
  const identity = shape.object(o.identity, 'identity', ['workload_keyset_digest'])
  const evidence = shape.object(o.evidence, 'evidence', ['digest', 'data'])
  const document: SessionDocument = {
    api_version: shape.oneOf(o.api_version, 'api_version', ['aci/1']),
    upstream_name: shape.string(o.upstream_name, 'upstream_name', 256),
    endpoint: shape.nullableString(o.endpoint, 'endpoint', 512),
    verifier_id: shape.string(o.verifier_id, 'verifier_id', 128),
    established_at: shape.integer(o.established_at, 'established_at'),
    expires_at: shape.integer(o.expires_at, 'expires_at'),
    identity: { workload_keyset_digest: shape.digest(identity.workload_keyset_digest, 'identity.workload_keyset_digest') },
    channel_binding: shape.array(o.channel_binding, 'channel_binding', 16).map((item, i) => binding(item, `channel_binding[${i}]`)),
    claims: claims(o.claims),
    evidence: { digest: shape.digest(evidence.digest, 'evidence.digest'), data: shape.string(evidence.data, 'evidence.data', maxSessionBytes) },
  }
  const found = await sessionId(document)
  if (found !== id) throw fail('session_mismatch', `expected a record that hashes to ${id}, found ${found}`)
  if (!document.evidence.data.startsWith(prefix)) throw shape.refuse('evidence.data', prefix)
  const bytes = fromBase64(document.evidence.data.slice(prefix.length))
  const digest = await sha256Digest(bytes)
  if (digest !== document.evidence.digest) throw fail('session_mismatch', `expected evidence of digest ${document.evidence.digest}, found ${digest}`)
  const bundle = shape.object(strict(fromUtf8(bytes), maxSessionBytes), 'evidence', ['nonce', 'report'])
  const nonce = shape.hex(bundle.nonce, 'evidence.nonce', 32)
  const report = reportFromJson(bundle.report)
  if (report.statedNonce !== nonce)
    throw fail('session_mismatch', `expected evidence over the session's nonce ${nonce}, found ${report.statedNonce ?? 'none'}`)
  return { id, document, report, nonce }
}

function strict(text: string, maxLength: number): unknown {
  return parseDocument(text, { maxLength, maxDepth: 20 }, 'session_mismatch', 'the session')
}

function binding(value: unknown, at: string): SessionDocument['channel_binding'][number] {
  const o = shape.object(value, at, ['type', 'origin', 'spki_sha256'])
  return {
    type: shape.oneOf(o.type, `${at}.type`, ['tls_spki_sha256']),
    origin: shape.string(o.origin, `${at}.origin`, 512),
    spki_sha256: shape.hex(o.spki_sha256, `${at}.spki_sha256`, 32),
  }
}

function claims(value: unknown): SessionClaims {
  const o = shape.object(value, 'claims', [...claimNames, 'extra'])
  const extra = Object.entries(shape.record(o.extra, 'claims.extra')).map(([name, item]) => {
    if (typeof item === 'boolean') return [name, item] as const
    return [name, typeof item === 'number' ? shape.integer(item, 'claims.extra') : shape.string(item, 'claims.extra')] as const
  })
  const parsed = Object.fromEntries(claimNames.map((name) => [name, claim(o[name], `claims.${name}`)])) as { [N in ClaimName]: Claim }
  return { ...parsed, extra: Object.fromEntries(extra) }
}

function claim(value: unknown, at: string): Claim {
  const o = shape.object(value, at, ['status'], ['source', 'reason'])
  const status = shape.oneOf(o.status, `${at}.status`, ['asserted', 'refuted', 'unknown'])
  if (status === 'unknown') return { status }
  return {
    status,
    source: shape.oneOf(o.source, `${at}.source`, ['hardware_proven', 'verifier_derived', 'provider_asserted', 'operator_asserted']),
    reason: shape.string(o.reason, `${at}.reason`, 1024),
  }
}

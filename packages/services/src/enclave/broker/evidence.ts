import { type Collateral, collateralFromJson, parseQuote, type Quote, type Trust, type VerifierCache, verifyQuote } from 'veritee/attestation'
import { fromBase64, type Json, jcsDigest, parseJson, Shape, toHex } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { parseDescriptor } from 'veritee/receipt'
import { parseServedReleases, type ReleaseDocument } from 'veritee/release'
import { boundDescriptor, extensionName, isNonce, maxReleasesLength, parseTeePubkey, protocolVersion, rcarReportData } from '../runtime/kbs/index.ts'
import type { Attested } from './attested.ts'
import type { Challenge } from './sessions.ts'

/** Bytes of the largest request: a quote, collateral and a descriptor, or the event log of a TD. */
export const maxRequestBytes = 524_288
/** A session keeps the descriptor of whoever has genuine evidence, wanted or not: all of them together are to fit into an enclave. */
const maxDescriptorLength = 32_768
const shape = new Shape('kbs_request_malformed')

function parsed(text: string): unknown {
  try {
    return parseJson(text, { maxLength: maxRequestBytes, maxDepth: 16 })
  } catch (cause) {
    throw fail('kbs_request_malformed', `expected strict JSON: ${(cause as Error).message}`, cause)
  }
}

/** Reads the body of `POST auth`. Throws `kbs_request_malformed`, `kbs_version_unsupported`, `kbs_tee_unsupported`. */
export function readAuth(text: string): Challenge['tee'] {
  const o = shape.object(parsed(text), 'request', ['version', 'tee', 'extra-params'])
  const version = shape.string(o.version, 'version', 32)
  if (version !== protocolVersion) throw fail('kbs_version_unsupported', `expected version ${protocolVersion}, found ${JSON.stringify(version)}`)
  const tee = shape.string(o.tee, 'tee', 32)
  if (tee !== 'sgx' && tee !== 'tdx') throw fail('kbs_tee_unsupported', `expected tee sgx or tdx, found ${JSON.stringify(tee)}`)
  return tee
}

export interface EvidenceTrust {
  readonly trust: () => Promise<Trust>
  /** For evidence that comes without collateral, as that of Trustee's clients does; null where only evidence with it is taken. */
  readonly collateral: ((quote: Quote) => Promise<Collateral>) | null
  readonly cache: VerifierCache
  readonly now: () => Date
}

/**
 * Reads and verifies the body of `POST attest` against the challenge of its session. In order: shape and key; nonce; the quote's report data over exactly
 * this nonce, key and bound text; the descriptor, where one is bound; then the quote and its collateral.
 *
 * It proves which code asked, on which platform, and to which key it wants resources encrypted. It judges no policy: that is done for each resource.
 * `init-data` and the event log of a TD are not looked at, and nothing follows from them.
 * Throws `kbs_request_malformed`, `kbs_nonce_mismatch`, `kbs_binding_mismatch`, `kbs_evidence_unsupported`, `collateral_missing`, and every code of the readers,
 * of `verifyQuote` and of the provider of collateral.
 */
export async function verifyEvidence(
  text: string,
  challenge: Challenge,
  { trust, collateral, cache, now }: EvidenceTrust,
): Promise<Omit<Attested, 'tokenId' | 'expires'>> {
  const o = shape.object(parsed(text), 'attestation', ['runtime-data', 'tee-evidence'], ['init-data'])
  const runtime = shape.object(o['runtime-data'], 'runtime-data', ['nonce', 'tee-pubkey'])
  const evidence = shape.object(o['tee-evidence'], 'tee-evidence', ['primary_evidence', 'additional_evidence'])
  const pubkey = parseTeePubkey(runtime['tee-pubkey'])
  const nonce = runtime.nonce
  if (!isNonce(nonce) || nonce !== challenge.nonce) throw fail('kbs_nonce_mismatch', 'expected the nonce of this session')
  const bound = readBound(shape.string(evidence.additional_evidence, 'additional_evidence', maxRequestBytes))
  const optional = challenge.tee === 'tdx' ? ['cc_eventlog', extensionName] : [extensionName]
  const primary = shape.object(evidence.primary_evidence, 'primary_evidence', ['quote'], optional)
  const quote = parseQuote(quoteBytes(shape.string(primary.quote, 'primary_evidence.quote', 65_536)))
  if (quote.tee !== challenge.tee) throw fail('kbs_binding_mismatch', `expected a quote of ${challenge.tee}, found one of ${quote.tee}`)
  const expected = toHex(rcarReportData({ nonce, teePubkey: pubkey.jwk, additionalEvidence: boundDescriptor(bound) }))
  if (toHex(quote.body.reportData) !== expected)
    throw fail('kbs_binding_mismatch', `expected report data ${expected}, found ${toHex(quote.body.reportData)}`)

  const extension = Object.hasOwn(primary, extensionName)
    ? shape.object(primary[extensionName], `primary_evidence.${extensionName}`, ['collateral', 'descriptor'], ['releases'])
    : null
  if ((extension === null) !== (bound === null)) throw fail('kbs_request_malformed', 'expected a descriptor with its binding, or neither')
  const descriptor = extension === null ? null : parseDescriptor(extension.descriptor)
  if (descriptor !== null && JSON.stringify(descriptor).length > maxDescriptorLength)
    throw fail('kbs_request_malformed', `expected a descriptor of at most ${maxDescriptorLength} characters`)
  if (descriptor !== null && (await jcsDigest(descriptor as unknown as Json)) !== bound)
    throw fail('report_descriptor_mismatch', `expected a descriptor that hashes to ${bound}`)
  const releases = extension?.releases === undefined ? [] : readReleases(extension.releases)
  const found = extension === null ? await provided(quote, collateral) : collateralFromJson(extension.collateral)
  const { claims, checks } = await verifyQuote(quote, found, await trust(), now(), { cache })
  return {
    id: challenge.id,
    pubkey,
    nonce,
    claims,
    checks,
    bound: descriptor === null || bound === null ? null : { descriptor, digest: bound },
    drawnAt: challenge.drawnAt,
    drawnMs: challenge.drawnMs,
    releases,
  }
}

/** The digest that `additional_evidence` binds; null for the empty text. Evidence of devices is refused: what is not judged must not seem so. */
function readBound(text: string): string | null {
  if (text === '') return null
  const members = shape.record(parsed(text), 'additional_evidence')
  if (!Object.hasOwn(members, extensionName) || Object.keys(members).length !== 1)
    throw fail('kbs_evidence_unsupported', 'additional_evidence: expected none, or a descriptor')
  const { descriptor } = shape.object(members[extensionName], `additional_evidence.${extensionName}`, ['descriptor'])
  const digest = shape.digest(descriptor, 'additional_evidence.descriptor')
  // The text is what is hashed, so there is one way to write it.
  if (text !== boundDescriptor(digest)) throw shape.refuse('additional_evidence', 'its JCS form')
  return digest
}

/** Release statements beside the evidence: hints, which are verified where a policy demands one. */
function readReleases(value: unknown): readonly ReleaseDocument[] {
  const text = JSON.stringify(value)
  if (text.length > maxReleasesLength) throw fail('kbs_request_malformed', `expected release statements of at most ${maxReleasesLength} characters`)
  return parseServedReleases(text)
}

function quoteBytes(text: string): Uint8Array {
  try {
    return fromBase64(text)
  } catch (cause) {
    throw fail('kbs_request_malformed', 'primary_evidence.quote: expected base64 with padding', cause)
  }
}

function provided(quote: Quote, collateral: EvidenceTrust['collateral']): Promise<Collateral> {
  if (collateral === null) throw fail('collateral_missing', 'the evidence has no collateral, and this broker fetches none')
  return collateral(quote)
}

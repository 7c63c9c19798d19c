import { createHash, generateKeyPairSync, sign as nodeSign } from 'node:crypto'
import { signOperatorStatement } from 'veritee/admission'
import { type Collateral, collateralToJson, parseQuote } from 'veritee/attestation'
import { certificatePem, issueSelfSignedTls } from 'veritee/attestation/issue'
import { type Json, jcs, jcsDigest, toBase64, toHex } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import { ehbpAlgorithm, ehbpVersion } from 'veritee/ehbp'
import { descriptorSubject, type Keyset, keysetDigest, maxKeysetSeconds, type ServiceDescriptor, statementReportData } from 'veritee/receipt'
import { registrationMessage } from './admission/registration.ts'
import { createRecipient, type EhbpRecipient } from './ehbp/recipient.ts'
import type { Quoter } from './quote.ts'

export interface IdentityOptions {
  readonly descriptor: ServiceDescriptor
  readonly quoter: Quoter
  /** The vendor's signed data for this platform, refreshed by whoever holds the enclave; relayed in every report. */
  readonly collateral: () => Collateral
  readonly now: () => Date
  /** Host names under which alone clients take its TLS key (aci/1 section 3.1, `domain`); none: under any. */
  readonly domains?: readonly string[]
  /** The operator's key, who so says that this enclave is his (rule S17): the one that the descriptor names. */
  readonly operator?: SigningKey
}

/** The keys of one running enclave. They are made here, live in this process only, and die with it. */
export interface Identity {
  readonly keyset: Keyset
  readonly keysetDigest: string
  readonly descriptor: ServiceDescriptor
  readonly receiptKeyId: string
  /** Of the operator over the keyset digest, 64 bytes hex; null without one. */
  readonly operatorSignature: string | null
  /** Ed25519 over the bytes, which are the JCS form of a receipt or of a statement about one (aci/1 section 3.1, role separation). */
  signReceipt(message: Uint8Array): Uint8Array
  /** Ed25519 under the receipt key over a registration document, behind a prefix that no receipt begins with. */
  signRegistration(document: Uint8Array): Uint8Array
  /** What opens bodies that are encrypted to this enclave; null in roles that take none. */
  readonly ehbp: EhbpRecipient | null
  /** PEM, for `node:https`. */
  readonly tls: { readonly key: string; readonly cert: string }
  /** The attestation report (aci/1 section 4.1) for a nonce of 64 lower-case hex digits, or null, as the exact text to serve. */
  report(nonce: string | null, options?: { readonly priority?: 'admission' }): Promise<string>
}

/**
 * Makes fresh keys and binds them, with the service descriptor, into a keyset that lives 24 hours (rules S7 and S25 f).
 * Two calls never give the same keys, so two enclaves never share one and a restart always changes the keyset digest.
 */
export async function createIdentity(options: IdentityOptions): Promise<Identity> {
  const { descriptor, quoter, collateral, now, operator, domains = [] } = options
  const receipt = generateKeyPairSync('ed25519')
  const receiptPublic = receipt.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('hex')
  const tls = await createTlsKey(now(), domains)
  const ehbp = descriptor.role === 'worker' || descriptor.role === 'controller' ? createRecipient() : null
  const keyset: Keyset = {
    subject: await descriptorSubject(descriptor),
    not_after: Math.floor(now().getTime() / 1000) + maxKeysetSeconds,
    receipt_signing_keys: [{ key_id: 'receipt-1', algo: 'ed25519', public_key: receiptPublic }],
    e2ee_public_keys: ehbp === null ? [] : [{ key_id: 'ehbp-1', algo: ehbpAlgorithm, public_key: ehbp.publicKey }],
    tls_public_keys: domains.length === 0 ? [{ spki_sha256: tls.spkiSha256 }] : domains.map((domain) => ({ domain, spki_sha256: tls.spkiSha256 })),
  }
  const digest = await keysetDigest(keyset)
  const operatorSignature = operator === undefined ? null : await signOperatorStatement(digest, operator)
  return {
    keyset,
    keysetDigest: digest,
    descriptor,
    receiptKeyId: 'receipt-1',
    operatorSignature,
    signReceipt: (message) => nodeSign(null, message, receipt.privateKey),
    signRegistration: (document) => new Uint8Array(nodeSign(null, registrationMessage(document), receipt.privateKey)),
    ehbp,
    tls: { key: tls.key, cert: tls.cert },
    report: async (nonce, { priority } = {}) => {
      const quote = await quoter.quote({ purpose: 'aci.report_data.v1', keysetDigest: digest, nonce }, priority === undefined ? {} : { priority })
      return jcs({
        api_version: 'aci/1',
        workload_keyset_digest: digest,
        attestation: {
          tee_type: parseQuote(quote).tee,
          workload_keyset: keyset,
          report_data: toHex((await statementReportData(digest, nonce)).subarray(0, 32)),
          source_provenance: { repo_url: null, repo_commit: descriptor.release.commit, image_digest: null, image_provenance: null },
          evidence: {
            quote_b64: toBase64(quote),
            collateral: collateralToJson(collateral()),
            descriptor: descriptor as unknown as Json,
            nonce,
            ...(operatorSignature !== null && { operator_signature: operatorSignature }),
          },
        },
        service_capabilities: {
          supported_e2ee_versions: ehbp === null ? [] : [ehbpVersion],
          serving: descriptor.role === 'controller' ? 'aggregator' : 'direct',
          // Not among the versions above, which are for what this service opens itself (aci/1 section 4.1).
          ...(descriptor.role === 'controller' && { veritee: { ehbp_pass_through: ehbpVersion } }),
        },
      } as unknown as Json)
    },
  }
}

/** Digest of an effective configuration, for the descriptor. Secrets have no place in a configuration that is hashed and published. */
export function configurationDigest(configuration: Json): Promise<string> {
  return jcsDigest(configuration)
}

async function createTlsKey(at: Date, domains: readonly string[]): Promise<{ key: string; cert: string; spkiSha256: string }> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const { certificate, spkiSha256 } = await issueSelfSignedTls({
    publicKey: new Uint8Array(spki.subarray(-64)),
    sign: (message) => new Uint8Array(nodeSign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
    dnsNames: ['localhost', ...domains],
    ipAddresses: ['127.0.0.1'],
    notBefore: new Date(at.getTime() - 300_000),
    notAfter: new Date(at.getTime() + maxKeysetSeconds * 1000),
  })
  if (spkiSha256 !== createHash('sha256').update(spki).digest('hex')) throw new TypeError('createTlsKey: the certificate is over another key')
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), cert: certificatePem(certificate), spkiSha256 }
}

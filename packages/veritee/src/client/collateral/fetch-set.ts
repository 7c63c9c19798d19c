import { type Collateral, parseQeIdentity, parseTcbInfo } from '../../attestation/index.ts'
import type { Evaluation } from './contents.ts'
import { crlDer } from './crl-encoding.ts'
import { distributionPoint } from './distribution-point.ts'
import { issuerChain, issuerChainHeaders } from './issuer-chain.ts'
import { certificatesOf, type Platform } from './platform.ts'
import { type SlicedDocument, sliceSigned } from './signed-document.ts'
import { type Exchange, request, type Source, SourceError } from './source.ts'

/** What one source is asked for. */
export interface SetRequest extends Exchange {
  readonly source: Source
  readonly platform: Platform
  readonly evaluation: Evaluation
  /** Hosts from which the root's list may be fetched when its URL comes from a certificate. */
  readonly distributionHosts: readonly string[]
}

interface Document extends SlicedDocument {
  readonly chain: string
  readonly number: number
}

/**
 * Fetches one whole set from one source (Intel PCS API v4, or a PCCS). The pieces are decoded and parse; whether they fit what was asked for is
 * `checkFits`, whether they are genuine `verifyQuote`. Throws {@link SourceError}, `collateral_unavailable` and every code of the readers.
 */
export async function fetchSet(wanted: SetRequest): Promise<Collateral> {
  const [documents, list] = await Promise.all([fetchDocuments(wanted), fetchPckCrl(wanted)])
  const rootCaCrl = await fetchRootCrl(wanted, list.chain)
  return {
    pckCrlIssuerChain: list.chain,
    rootCaCrl,
    pckCrl: list.der,
    tcbInfoIssuerChain: documents.tcbInfo.chain,
    tcbInfo: documents.tcbInfo.text,
    tcbInfoSignature: documents.tcbInfo.signature,
    qeIdentityIssuerChain: documents.qeIdentity.chain,
    qeIdentity: documents.qeIdentity.text,
    qeIdentitySignature: documents.qeIdentity.signature,
  }
}

/**
 * TCB info and QE identity. Around a publication the two answers to `update=...` may be of two evaluations; then the older one is asked for again by
 * the newer's number, once. A pair that still differs is left to `checkFits`, which refuses it (P23).
 */
async function fetchDocuments(wanted: SetRequest): Promise<{ readonly tcbInfo: Document; readonly qeIdentity: Document }> {
  const { evaluation } = wanted
  const [tcbInfo, qeIdentity] = await Promise.all([fetchTcbInfo(wanted, evaluation), fetchQeIdentity(wanted, evaluation)])
  if (tcbInfo.number === qeIdentity.number || typeof evaluation === 'number') return { tcbInfo, qeIdentity }
  return tcbInfo.number < qeIdentity.number
    ? { tcbInfo: await fetchTcbInfo(wanted, qeIdentity.number), qeIdentity }
    : { tcbInfo, qeIdentity: await fetchQeIdentity(wanted, tcbInfo.number) }
}

/** Either parameter, never both (P23). */
function selector(evaluation: Evaluation): string {
  return typeof evaluation === 'number' ? `tcbEvaluationDataNumber=${evaluation}` : `update=${evaluation}`
}

async function fetchTcbInfo(wanted: SetRequest, evaluation: Evaluation): Promise<Document> {
  const { source, platform } = wanted
  const fmspc = platform.fmspc.toUpperCase()
  const { headers, body } = await request(`${source.base}/${platform.tee}/certification/v4/tcb?fmspc=${fmspc}&${selector(evaluation)}`, wanted)
  const sliced = sliceSigned(body, 'tcbInfo')
  return { ...sliced, chain: issuerChain(headers, issuerChainHeaders.tcbInfo), number: parseTcbInfo(sliced.text).evaluationDataNumber }
}

async function fetchQeIdentity(wanted: SetRequest, evaluation: Evaluation): Promise<Document> {
  const { source, platform } = wanted
  const { headers, body } = await request(`${source.base}/${platform.tee}/certification/v4/qe/identity?${selector(evaluation)}`, wanted)
  const sliced = sliceSigned(body, 'enclaveIdentity')
  return { ...sliced, chain: issuerChain(headers, issuerChainHeaders.qeIdentity), number: parseQeIdentity(sliced.text).evaluationDataNumber }
}

/** The list of the authority that issued the PCK certificate, for TDX too: there is one such route, under /sgx. */
export async function fetchPckCrl(wanted: Exchange & { readonly source: Source; readonly platform: Pick<Platform, 'ca'> }): Promise<{
  readonly der: Uint8Array
  readonly chain: string
}> {
  const { source, platform } = wanted
  const { headers, body } = await request(`${source.base}/sgx/certification/v4/pckcrl?ca=${platform.ca}&encoding=der`, wanted)
  return { der: crlDer(body), chain: issuerChain(headers, issuerChainHeaders.pckCrl) }
}

/** From a PCCS's own route; where the source has none, from the place that the root certificate names, if that is an allowed host. */
async function fetchRootCrl(wanted: SetRequest, pckCrlChain: string): Promise<Uint8Array> {
  const { source, platform } = wanted
  if (!source.intel) {
    try {
      return crlDer((await request(`${source.base}/sgx/certification/v4/rootcacrl`, wanted)).body)
    } catch (error) {
      // A mirror of Intel's service has no such route; what it answers for unknown routes is anybody's choice.
      const { status } = error instanceof SourceError ? error : { status: null }
      if (status === null || status === 429 || status < 400 || status >= 500) throw error
    }
  }
  const certificates = certificatesOf(pckCrlChain)
  const root = platform.root ?? certificates.find(({ subject, issuer }) => subject.commonName === issuer.commonName)
  if (root === undefined) throw new SourceError('pckcrl: expected an issuer chain with its root', null, null)
  return crlDer((await request(distributionPoint(root, wanted.distributionHosts), wanted)).body)
}

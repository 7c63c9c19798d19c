import { parseQuote, type Quote } from '../../attestation/index.ts'
import { concat, utf8 } from '../../bytes/bytes.ts'
import { toHex } from '../../bytes/hex.ts'
import { fail } from '../../errors.ts'
import { fetchPckCrl } from './fetch-set.ts'
import { issuerChain, issuerChainHeaders } from './issuer-chain.ts'
import { certificatesOf, pckLeaf, pemText, platformOf } from './platform.ts'
import { type Exchange, request, type Source, SourceError } from './source.ts'

/**
 * The PEM chain of a quote's PCK certificate, fetched from one source where the quote does not carry it: for types 1 to 3 of certification data the
 * certificate is asked for by what the quote names, for type 4 only the issuers are missing.
 *
 * Intel's service identifies a platform by its PPID under its own RSA-3072 key, so of the three only type 3 names enough for it; a PCCS may know
 * the platform by its QE id as well. Nothing is verified. Throws `quote_no_pck_chain`, which says what to fetch, and {@link SourceError}.
 */
export async function fetchPckChain(quote: Quote, source: Source, exchange: Exchange): Promise<string> {
  const { certification } = quote
  if (certification.kind === 'pck-chain') return pemText(certification.pem)
  if (certification.kind === 'pck-leaf') {
    const { ca } = platformOf(quote)
    return joined(pemText(certification.pem), (await fetchPckCrl({ ...exchange, source, platform: { ca } })).chain)
  }
  const { type, ppid, cpuSvn, pceSvn, pceId } = certification
  if (source.intel && type !== 3) throw fail('quote_no_pck_chain', `Intel's service finds a platform by an RSA-3072 PPID only: ${describe(quote)}`)
  const query = new URLSearchParams({
    // The quoting enclave writes its QE id into the first 16 bytes of the header's user data.
    ...(source.intel ? {} : { qeid: toHex(quote.userData.subarray(0, 16)) }),
    ...(type === 3 ? { encrypted_ppid: toHex(ppid) } : {}),
    cpusvn: toHex(cpuSvn),
    pcesvn: toHex(Uint8Array.of(pceSvn & 0xff, pceSvn >> 8)),
    pceid: toHex(pceId),
  })
  let result: Awaited<ReturnType<typeof request>>
  try {
    result = await request(`${source.base}/sgx/certification/v4/pckcert?${query}`, exchange)
  } catch (error) {
    if (error instanceof SourceError && (error.status === 404 || error.status === 400))
      throw fail('quote_no_pck_chain', `${error.message}: ${describe(quote)}`, error)
    throw error
  }
  const chain = joined(pemText(result.body), issuerChain(result.headers, issuerChainHeaders.pckCertificate))
  const { extension } = pckLeaf(certificatesOf(chain))
  if (extension.pceId !== toHex(pceId)) throw new SourceError(`pckcert: expected PCE id ${toHex(pceId)}, found ${extension.pceId}`, null, null)
  return chain
}

function joined(leaf: string, issuers: string): string {
  return `${leaf.trimEnd()}\n${issuers}`
}

/** Which certificate to fetch, in the words of Intel's API. */
export function describe({ certification }: Quote): string {
  if (certification.kind !== 'platform') return 'fetch the chain of its PCK certificate'
  const { type, ppid, cpuSvn, pceSvn, pceId } = certification
  const name = type === 1 ? 'PPID' : `PPID encrypted under RSA-${type === 2 ? 2048 : 3072}`
  const svn = toHex(Uint8Array.of(pceSvn & 0xff, pceSvn >> 8))
  return `fetch the PCK certificate of ${name} ${toHex(ppid)}, PCE id ${toHex(pceId)}, CPU SVN ${toHex(cpuSvn)}, PCE SVN ${svn}, and embed its chain`
}

/**
 * The same quote with certification data of type 5 holding `chain` (PEM). That part of a quote is under no signature: what it holds is verified by
 * itself, so a wrong chain makes verification fail and nothing else. Bytes after the quote's declared end are dropped.
 *
 * Layouts: Intel SGX ECDSA Quote Library Reference, appendix A.4.
 */
export function withPckChain(quote: Quote, chain: string): Quote {
  const pem = utf8(chain)
  const certified = concat(
    quote.qeReport.bytes,
    quote.qeReportSignature,
    u16(quote.qeAuthData.length),
    quote.qeAuthData,
    u16(5),
    u32(pem.length),
    pem,
  )
  const nested = quote.version === 3 ? certified : concat(u16(6), u32(certified.length), certified)
  const authentication = concat(quote.signature, quote.attestationKey, nested)
  return parseQuote(concat(quote.signed, u32(authentication.length), authentication))
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >> 8)
}

function u32(value: number): Uint8Array {
  return concat(u16(value & 0xffff), u16(value >>> 16))
}

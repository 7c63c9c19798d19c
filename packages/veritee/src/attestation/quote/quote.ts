import { equal } from '../../bytes/bytes.ts'
import { fromHex } from '../../bytes/hex.ts'
import { fail } from '../../errors.ts'
import { readSgxReport, type SgxReport, sgxReportLength } from '../sgx/report.ts'
import { readTdReport, type TdReport, tdReportLength } from '../tdx/report.ts'
import { ByteCursor } from './byte-cursor.ts'
import { type QeCertification, readNestedQeCertification, readQeCertification } from './certification.ts'

interface QuoteFields extends QeCertification {
  /** The quote up to its declared end: a copy, so later writes to the input change nothing. All other byte fields are views of it. */
  readonly bytes: Uint8Array
  readonly userData: Uint8Array
  /** The bytes the quote signature covers: header and body, and in v5 the body descriptor between them (P15). */
  readonly signed: Uint8Array
  /** 64 bytes r || s. */
  readonly signature: Uint8Array
  /** 64 bytes x || y, P-256. */
  readonly attestationKey: Uint8Array
  /** How many bytes follow the declared end. Real quotes often have them (P21); they are outside every signature and never read. */
  readonly trailingBytes: number
}

/** An ECDSA quote of a quoting enclave of Intel's, as parsed: nothing in it is verified. */
export type Quote =
  | (QuoteFields & { readonly version: 3 | 4 | 5; readonly tee: 'sgx'; readonly body: SgxReport })
  | (QuoteFields & { readonly version: 4 | 5; readonly tee: 'tdx'; readonly body: TdReport })

// Real quotes are below 9 KiB, buffers around them up to 16 KiB.
const maxLength = 1_048_576
const intelVendor = fromHex('939a7233f79c4ca9940a0db3957f0607')

/**
 * Parses a DCAP quote of version 3 (SGX), 4 or 5 (SGX or TDX): shape only, nothing is verified.
 *
 * Layouts: Intel SGX ECDSA Quote Library Reference, appendix A.4, and Intel TDX DCAP Quoting Library API, appendix A.3. Little-endian. Every declared
 * length must be filled exactly by its parts; bytes after the declared end are only counted.
 *
 * Throws `quote_malformed` (truncated, lengths that disagree, more than 1 MiB) and `quote_unsupported` (version, key type other than P-256, TEE type,
 * vendor, body type, certification data type). A type other than `Uint8Array` is a `TypeError`.
 *
 * @example const quote = parseQuote(fromHex(text))
 */
export function parseQuote(bytes: Uint8Array): Quote {
  return readQuote(bytes, (input) => new Uint8Array(input))
}

/** {@link parseQuote} of the copy that `copy` makes. */
export function readQuote(bytes: Uint8Array, copy: (bytes: Uint8Array) => Uint8Array): Quote {
  if (!(bytes instanceof Uint8Array)) throw new TypeError('expected the bytes of a quote as a Uint8Array')
  if (bytes.length > maxLength) throw fail('quote_malformed', `expected at most ${maxLength} bytes, found ${bytes.length}`)
  const input = copy(bytes)
  const cursor = new ByteCursor(input)

  const version = cursor.u16('version')
  if (version !== 3 && version !== 4 && version !== 5) throw fail('quote_unsupported', `expected version 3, 4 or 5, found ${version}`)
  const keyType = cursor.u16('attestation key type')
  if (keyType !== 2) throw fail('quote_unsupported', `expected attestation key type 2 (ECDSA P-256), found ${keyType}`)
  const teeType = cursor.u32('TEE type')
  const tee = teeType === 0x00 ? 'sgx' : teeType === 0x81 ? 'tdx' : null
  if (tee === null || (version === 3 && tee !== 'sgx'))
    throw fail('quote_unsupported', `expected a TEE type of version ${version}, found 0x${teeType.toString(16)}`)
  // Security versions of the quoting and provisioning enclaves in v3, reserved later; the verdict takes them from certified data instead.
  cursor.skip(4, 'header')
  if (!equal(cursor.take(16, 'QE vendor'), intelVendor)) throw fail('quote_unsupported', "expected a quoting enclave of Intel's")
  const userData = cursor.take(20, 'user data')

  const kind = version === 5 ? readDescriptor(cursor, tee) : tee === 'sgx' ? 'sgx' : 'td10'
  const body = kind === 'sgx' ? readSgxReport(cursor, 'body') : readTdReport(cursor, kind)
  const signed = input.subarray(0, cursor.position)

  const authentication = new ByteCursor(cursor.take(cursor.u32('signature data length'), 'signature data'))
  const signature = authentication.take(64, 'signature')
  const attestationKey = authentication.take(64, 'attestation key')
  const { qeReport, qeReportSignature, qeAuthData, certification } =
    version === 3 ? readQeCertification(authentication) : readNestedQeCertification(authentication)
  authentication.finish('signature data')

  const quote = {
    version,
    tee,
    body,
    bytes: input.subarray(0, cursor.position),
    userData,
    signed,
    signature,
    attestationKey,
    qeReport,
    qeReportSignature,
    qeAuthData,
    certification,
    trailingBytes: cursor.remaining,
  }
  // The kind of body follows from version and TEE, above. One literal: to put fields together from several takes longer than to read them.
  return quote as Quote
}

const bodyTypes = {
  1: { tee: 'sgx', kind: 'sgx', length: sgxReportLength },
  2: { tee: 'tdx', kind: 'td10', length: tdReportLength.td10 },
  3: { tee: 'tdx', kind: 'td15', length: tdReportLength.td15 },
  4: { tee: 'tdx', kind: 'td15ex', length: tdReportLength.td15ex },
} as const

/** The body descriptor of version 5: its type must be known, agree with the TEE type of the header, and declare its exact length (P15). */
function readDescriptor(cursor: ByteCursor, tee: 'sgx' | 'tdx'): 'sgx' | TdReport['kind'] {
  const type = cursor.u16('body type')
  const length = cursor.u32('body length')
  if (type !== 1 && type !== 2 && type !== 3 && type !== 4) throw fail('quote_unsupported', `expected body type 1 to 4, found ${type}`)
  const expected = bodyTypes[type]
  if (expected.tee !== tee) throw fail('quote_malformed', `body type ${type} does not belong to TEE type ${tee}`)
  if (expected.length !== length) throw fail('quote_malformed', `body type ${type}: expected ${expected.length} bytes, found ${length} declared`)
  return expected.kind
}

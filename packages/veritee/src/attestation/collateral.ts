import { fromHex, toHex } from '../bytes/hex.ts'
import { parseJson } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import { fail } from '../errors.ts'

/**
 * Collateral in the common JSON form, as parsed (shape only; nothing is verified).
 * The signed texts are kept exactly as received: signatures are over their UTF-8 bytes.
 */
export interface Collateral {
  /** PEM, leaf to root in any order. */
  readonly pckCrlIssuerChain: string
  /** DER. */
  readonly rootCaCrl: Uint8Array
  readonly pckCrl: Uint8Array
  readonly tcbInfoIssuerChain: string
  readonly tcbInfo: string
  /** 64 bytes r || s. */
  readonly tcbInfoSignature: Uint8Array
  readonly qeIdentityIssuerChain: string
  readonly qeIdentity: string
  readonly qeIdentitySignature: Uint8Array
}

/** The common JSON form: CRLs as hex DER, signatures as hex r || s, issuer chains as PEM, signed documents as the text that was signed. */
export interface CollateralJson {
  readonly pck_crl_issuer_chain: string
  readonly root_ca_crl: string
  readonly pck_crl: string
  readonly tcb_info_issuer_chain: string
  readonly tcb_info: string
  readonly tcb_info_signature: string
  readonly qe_identity_issuer_chain: string
  readonly qe_identity: string
  readonly qe_identity_signature: string
}

const members = [
  'pck_crl_issuer_chain',
  'root_ca_crl',
  'pck_crl',
  'tcb_info_issuer_chain',
  'tcb_info',
  'tcb_info_signature',
  'qe_identity_issuer_chain',
  'qe_identity',
  'qe_identity_signature',
] as const satisfies readonly (keyof CollateralJson)[]

// Real sets are about 25 KB.
const maxLength = 1_048_576
const shape = new Shape('collateral_malformed')

/**
 * Parses collateral in the common JSON form: a flat object with exactly the nine members of {@link CollateralJson}, each a string.
 *
 * Strict JSON of at most 1 MiB; hex of either case. Absent and empty members are `collateral_missing`: there is no collateral one can do without (P3).
 * Only shapes are checked; the texts are looked into by `verifyQuote`. CRLs in PEM are refused (P17).
 * Throws `malformed_json`, `collateral_missing`, `collateral_malformed`.
 */
export function parseCollateral(text: string): Collateral {
  return collateralFromJson(parseJson(text, { maxLength, maxDepth: 8 }))
}

/** {@link parseCollateral} for a value that is already parsed, such as a member of an evidence bundle. */
export function collateralFromJson(value: unknown): Collateral {
  const record = shape.record(value, 'collateral')
  for (const name of members)
    if (!Object.hasOwn(record, name) || record[name] === '' || record[name] === null) throw fail('collateral_missing', `expected a member '${name}'`)
  shape.object(record, 'collateral', members)
  const text = (name: keyof CollateralJson): string => shape.string(record[name], name, maxLength)
  return {
    pckCrlIssuerChain: text('pck_crl_issuer_chain'),
    rootCaCrl: hex(text('root_ca_crl'), 'root_ca_crl'),
    pckCrl: hex(text('pck_crl'), 'pck_crl'),
    tcbInfoIssuerChain: text('tcb_info_issuer_chain'),
    tcbInfo: text('tcb_info'),
    tcbInfoSignature: hex(text('tcb_info_signature'), 'tcb_info_signature', 64),
    qeIdentityIssuerChain: text('qe_identity_issuer_chain'),
    qeIdentity: text('qe_identity'),
    qeIdentitySignature: hex(text('qe_identity_signature'), 'qe_identity_signature', 64),
  }
}

function hex(text: string, name: string, length?: number): Uint8Array {
  try {
    return fromHex(text, length)
  } catch (cause) {
    throw fail('collateral_malformed', `${name}: expected ${length === undefined ? '' : `${2 * length} `}hex digits`, cause)
  }
}

/** The members of the common JSON form; hex is lower case. */
export function collateralToJson(collateral: Collateral): CollateralJson {
  return {
    pck_crl_issuer_chain: collateral.pckCrlIssuerChain,
    root_ca_crl: toHex(collateral.rootCaCrl),
    pck_crl: toHex(collateral.pckCrl),
    tcb_info_issuer_chain: collateral.tcbInfoIssuerChain,
    tcb_info: collateral.tcbInfo,
    tcb_info_signature: toHex(collateral.tcbInfoSignature),
    qe_identity_issuer_chain: collateral.qeIdentityIssuerChain,
    qe_identity: collateral.qeIdentity,
    qe_identity_signature: toHex(collateral.qeIdentitySignature),
  }
}

/** The JSON text that {@link parseCollateral} reads back to the same collateral. */
export function formatCollateral(collateral: Collateral): string {
  return JSON.stringify(collateralToJson(collateral))
}

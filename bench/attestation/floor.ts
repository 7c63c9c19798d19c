// The floor under any verifier in Node: the very signatures of the evidence, each distinct one once, with one import of each distinct key, and
// nothing else. In the fastest forms node:crypto takes (keys as PEM text and then key objects, signatures in DER) and in the usual ones (SPKI in
// DER, r || s), which cost a half more; all of it readied beforehand.
import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { type Certificate, collateralFromJson, parseCertificate, parseCrl, parsePem, parseQuote } from 'veritee/attestation'
import { derInteger, derSequence } from '../../packages/veritee/src/bytes/der-writer.ts'
import type { Evidence } from './evidence.ts'

/** One signature to verify. */
interface Item {
  readonly spki: Buffer
  readonly pem: string
  readonly der: Uint8Array
  readonly signature: Uint8Array
  readonly message: Uint8Array
}

export interface Floor {
  /** What the floor consists of. */
  readonly description: string
  readonly operation: () => void
  /** The same in the usual forms. */
  readonly usual: () => void
}

export interface Floors {
  readonly uncached: Floor
  /** Collateral known, PCK certificate new. */
  readonly collateralCached: Floor
  /** All keys known; the report of the quoting enclave is verified again. */
  readonly allCached: Floor
  /** That report is known too. */
  readonly quoteOnly: Floor
}

/** The floors for one quote. Throws `TypeError` if a signature does not verify: then the floor would be wrong. */
export function floorsOf(evidence: Evidence, quote: Uint8Array): Floors {
  const { qeReport, qeReportSignature, certification, attestationKey, signature, signed } = parseQuote(quote)
  if (certification.kind !== 'pck-chain') throw new TypeError('bench: expected a PCK chain')
  const [pck, intermediate, root] = certificates(new TextDecoder().decode(certification.pem).replace(/\0+$/, ''))
  const collateral = collateralFromJson(evidence.collateral)
  const [signer] = certificates(collateral.tcbInfoIssuerChain)
  if (pck === undefined || intermediate === undefined || root === undefined || signer === undefined) throw new TypeError('bench: expected two chains')
  const rootCrl = parseCrl(collateral.rootCaCrl)
  const pckCrl = parseCrl(collateral.pckCrl)
  const utf8 = new TextEncoder()

  const qeReportItem = item(point(pck), qeReportSignature, qeReport.bytes)
  const quoteItem = item(attestationKey, signature, signed)
  const leaf = certified(intermediate, pck)
  const rest = [
    certified(root, intermediate),
    certified(root, signer),
    item(point(root), rootCrl.signature, rootCrl.tbs),
    item(point(intermediate), pckCrl.signature, pckCrl.tbs),
    item(point(signer), collateral.tcbInfoSignature, utf8.encode(collateral.tcbInfo)),
    item(point(signer), collateral.qeIdentitySignature, utf8.encode(collateral.qeIdentity)),
  ]
  return {
    uncached: floor([...rest, leaf, qeReportItem, quoteItem], []),
    collateralCached: floor([leaf, qeReportItem, quoteItem], [leaf]),
    allCached: floor([qeReportItem, quoteItem], [qeReportItem, quoteItem]),
    quoteOnly: floor([quoteItem], [quoteItem]),
  }
}

/** `known`: whose keys have been imported before. */
function floor(items: readonly Item[], known: readonly Item[]): Floor {
  const before = new Map(known.map(({ pem }) => [pem, createPublicKey(pem)]))
  const inForms = (importKey: (one: Item) => KeyObject, check: (one: Item, key: KeyObject) => boolean) => (): void => {
    const keys = new Map<string, KeyObject>(before)
    for (const one of items) {
      const key = keys.get(one.pem) ?? importKey(one)
      keys.set(one.pem, key)
      if (!check(one, key)) throw new TypeError('bench: a signature of the floor does not verify')
    }
  }
  const operation = inForms(
    ({ pem }) => createPublicKey(pem),
    ({ message, der }, key) => verify('sha256', message, key, der),
  )
  const usual = inForms(
    ({ spki }) => createPublicKey({ key: spki, format: 'der', type: 'spki' }),
    ({ message, signature }, key) => verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature),
  )
  operation()
  usual()
  const imports = new Set(items.map(({ pem }) => pem)).size - before.size
  return { description: `${items.length} ECDSA, ${imports} key imports`, operation, usual }
}

function certified(issuer: Certificate, subject: Certificate): Item {
  if (subject.signature === null) throw new TypeError('bench: expected an ECDSA signature')
  return item(point(issuer), subject.signature, subject.tbs)
}

function certificates(text: string): Certificate[] {
  return parsePem(text).map(parseCertificate)
}

function point(certificate: Certificate): Uint8Array {
  if (certificate.publicKey === null) throw new TypeError('bench: expected a P-256 key')
  return certificate.publicKey
}

function item(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): Item {
  const spki = Buffer.concat([Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex'), publicKey])
  const text = spki.toString('base64')
  const pem = `-----BEGIN PUBLIC KEY-----\n${text.slice(0, 64)}\n${text.slice(64)}\n-----END PUBLIC KEY-----\n`
  return { spki, pem, der: derSequence(derInteger(signature.subarray(0, 32)), derInteger(signature.subarray(32))), signature, message }
}

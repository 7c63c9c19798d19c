import { utf8 } from '../../bytes/index.ts'
import { certificatePem } from '../pki/issue.ts'
import { type Alteration, type Authority, caProfile, issueAuthority, leafProfile } from './authority.ts'
import type { UnsignedDocument } from './documents.ts'

/**
 * A simulated hardware vendor: everything above the platforms. Its keys live in this process only and are made anew each time,
 * so no two runs share a root. Whoever holds the object can sign anything under that root, which no verifier takes for Intel's.
 */
export interface SimVendor {
  readonly root: Authority
  readonly processorCa: Authority
  readonly platformCa: Authority
  readonly tcbSigning: Authority
}

/** Which certificates of a vendor to change before they are signed. */
export interface VendorAlterations {
  readonly root?: Alteration
  readonly processorCa?: Alteration
  readonly platformCa?: Alteration
  readonly tcbSigning?: Alteration
}

const day = 86_400_000

/** Makes the root, both PCK authorities and the TCB signer, valid from the day before `at`, for as many years as Intel's. */
export async function createSimVendor(at: Date, alter: VendorAlterations = {}): Promise<SimVendor> {
  const unaltered: Alteration = (profile) => profile
  const from = new Date(at.getTime() - day)
  const root = await issueAuthority((alter.root ?? unaltered)(caProfile('Intel SGX Root CA', 1, from, yearsAfter(at, 30))), null)
  const below = (wanted: Alteration | undefined, profile: Parameters<Alteration>[0]): Promise<Authority> =>
    issueAuthority((wanted ?? unaltered)(profile), root)
  return {
    root,
    processorCa: await below(alter.processorCa, caProfile('Intel SGX PCK Processor CA', 0, from, yearsAfter(at, 15))),
    platformCa: await below(alter.platformCa, caProfile('Intel SGX PCK Platform CA', 0, from, yearsAfter(at, 15))),
    tcbSigning: await below(alter.tcbSigning, leafProfile('Intel SGX TCB Signing', from, yearsAfter(at, 7))),
  }
}

/** The same moment some years of 365 days later. */
export function yearsAfter(at: Date, years: number): Date {
  return new Date(at.getTime() + years * 365 * day)
}

/** A signed document as collateral carries it: the exact text and 64 bytes r || s over its UTF-8 bytes. */
export interface SignedDocument {
  readonly text: string
  readonly signature: Uint8Array
}

/** Signs the JSON text of a document with the key of `signer`, whoever that is. */
export async function signDocument(document: UnsignedDocument, signer: Authority): Promise<SignedDocument> {
  const text = JSON.stringify(document)
  return { text, signature: await signer.key.sign(utf8(text)) }
}

/** PEM of some authorities' certificates, in the order given. */
export function chainPem(...authorities: readonly Authority[]): string {
  return authorities.map(({ certificate }) => certificatePem(certificate)).join('')
}

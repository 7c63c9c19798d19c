import { fromHex, type Json, jcs, jcsDigest, parseDocument, Shape, toHex, utf8 } from 'veritee/bytes'
import { verifyEd25519 } from 'veritee/crypto'
import { fail } from 'veritee/errors'
import { checkKeysetWindow, type Keyset, parseKeyset } from 'veritee/receipt'
import type { Identity } from '../identity.ts'

/** What a worker tells a controller at its control port, signed by its keyset. Normative: spec/admission.md. */
export interface Registration {
  /** To be admitted, or to get no more requests and be forgotten. */
  readonly purpose: 'register' | 'leave'
  /** Where the controller reaches the worker. */
  readonly url: string
  readonly keyset: Keyset
  /** Keyset digest of the controller that is meant: what is said to one is nothing to another. */
  readonly controller: string
  /** The controller's, 32 bytes hex; it serves once. */
  readonly nonce: string
  /** What the worker wants to see on the challenge; null: nothing. */
  readonly ticket: string | null
  /** See `verifyOperator`. */
  readonly operatorSignature: string | null
}

export const maxRegistrationLength: number = 65_536
const version = 'veritee.registration.v1'
const code = 'registration_malformed'
const shape = new Shape(code)
const members = ['version', 'purpose', 'url', 'keyset', 'controller', 'nonce', 'ticket', 'operator_signature', 'key_id', 'signature'] as const
/** The text of a registration under a worker's present keys. */
export function signRegistration(
  identity: Pick<Identity, 'keyset' | 'receiptKeyId' | 'signRegistration'>,
  { purpose, url, controller, nonce, ticket, operatorSignature }: Omit<Registration, 'keyset'>,
): string {
  const { keyset, receiptKeyId: key_id } = identity
  const document = {
    version,
    purpose,
    url,
    keyset: keyset as unknown as Json,
    controller,
    nonce,
    ticket,
    operator_signature: operatorSignature,
    key_id,
  }
  return jcs({ ...document, signature: toHex(identity.signRegistration(utf8(jcs(document)))) })
}

/**
 * Reads a registration and verifies that a key of the keyset in it signed it, and that the keyset is in its time. So nobody registers in the name of a keyset that
 * he does not hold. It does not show that the keyset is an enclave's: that is for the challenge.
 *
 * Gives the keyset's digest too. Whether controller and nonce are the right ones is for the caller.
 * Throws `registration_malformed`, `report_malformed` for the keyset, `registration_signature_invalid`, `keyset_expired`.
 */
export async function verifyRegistration(text: string, at: Date): Promise<Registration & { readonly keysetDigest: string }> {
  const value = parseDocument(text, { maxLength: maxRegistrationLength, maxDepth: 6, integersOnly: true }, code, 'the registration')
  const { signature, ...document } = shape.object(value, 'registration', members)
  shape.oneOf(document.version, 'version', [version])
  const keyset = parseKeyset(document.keyset)
  const keyId = shape.string(document.key_id, 'key_id', 128)
  const key = keyset.receipt_signing_keys.find((one) => one.key_id === keyId)
  const registration: Registration = {
    purpose: shape.oneOf(document.purpose, 'purpose', ['register', 'leave']),
    url: shape.string(document.url, 'url', 512),
    keyset,
    controller: shape.digest(document.controller, 'controller'),
    nonce: shape.hex(document.nonce, 'nonce', 32),
    ticket: document.ticket === null ? null : shape.hex(document.ticket, 'ticket', 16),
    operatorSignature: document.operator_signature === null ? null : shape.hex(document.operator_signature, 'operator_signature', 64),
  }
  const signed = fromHex(shape.hex(signature, 'signature', 64))
  const known = key?.algo === 'ed25519' && /^[0-9a-f]{64}$/.test(key.public_key) ? key.public_key : null
  const message = registrationMessage(utf8(jcs(document as { readonly [name: string]: Json })))
  if (known === null || !(await verifyEd25519(fromHex(known), signed, message)))
    throw fail('registration_signature_invalid', 'the registration is not signed by a receipt key of the keyset that it names')
  checkKeysetWindow(keyset, at)
  return { ...registration, keysetDigest: await jcsDigest(document.keyset as Json) }
}

/** What a worker's key signs for a registration: a beginning that no receipt has, whose JCS form begins with a brace, so neither can stand for the other. */
export function registrationMessage(document: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`${version}\n`), document])
}

import { fail } from '../../errors.ts'
import { eventOf, type Receipt } from '../receipt.ts'

/** One encrypted exchange, as the requester holds it. */
export interface SealedTransport {
  /** The encapsulated key, 64 hex digits. */
  readonly enc: string
  /** `Ehbp-Response-Nonce` of the answer. */
  readonly responseNonce: string
}

/**
 * Holds the `veritee.transport` of a service that opened the body against the exchange. Null is an exchange that was not encrypted: a receipt that says otherwise
 * is of another. Throws `receipt_transport_mismatch`.
 */
export function checkTransport(receipt: Receipt, transport: SealedTransport | null, clientNonce: string): void {
  if (eventOf(receipt, 'veritee.opaque') !== undefined)
    throw fail('receipt_transport_mismatch', 'expected the receipt of a service that read the request, found one of a body that it passed on unread')
  const event = eventOf(receipt, 'veritee.transport')
  if (transport === null) {
    if (event !== undefined) throw fail('receipt_transport_mismatch', `expected an exchange that was not encrypted, found enc ${event.enc}`)
    return
  }
  if (event === undefined) throw fail('receipt_transport_mismatch', 'expected an encrypted exchange, found no event veritee.transport')
  same('enc', transport.enc, event.enc)
  same('response_nonce', transport.responseNonce, event.response_nonce)
  same('client_nonce', clientNonce, event.client_nonce)
}

function same(name: string, expected: string, found: string | null): void {
  if (found !== expected) throw fail('receipt_transport_mismatch', `${name}: expected ${expected}, found ${found ?? 'none'}`)
}

import type { IncomingMessage } from 'node:http'
import type { Binding } from 'veritee/ehbp'
import type { TransportEvent } from 'veritee/receipt'

/** An encrypted request that was opened here; its answer is encrypted. */
export interface OpenedExchange {
  /** The encapsulated key in hex. */
  readonly enc: string
  readonly responseNonce: string
  /** What the requester alone knows beside this enclave, and keeps the receipt of an exchange whose controller cannot read it. */
  readonly receiptCredential: string
  /** The line in front of the body; null for a requester that knows nothing of it. */
  readonly binding: Binding | null
  /** Without the line. */
  readonly body: Uint8Array
  /** Digests of what went over the wire; that of the answer comes with its last byte. */
  readonly wire: { readonly requestHash: string; readonly responseHash: Promise<string> }
}

/** Beside the requests, so that whatever reads one need not know how it came. */
const exchanges = new WeakMap<IncomingMessage, OpenedExchange>()

export function keepExchange(request: IncomingMessage, exchange: OpenedExchange): void {
  exchanges.set(request, exchange)
}

/** Null for a request that was not encrypted. */
export function exchangeOf(request: IncomingMessage): OpenedExchange | null {
  return exchanges.get(request) ?? null
}

/** What a receipt says of how its request came: nothing where it was not encrypted. */
export function transportEvents(request: IncomingMessage, clientNonce: string | null): readonly TransportEvent[] {
  const exchange = exchangeOf(request)
  if (exchange === null) return []
  return [{ type: 'veritee.transport', enc: exchange.enc, response_nonce: exchange.responseNonce, client_nonce: clientNonce }]
}

import type { IncomingMessage } from 'node:http'
import type { Binding } from 'veritee/ehbp'
import type { TransportEvent } from 'veritee/receipt'

/** An encrypted request that was opened here; its answer is encrypted. Without its content, which is not kept as long. */
export interface OpenedExchange {
  /** The encapsulated key in hex. */
  readonly enc: string
  readonly responseNonce: string
  /** What the requester alone knows beside this enclave, and keeps the receipt of an exchange whose controller cannot read it. */
  readonly receiptCredential: () => string
  /** The line in front of the body; null for a requester that knows nothing of it. */
  readonly binding: Binding | null
  /** Digests of what went over the wire, for a worker's statement; that of the answer comes with its last byte. Null where there is nobody to state them to. */
  readonly wire: { readonly requestHash: string; readonly responseHash: Promise<string> } | null
}

/**
 * On the request, so that whatever reads one need not know how it came. Not in a WeakMap: V8's young generation takes the values of one for live, whatever became of
 * their keys.
 */
const opened = Symbol('opened')

type Opened = IncomingMessage & { [opened]?: OpenedExchange }

export function keepExchange(request: Opened, exchange: OpenedExchange): void {
  request[opened] = exchange
}

/** Null for a request that was not encrypted. */
export function exchangeOf(request: Opened): OpenedExchange | null {
  return request[opened] ?? null
}

/** What a receipt says of how its request came: nothing where it was not encrypted. */
export function transportEvents(request: IncomingMessage, clientNonce: string | null): readonly TransportEvent[] {
  const exchange = exchangeOf(request)
  if (exchange === null) return []
  return [{ type: 'veritee.transport', enc: exchange.enc, response_nonce: exchange.responseNonce, client_nonce: clientNonce }]
}

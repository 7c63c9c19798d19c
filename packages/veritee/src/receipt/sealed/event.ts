import { Shape } from '../../bytes/shape.ts'

/** At a controller that passed an encrypted body on and could not read it: what ties its receipt to the worker's (spec/ehbp-binding.md). */
export type OpaqueEvent = {
  readonly type: 'veritee.opaque'
  readonly extension: 'veritee.ehbp.v1'
  readonly session_id: string
  /** The encapsulated key of the request, 32 bytes. */
  readonly enc: string
}

/** At a service that opened an encrypted body: which exchange it was. */
export type TransportEvent = {
  readonly type: 'veritee.transport'
  readonly enc: string
  /** 32 bytes, drawn for the answer. */
  readonly response_nonce: string
  /** As in `veritee.request`. */
  readonly client_nonce: string | null
}

const shape = new Shape('receipt_malformed')

/** Throws `receipt_malformed`. */
export function parseOpaqueEvent(value: unknown, at: string): OpaqueEvent {
  const o = shape.object(value, at, ['type', 'extension', 'session_id', 'enc'])
  return {
    type: 'veritee.opaque',
    extension: shape.oneOf(o.extension, `${at}.extension`, ['veritee.ehbp.v1']),
    session_id: shape.hex(o.session_id, `${at}.session_id`, 32),
    enc: shape.hex(o.enc, `${at}.enc`, 32),
  }
}

/** Throws `receipt_malformed`. */
export function parseTransportEvent(value: unknown, at: string): TransportEvent {
  const o = shape.object(value, at, ['type', 'enc', 'response_nonce', 'client_nonce'])
  return {
    type: 'veritee.transport',
    enc: shape.hex(o.enc, `${at}.enc`, 32),
    response_nonce: shape.hex(o.response_nonce, `${at}.response_nonce`, 32),
    client_nonce: o.client_nonce === null ? null : shape.hex(o.client_nonce, `${at}.client_nonce`, 32),
  }
}

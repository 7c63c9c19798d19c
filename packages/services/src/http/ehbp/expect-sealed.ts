import type { IncomingMessage, ServerResponse } from 'node:http'
import { ehbpHeaders } from 'veritee/ehbp'
import { exchangeOf } from '../../enclave/runtime/ehbp/exchange.ts'
import type { EhbpRecipient } from '../../enclave/runtime/ehbp/recipient.ts'
import { checkExchange, openBody } from './open-body.ts'

/** Until the body is opened: afterwards nothing leads from the request to its response (see `boundHeldBytes`). */
const opener = Symbol('opener')

type Sealed = IncomingMessage & { [opener]?: (() => Promise<Uint8Array>) | undefined }

/** True for a request that says that its body is encrypted. */
export function isSealed({ headers }: IncomingMessage): boolean {
  return headers[ehbpHeaders.encapsulatedKey] !== undefined
}

/** The body of this request will be opened when it is read, and not before: who may send it is asked first. */
export function expectSealed(request: Sealed, response: ServerResponse, recipient: EhbpRecipient): void {
  // By a name: see `sealResponse`.
  const open = async (): Promise<Uint8Array> => {
    const { exchange, body } = await openBody(request, response, recipient, 'as-said')
    checkExchange(request, exchange)
    return body
  }
  request[opener] = open
}

/** The body of an encrypted request was opened: whoever reads it gets this one. */
export function expectOpened(request: Sealed, body: Uint8Array): void {
  const open = (): Promise<Uint8Array> => Promise.resolve(body)
  request[opener] = open
}

/**
 * The opened body of an encrypted request; null for another. It is given once, as a body can be read once: an answer may take long, and nothing keeps the content until it is over. Throws what {@link openBody} and
 * `checkExchange` throw.
 */
export function sealedBody(request: Sealed): Promise<Uint8Array> | null {
  const open = request[opener]
  if (open === undefined) {
    if (exchangeOf(request) !== null) return Promise.reject(new TypeError('sealedBody: the body of this request was read'))
    return null
  }
  request[opener] = undefined
  return open()
}

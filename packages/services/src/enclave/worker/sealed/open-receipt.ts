import type { IncomingMessage } from 'node:http'
import { credentialOf } from '../../../http/body.ts'
import { nonceHeader } from '../../../http/chat-request.ts'
import { sessionHeader } from '../../../http/ehbp/open-body.ts'
import { exchangeOf } from '../../runtime/ehbp/exchange.ts'
import type { SealedStatements } from '../../runtime/ehbp/statements.ts'
import type { Identity } from '../../runtime/identity.ts'
import type { Ledger, PendingReceipt } from '../../runtime/ledger.ts'

export interface ReceiptDeps {
  readonly ledger: Ledger
  readonly identity: Identity
  readonly statements: SealedStatements
}

/** Opens the receipt of a request: for the credential that came with it, or, where its body was encrypted, for that which only the requester has. */
export function openReceipt({ ledger, identity, statements }: ReceiptDeps, incoming: IncomingMessage): PendingReceipt {
  const exchange = exchangeOf(incoming)
  if (exchange === null) return ledger.open(credentialOf(incoming))
  return statements.open(ledger, identity, exchange, { clientNonce: nonceHeader(incoming), sessionId: sessionHeader(incoming) })
}

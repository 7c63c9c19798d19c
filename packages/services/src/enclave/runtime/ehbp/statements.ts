import { createHash } from 'node:crypto'
import { toHex, utf8 } from 'veritee/bytes'
import { type Outcome, type SealedStatement, statementText } from 'veritee/receipt'
import type { Identity } from '../identity.ts'
import type { Ledger, PendingReceipt, ReceiptFacts } from '../ledger.ts'
import type { OpenedExchange } from './exchange.ts'

/** A controller asks right after the answer; who asks later than this many others is too late. */
const maxKept = 4096
const waitMs = 10_000

/** Of the last encrypted exchanges, what the controller that passed them on is told (spec/ehbp-binding.md): signed, and nothing of the content. */
export class SealedStatements {
  readonly #kept = new Map<string, Promise<string | null>>()

  /**
   * Opens the receipt of an encrypted exchange: kept under the requester's own credential, and stated to the controller once it is signed.
   * `clear` is what came in clear, which a controller can compare; it need not be what was sealed.
   */
  open(ledger: Ledger, identity: Identity, exchange: OpenedExchange, clear: ClearNames): PendingReceipt {
    const { wire } = exchange
    if (wire === null) throw new TypeError('SealedStatements: nobody passed this exchange on')
    const receipt = ledger.open(exchange.receiptCredential())
    const { promise, resolve } = Promise.withResolvers<string | null>()
    this.#keep(receipt.id, promise)
    return {
      id: receipt.id,
      finish: async (facts) => {
        const text = await receipt.finish(facts).catch((error: unknown) => {
          resolve(null)
          throw error
        })
        // The last bytes of the answer go out after this.
        const statement = wire.responseHash.then((responseHash) =>
          stated(identity, exchange, { receiptId: receipt.id, clear, text, facts, ...wire, responseHash }),
        )
        // Also where it cannot be signed: nobody waits here who could be told.
        resolve(statement.catch(() => null))
        return text
      },
      abandon: () => {
        receipt.abandon()
        resolve(null)
      },
    }
  }

  /** The statement about a receipt of this worker, or null. Waits a little for an answer that is just ending. */
  async find(receiptId: string): Promise<string | null> {
    const kept = this.#kept.get(receiptId)
    if (kept === undefined) return null
    const { promise: late, resolve } = Promise.withResolvers<null>()
    const timer = setTimeout(() => resolve(null), waitMs)
    const found = await Promise.race([kept, late])
    clearTimeout(timer)
    return found
  }

  #keep(receiptId: string, statement: Promise<string | null>): void {
    this.#kept.set(receiptId, statement)
    const [oldest] = this.#kept.keys()
    if (this.#kept.size > maxKept && oldest !== undefined) this.#kept.delete(oldest)
  }
}

export interface ClearNames {
  readonly clientNonce: string | null
  readonly sessionId: string | null
}

interface Signed {
  readonly receiptId: string
  readonly clear: ClearNames
  /** Of the receipt, in its canonical form. */
  readonly text: Buffer
  readonly facts: ReceiptFacts
  readonly requestHash: string
  readonly responseHash: string
}

function stated(identity: Identity, exchange: OpenedExchange, { receiptId, clear, text, facts, requestHash, responseHash }: Signed): string {
  const statement: SealedStatement = {
    api_version: 'veritee.sealed-exchange.v1',
    receipt_id: receiptId,
    receipt_digest: `sha256:${createHash('sha256').update(text).digest('hex')}`,
    workload_keyset_digest: identity.keysetDigest,
    key_id: identity.receiptKeyId,
    enc: exchange.enc,
    client_nonce: clear.clientNonce,
    session_id: clear.sessionId,
    request_hash: requestHash,
    response_hash: responseHash,
    ...countsOf(facts),
  }
  return JSON.stringify({ ...statement, signature: toHex(identity.signReceipt(utf8(statementText(statement)))) })
}

function countsOf({ events }: ReceiptFacts): { prompt_tokens: number | null; completion_tokens: number | null; outcome: Outcome } {
  for (const event of events) {
    if (event.type === 'veritee.inference' || event.type === 'veritee.external_engine')
      return { prompt_tokens: event.prompt_tokens, completion_tokens: event.completion_tokens, outcome: event.outcome }
  }
  return { prompt_tokens: null, completion_tokens: null, outcome: 'refused' }
}

import { auditView, type ChainHead, signLogStatement, type ViewedReceipt } from 'veritee/log'
import type { ReceiptEvent } from 'veritee/receipt'
import type { Identity } from '../identity.ts'

/** Where what an enclave promises to log goes (rule S21). */
export interface LogLink {
  /** Name of the log. */
  readonly origin: string
  /** How long after a receipt its audit view stands in the log at the latest. */
  readonly promiseSeconds: number
  /** Takes signed statements of this keyset; resolves when they are kept until the log has them. Throws where they cannot be kept: what they are of is then not given out. */
  keep(identity: Pick<Identity, 'keyset' | 'keysetDigest'>, statements: readonly string[]): Promise<void>
}

/** A receipt of which a view is to be logged. */
export interface ReceiptToLog {
  readonly viewed: ViewedReceipt
  /** `X-Veritee-Receipt-Key`; null where this enclave has none for it. */
  readonly receiptKey: Uint8Array | null
}

/** The promise as an event, at a time in Unix seconds; none without a log. */
export function promiseEvents(link: LogLink | undefined, at: number): ReceiptEvent[] {
  return link === undefined ? [] : [{ type: 'veritee.log', origin: link.origin, promised_by: at + link.promiseSeconds }]
}

/** Has the views of receipts kept for the log, in their order. */
export async function keepViews(link: LogLink, identity: Identity, receipts: readonly ReceiptToLog[]): Promise<void> {
  const statements: string[] = []
  for (const { viewed, receiptKey } of receipts)
    statements.push(await signLogStatement(await auditView(viewed, receiptKey), (m) => identity.signReceipt(m)))
  await link.keep(identity, statements)
}

/** Has it kept how many receipts there are under the keyset, and which was the last. */
export async function keepHead(
  link: LogLink,
  identity: Identity,
  chain: { readonly at: number; readonly receipts: number; readonly last: string | null },
): Promise<void> {
  const head: ChainHead = {
    version: 'veritee.chain-head.v1',
    log: { origin: link.origin, promised_by: chain.at + link.promiseSeconds },
    workload_keyset_digest: identity.keysetDigest,
    key_id: identity.receiptKeyId,
    ...chain,
  }
  await link.keep(identity, [await signLogStatement(head, (message) => identity.signReceipt(message))])
}

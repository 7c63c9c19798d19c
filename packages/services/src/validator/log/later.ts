import { VeriteeError } from 'veritee/errors'
import { type AuditView, parseLogStatement, type SignedLogStatement, verifyLogStatement } from 'veritee/log'
import { keysetDigest, parseReport, ReceiptKeys } from 'veritee/receipt'

/** Statements behind the entries of a bundle of 256, a line each, empty for those without; null where the log gives none. Nothing of it is believed. */
export type ReadViews = (bundle: number) => Promise<readonly string[] | null>

/** As many as a fraud proof has leaves of: a million views are not read for one receipt. */
const maxBundles = 1024

/** A view that came after another one of its keyset. */
export interface LaterView {
  readonly text: string
  readonly view: AuditView
}

/**
 * The audit view of a later receipt of the keyset that `report` has, signed by it. The newest bundles first: a keyset that goes on serving is found at once. Null where there is none among the last 262,144 of
 * `size` entries, and where the log gives no views. That the view stands in the log is for the caller to see. Throws what `views` throws, `report_malformed`.
 */
export async function laterView(views: ReadViews, report: string, place: number, size: number): Promise<LaterView | null> {
  const { keyset } = parseReport(report)
  const digest = await keysetDigest(keyset)
  const keys = new ReceiptKeys(keyset)
  const newest = Math.ceil(size / 256) - 1
  for (let bundle = newest; bundle >= Math.max(0, newest - maxBundles + 1); bundle--)
    for (const text of (await views(bundle)) ?? []) {
      // A text that does not name the keyset is none of its statements.
      const signed = text.includes(digest) ? await genuine(text, keys, digest) : null
      if (signed?.statement.version === 'veritee.audit-view.v1' && signed.statement.sequence > place) return { text, view: signed.statement }
    }
  return null
}

async function genuine(text: string, keys: ReceiptKeys, digest: string): Promise<SignedLogStatement | null> {
  try {
    return await verifyLogStatement(parseLogStatement(text), keys, digest)
  } catch (error) {
    if (error instanceof VeriteeError) return null
    throw error
  }
}

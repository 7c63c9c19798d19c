import { VeriteeError } from 'veritee/errors'
import { type Keyset, keysetDigest, type Receipt, verifyReceipt } from 'veritee/receipt'
import { Ended, type ReplayCheck } from './report.ts'

/** Whose signature a receipt should bear: of a worker's report, as parsed. */
export interface Signer {
  readonly keyset: Keyset
  readonly keysetDigest: string
}

const id = 'replay.signature'
const uncompared = { requestHash: null, responseHash: null, clientNonce: null }

/**
 * That the receipt names the keyset of the report, by the digest computed here, and is signed by a key of it. Whether a quote binds that keyset is not
 * checked: `veritee receipt verify` does that. Without a report nothing is, and the check says so. Throws {@link Ended}.
 */
export async function checkSignature(receipt: Receipt, signer: Signer | null, checks: ReplayCheck[]): Promise<void> {
  if (signer === null) {
    checks.push({ id, status: 'waived', detail: "signature: not checked; anybody may have written this receipt. Pass the worker's report" })
    return
  }
  const digest = await keysetDigest(signer.keyset)
  if (digest !== signer.keysetDigest || digest !== receipt.keysetDigest)
    throw new Ended('keyset_differs', id, `expected ${digest}, found ${signer.keysetDigest} in the report and ${receipt.keysetDigest} in the receipt`)
  try {
    await verifyReceipt(receipt, signer.keyset, digest, uncompared)
  } catch (error) {
    if (error instanceof VeriteeError) throw new Ended('signature_invalid', id, `signature: invalid, ${error.code}`)
    throw error
  }
  checks.push({ id, status: 'pass', detail: `signature: valid, by keyset ${digest}; whether a quote binds it: veritee receipt verify` })
}

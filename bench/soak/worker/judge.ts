import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { leavesOf, toHex } from 'veritee/bytes'
import { eventOf, type Keyset, parseReceipt, type Receipt, receiptDigest, verifyReceipt } from 'veritee/receipt'
import { BoxSeal } from '../../../packages/services/src/enclave/runtime/receipts/box.ts'
import { decodeRecord, type ReceiptRecord } from '../../../packages/services/src/enclave/runtime/receipts/record.ts'
import { openFileSealingKey } from '../../../packages/services/src/enclave/runtime/sealing-key.ts'
import type { Sent } from './requests.ts'

/** Every receipt in the state of a worker that is not running, in the order of their commits. Throws where a row does not open. */
export async function readReceipts(directory: string): Promise<readonly ReceiptRecord[]> {
  const seal = new BoxSeal(await openFileSealingKey(join(directory, 'sealing.key')))
  const database = new DatabaseSync(join(directory, 'receipts.db'), { readOnly: true })
  try {
    const records: ReceiptRecord[] = []
    for (const { key, box } of database.prepare('SELECT key, box FROM receipts ORDER BY number').iterate()) {
      const content = box instanceof Uint8Array ? seal.open('receipts', String(key), box) : null
      if (content === null) throw new Error(`row ${String(key)} does not open`)
      records.push(decodeRecord(content))
    }
    return records
  } finally {
    database.close()
  }
}

export interface Judgement {
  readonly receipts: number
  readonly outcomes: Readonly<Record<string, number>>
  /** What is not as it must be, one line each; the first few. */
  readonly findings: readonly string[]
}

/**
 * Holds the receipts against what was sent. For every keyset: numbers 0, 1, 2 ... in the order of commits, each naming the digest of the one before, each
 * signature genuine. For every request: one receipt where an answer began, none where it was refused, and never two; the outcome, the hashes and the events
 * are what the sender saw.
 */
export async function judge(
  records: readonly ReceiptRecord[],
  sent: readonly Sent[],
  keysets: ReadonlyMap<string, Keyset>,
  killed: boolean,
): Promise<Judgement> {
  const findings: string[] = []
  const find = (text: string): void => {
    if (findings.length < 20) findings.push(text)
  }
  const outcomes: Record<string, number> = {}
  const byNonce = new Map<string, { readonly record: ReceiptRecord; readonly receipt: Receipt }>()
  const chains = new Map<string, { next: number; previous: string | null }>()
  for (const record of records) {
    const receipt = parseReceipt(record.text)
    const chain = chains.get(record.keysetDigest) ?? { next: 0, previous: null }
    const link = eventOf(receipt, 'veritee.chain')
    if (link?.sequence !== chain.next || link.previous !== chain.previous)
      find(`keyset ${record.keysetDigest}: expected number ${chain.next} after ${chain.previous}, found ${link?.sequence} after ${link?.previous}`)
    chains.set(record.keysetDigest, { next: chain.next + 1, previous: await receiptDigest(receipt) })
    const keyset = keysets.get(record.keysetDigest)
    const unasked = { requestHash: null, responseHash: null, clientNonce: null }
    if (keyset === undefined) find(`receipt ${record.id} is of an unknown keyset`)
    else await verifyReceipt(receipt, keyset, record.keysetDigest, unasked).catch((error: Error) => find(`${record.id}: ${error.message}`))
    const nonce = eventOf(receipt, 'veritee.request')?.client_nonce ?? ''
    if (byNonce.has(nonce)) find(`two receipts for the request with nonce ${nonce}`)
    byNonce.set(nonce, { record, receipt })
    const outcome = eventOf(receipt, 'veritee.inference')?.outcome ?? 'none'
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
  }
  const known = new Set(sent.map(({ nonce }) => nonce))
  for (const nonce of byNonce.keys()) if (!known.has(nonce)) find(`a receipt for a request that nobody sent: ${nonce}`)
  for (const request of sent) {
    const found = byNonce.get(request.nonce)
    const wrong = found === undefined ? missing(request, killed) : mismatch(request, found.record, found.receipt, killed)
    if (wrong !== null) find(`${request.id ?? request.nonce} (${request.end}${request.detail === '' ? '' : `, ${request.detail}`}): ${wrong}`)
  }
  return { receipts: records.length, outcomes, findings }
}

function missing({ end, id }: Sent, killed: boolean): string | null {
  if (end === 'refused' || (end !== 'whole' && (id === null || killed))) return null
  return 'an answer began, and there is no receipt'
}

function mismatch(request: Sent, record: ReceiptRecord, receipt: Receipt, killed: boolean): string | null {
  const outcome = eventOf(receipt, 'veritee.inference')?.outcome
  if (request.id !== null && request.id !== record.id) return `its receipt is ${record.id}`
  if (request.end === 'refused') return 'it was refused and has a receipt'
  if (request.end === 'broken' && !killed) return 'it broke off although nobody killed the worker'
  if (eventOf(receipt, 'request.received')?.body_hash !== request.requestHash) return 'the receipt is over another request'
  const leaves = leavesOf(record.leaves ?? new Uint8Array(0)).map(toHex)
  if (request.events.some((event, i) => event !== leaves[i])) return 'the events received are no prefix of the events signed'
  if (request.end === 'left') return ['aborted', 'complete', 'length'].includes(outcome ?? '') ? null : `outcome ${outcome} after the requester left`
  if (request.end !== 'whole') return null
  if (eventOf(receipt, 'response.returned')?.body_hash !== request.responseHash) return 'the receipt is over another response'
  if (request.streamed && request.events.length !== leaves.length) return `${leaves.length} events signed, ${request.events.length} received`
  const expected = request.finish === 'stop' ? 'complete' : request.finish
  return outcome === expected ? null : `outcome ${outcome}, finish reason ${request.finish}`
}

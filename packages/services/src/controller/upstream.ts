import { VeriteeError } from 'veritee/errors'
import {
  checkReceiptKey,
  eventOf,
  type Keyset,
  maxReceiptBytes,
  parsePrefixProof,
  type StreamTree,
  type UpstreamReceiptEvent,
  verifyPrefix,
  verifyReceiptCore,
  type WeightFile,
} from 'veritee/receipt'
import type { UpstreamReceipt } from '../enclave/runtime/ledger.ts'
import { HttpError } from '../http/errors.ts'
import type { OfferedReceipt } from '../http/receipt-trailer.ts'
import type { AdmittedWorker } from './registry.ts'
import { bodyHash } from './relay.ts'
import type { Usage } from './stages/access.ts'
import { callWorker, readWhole } from './worker-answer.ts'
import { ReceiptReader } from './worker-receipts/reader.ts'
import type { WorkerReceipt } from './worker-receipts/worker-receipt.ts'

/** What this controller sent to and received from a worker, to hold the worker's receipt against. */
export interface Forwarded {
  readonly requestHash: string
  readonly clientNonce: string
  readonly responseHash: string
  readonly complete: boolean
  /** The worker's events as received; null for a plain body. */
  readonly stream: StreamTree | null
  /** `X-Veritee-Receipt-Key` as this controller passes it on, 32 bytes; null where it passes none on. */
  readonly receiptKey: Uint8Array | null
  /** What came with the answer, see {@link receiptOfTrailers}; null or absent where nothing did. */
  readonly offered?: OfferedReceipt | null
}

export interface UpstreamCheck {
  readonly event: UpstreamReceiptEvent
  readonly receipt: UpstreamReceipt | null
  /** Token counts of a receipt that matches. */
  readonly usage: Usage | null
}

/** The requester waits for this: it has an end, however slowly the worker speaks. */
const fetchMs = 15_000

/** A worker that has just put new keys in force shows them before it is verified under them, which it asks for at once. */
const renewalMs = 2_000

/** A document of at most 256 KiB over the pinned connection. Throws {@link HttpError} 502, and what the connection throws. */
export async function fetchFromWorker(worker: AdmittedWorker, path: string, timeoutMs = fetchMs): Promise<string> {
  const patience = performance.now() + Math.min(renewalMs, timeoutMs)
  for (;;) {
    try {
      return await getOnce(worker, path, timeoutMs)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'channel_mismatch') || performance.now() > patience) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

async function getOnce(worker: AdmittedWorker, path: string, timeoutMs: number): Promise<string> {
  const answer = await callWorker(worker.pool, { method: 'GET', path, headers: {}, body: null }, AbortSignal.timeout(timeoutMs))
  const { bytes } = await readWhole(answer, maxReceiptBytes)
  if (answer.statusCode !== 200) throw new HttpError(502, 'server_error', `the worker answered ${answer.statusCode}`)
  return bytes.toString('utf8')
}

/** Apart, so that what is kept of an answer is this and not all that its check had at hand. */
function proofOf(worker: AdmittedWorker, path: string): UpstreamReceipt['prefixProof'] {
  return (prefix) => fetchFromWorker(worker, `${path}?prefix=${prefix}`)
}

function sameFiles(bound: readonly WeightFile[], told: readonly WeightFile[]): boolean {
  if (bound.length !== told.length) return false
  for (let i = 0; i < bound.length; i++) if (bound[i]?.sha256 !== told[i]?.sha256) return false
  return true
}

/** Of what did not match, for everybody but the requester, whose receipt says it all: digests of what he asked and was answered tell it to whoever guesses (rule S6). */
export function told({ result, reason }: UpstreamReceiptEvent): string {
  return (reason ?? result).replace(/(?:sha256:)?[0-9a-f]{64}/g, '(a digest)')
}

/** By keyset, of sessions in use. */
const readers = new WeakMap<Keyset, ReceiptReader>()

function readerOf(keyset: Keyset): ReceiptReader {
  let reader = readers.get(keyset)
  if (reader === undefined) {
    reader = new ReceiptReader(keyset)
    readers.set(keyset, reader)
  }
  return reader
}

function failed(result: 'absent' | 'mismatch', reason: string): UpstreamCheck {
  const event = { type: 'veritee.upstream_receipt', digest: null, result, reason: reason.slice(0, 500).toWellFormed() } as const
  return { event, receipt: null, usage: null }
}

/** The rest of the check, of a receipt that is the worker's own and of this exchange. Apart: an asynchronous function sets aside a place for each thing that it names, for every request. */
function compared(worker: AdmittedWorker, path: string, receipt: WorkerReceipt, text: string, offered: OfferedReceipt | null): UpstreamCheck {
  const bytes = Buffer.from(text)
  const kept = { text: bytes, events: eventOf(receipt, 'veritee.stream')?.events ?? null, prefixProof: proofOf(worker, path) }
  const model = eventOf(receipt, 'veritee.model')
  const bound = worker.service.report.descriptor.models.find(({ name }) => name === model?.name)
  if (bound === undefined || model === undefined || !sameFiles(bound.files, model.files))
    // What the worker signed convicts it (spec/fraud-proof.md), so whoever asked gets it.
    return { ...failed('mismatch', "the worker's receipt names other weights than its evidence"), receipt: kept }
  // Nearly all come in the form that is cited.
  const digest = bodyHash(receipt.canonical === text ? bytes : receipt.canonical)
  if (offered !== null && 'digest' in offered && offered.digest !== digest)
    return failed('mismatch', "the worker's receipt is not the one that it announced with its answer")
  return {
    event: { type: 'veritee.upstream_receipt', digest, result: 'match', reason: null },
    receipt: kept,
    usage: receipt.usage,
  }
}

/**
 * Verifies the worker's receipt before this controller signs anything (rule S10). It came with the answer, or is fetched over the pinned connection:
 * signature under the session's keyset, the request forwarded, the bytes (or events) received, the nonce, the receipt's key, and the weights the quote binds.
 * Never throws: `absent` (nothing came, which the wire can bring about too) and `mismatch` (what came over the pinned channel is wrong) are results.
 */
export async function checkUpstream(
  worker: AdmittedWorker,
  receiptId: string | null,
  forwarded: Forwarded,
  timeoutMs: number = fetchMs,
): Promise<UpstreamCheck> {
  if (receiptId === null || !/^[\w-]{1,128}$/.test(receiptId)) return failed('absent', 'the worker announced no receipt')
  const path = `/v1/aci/receipts/${receiptId}`
  const offered = forwarded.offered ?? null
  let text: string
  try {
    text = offered !== null && 'text' in offered ? offered.text : await fetchFromWorker(worker, path, timeoutMs)
  } catch (error) {
    return failed('absent', `the worker's receipt could not be fetched: ${error instanceof Error ? error.message : 'unknown failure'}`)
  }
  try {
    const { report } = worker.service
    const { requestHash, clientNonce, responseHash, complete, stream, receiptKey } = forwarded
    const reader = readerOf(report.keyset)
    const { receipt, strict } = reader.read(text)
    const expected = { requestHash, responseHash: complete ? responseHash : null, clientNonce }
    // Under Node both are done when they return: awaiting what is there would cost a turn for each.
    const verified = verifyReceiptCore(receipt, reader.keys, report.keysetDigest, expected)
    if (verified !== undefined) await verified
    if (receipt.receiptId !== receiptId) return failed('mismatch', "the worker's receipt has another id than it announced")
    const keyed = checkReceiptKey(receipt, receiptKey)
    if (keyed !== undefined) await keyed
    if (stream !== null && stream.events > 0) {
      const signed = eventOf(receipt, 'veritee.stream')
      if (signed === undefined) return failed('mismatch', "the worker's receipt does not commit to the stream it sent")
      const proof = complete
        ? { prefix: signed.events, consistency: [] }
        : parsePrefixProof(await fetchFromWorker(worker, `${path}?prefix=${stream.events}`, timeoutMs))
      await verifyPrefix(stream, signed, proof)
    }
    const check = compared(worker, path, receipt, text, offered)
    if (check.event.result === 'match' && strict !== null) reader.learn(strict)
    return check
  } catch (error) {
    if (error instanceof VeriteeError && error.code !== 'channel_mismatch') return failed('mismatch', `${error.code}: ${error.message}`)
    return failed('absent', `the worker's prefix proof could not be fetched: ${error instanceof Error ? error.message : 'unknown failure'}`)
  }
}

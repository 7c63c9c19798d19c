import { sha256Digest, toHex, utf8 } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import { fail, VeriteeError } from 'veritee/errors'
import { eventOf, parseReceipt } from 'veritee/receipt'
import { type AuditRecord, confirmationRequestVersion, parseAuditRecord, signConfirmationRequest } from 'veritee/scoring'
import { requestBytes } from '../../http/request-bytes.ts'
import type { AuditEvidence } from '../audit/audit.ts'
import { type Clock, patiently } from '../log/patience.ts'
import { NamedReports } from '../named-reports.ts'
import type { EpochStore } from '../store/epoch-store.ts'
import { announcementHeader, announcementOf } from './lanes.ts'
import { maxAskedOfOne } from './queue.ts'

/** One confirmed mismatch is enough; a second one is for what cannot be confirmed. */
const ofOperator = 2
const timeoutMs = 30_000

export interface HandingOver extends Clock {
  readonly store: EpochStore
  readonly epoch: number
  readonly key: SigningKey
  /** Where other validators take requests. */
  readonly urls: readonly string[]
  /** Unix seconds. */
  readonly until: number
  readonly report: (line: string) => void
}

/**
 * Hands over the mismatches at level 1 that this validator's own probes of an epoch met, to every other validator. To be called when all of them have their records: before that, whoever confirms could tell a
 * worker who is asking. One that does not answer is asked again until the time is over; that is reported and stops nobody. Done again after a crash: what was kept is kept once. Throws the reason of the signal.
 */
export async function handOver({ store, epoch, key, urls, until, report, now, signal }: HandingOver): Promise<void> {
  const requests = await requestsFor(store, epoch, key)
  if (requests.length > 0) report(`epoch ${epoch}: ${requests.length} mismatches at level 1 go to ${urls.length} validators for confirmation`)
  await Promise.all(
    urls.map(async (url) => {
      for (const request of requests)
        try {
          const refusal = await patiently(
            until,
            { now, signal },
            () => post(url, request, key),
            (last) => last ?? fail('service_unavailable', 'no answer in time'),
          )
          if (refusal !== '') report(`${url}: not handed over: ${refusal}`)
        } catch (error) {
          signal.throwIfAborted()
          if (!(error instanceof VeriteeError)) throw error
          report(`${url}: not handed over: ${error.code}: ${error.message}`)
        }
    }),
  )
}

/** Empty where it was taken, why it was refused for good, or null where it may be taken later. */
async function post(url: string, request: string, key: SigningKey): Promise<string | null> {
  const body = utf8(request)
  const { status, bytes } = await requestBytes(`${url.replace(/\/$/, '')}/confirmations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', [announcementHeader]: await announcementOf(await sha256Digest(body), key) },
    body,
    timeoutMs,
    maxBytes: 1 << 16,
  })
  if (status === 202) return ''
  return status === 429 || status >= 500 ? null : `${status}: ${reasonIn(bytes)}`
}

/** The code that it was refused with. Nothing else of an answer is shown. */
function reasonIn(bytes: Uint8Array): string {
  return /"code":"([a-z_]{1,64})"/.exec(new TextDecoder().decode(bytes))?.[1] ?? 'no reason'
}

/** The requests for an epoch, signed: of each operator the first mismatches whose bytes are all there. */
export async function requestsFor(store: EpochStore, epoch: number, key: SigningKey): Promise<readonly string[]> {
  const found: string[] = []
  const asked = new Map<string, number>()
  for (const record of (await store.records(epoch)).map(parseAuditRecord)) {
    const operator = record.worker?.operator ?? ''
    const before = asked.get(operator) ?? 0
    if (!isMismatch(record) || before >= ofOperator || found.length >= maxAskedOfOne) continue
    const request = await requestFor(store, record, key)
    if (request === null) continue
    asked.set(operator, before + 1)
    found.push(request)
  }
  return found
}

function isMismatch({ kind, replay, charged }: AuditRecord): boolean {
  return (kind === 'probe' || kind === 'canary') && replay?.level === 1 && replay.outcome === 'fail' && charged === 'worker'
}

/** Bytes that are no text are kept as U+FFFD, which an answer may hold too: then the receipt says whether it does. */
async function isWhole(response: string, receipt: string): Promise<boolean> {
  if (!response.includes('\ufffd')) return true
  try {
    return eventOf(parseReceipt(receipt), 'response.returned')?.body_hash === (await sha256Digest(utf8(response)))
  } catch (error) {
    if (error instanceof VeriteeError) return false
    throw error
  }
}

/** Null where its bytes were not kept as they came, or are too many. */
async function requestFor(store: EpochStore, record: AuditRecord, key: SigningKey): Promise<string | null> {
  const { network, epoch, index, at, worker, keyset, view, replay } = record
  const kept = await store.evidence(epoch, index)
  if (kept === null || worker === null || keyset === null || replay === null || view === null || view.digest === null) return null
  const { request, response, report, workerReceipt, receiptKey } = JSON.parse(kept) as AuditEvidence
  // Whoever passed the report on may have left the operator's signature out.
  const named = (await new NamedReports(store, epoch).of(keyset)) ?? report
  if (named === null || workerReceipt === null || !(await isWhole(response, workerReceipt))) return null
  const exchange = { request, response, report: named, receipt: workerReceipt, receipt_key: receiptKey }
  const of = { network, validator: toHex(key.publicKey), epoch, index, at, worker, keyset, view: view.digest, engine: replay.engine }
  try {
    return await signConfirmationRequest({ version: confirmationRequestVersion, ...of, exchange }, key)
  } catch (error) {
    if (error instanceof VeriteeError && error.code === 'confirmation_request_malformed') return null
    throw error
  }
}

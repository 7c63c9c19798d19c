import { createVerifierCache, type Trust } from 'veritee/attestation'
import { leafHash, sha256Digest, toHex } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { auditViewOf, logEntry } from 'veritee/log'
import { type Policy, policyFor } from 'veritee/policy'
import {
  type Content,
  evaluateReport,
  eventOf,
  parseContent,
  parseReceipt,
  parseReport,
  requestLimits,
  spliceConstraints,
  verifyReceipt,
  verifyReport,
} from 'veritee/receipt'
import { epochWindow, type ScoringPolicy } from 'veritee/scoring'
import type { ExchangeRecord } from '../../replay/index.ts'

export interface ContentRules {
  readonly trust: Trust
  /** Whose evidence counts: its section for workers judges. */
  readonly policy: Policy
  readonly scoring: Pick<ScoringPolicy, 'epoch' | 'log'>
  readonly now: () => Date
}

export interface ContentLimits {
  /** Bytes of bodies, report and receipt of all that is held. */
  readonly bytes: number
  readonly contents: number
}

const usual: ContentLimits = { bytes: 1 << 27, contents: 4096 }

interface Held {
  readonly record: ExchangeRecord
  readonly bytes: number
  /** Unix seconds: when nobody can choose its leaf any more. */
  readonly until: number
}

/**
 * Contents that requesters handed over (rule S6): in memory and nowhere else, until the epoch in which its leaf may be chosen is over and audited. They are prompts and answers of others: nothing of them is written
 * down, published or put into an error. A process that ends forgets them, and then the audit view is all that is looked at.
 */
export class HeldContents {
  readonly #rules: ContentRules
  readonly #limits: ContentLimits
  readonly #cache = createVerifierCache()
  readonly #held = new Map<string, Held>()
  #bytes = 0

  constructor(rules: ContentRules, limits: ContentLimits = usual) {
    this.#rules = rules
    this.#limits = limits
  }

  get size(): number {
    return this.#held.size
  }

  /**
   * Takes a document (spec/content.md), if a worker's signed receipt is over exactly these bytes and promises the log of the scoring policy. In this order, the cheap first: shape; room; the receipt's promise; the
   * bodies' digests; the key that the receipt commits to; the report, its policy; the signature. What is here already is taken as it is.
   *
   * Throws what the readers of content, receipt and report throw, `content_full` where there is no room, `log_origin_mismatch`, `log_promise_missing`, `content_late`, `receipt_request_mismatch`,
   * `receipt_response_mismatch`, `receipt_key_mismatch`, those of `verifyReport` and `verifyReceipt`, and `policy_*`.
   */
  async offer(text: string): Promise<void> {
    this.#forget()
    const content = parseContent(text)
    const receipt = parseReceipt(content.receipt)
    const until = this.#untilOf(eventOf(receipt, 'veritee.log'))
    const bytes = content.request.length + content.response.length + content.report.length + content.receipt.length
    if (this.#held.size >= this.#limits.contents || this.#bytes + bytes > this.#limits.bytes)
      throw fail('content_full', 'as many contents are held as there is room for')
    const leaf = toHex(await leafHash(await logEntry(await auditViewOf(receipt, content.receiptKey))))
    if (this.#held.has(leaf)) return
    const record = await this.#verified(content)
    // Others came meanwhile.
    if (this.#held.has(leaf)) return
    if (this.#held.size >= this.#limits.contents || this.#bytes + bytes > this.#limits.bytes)
      throw fail('content_full', 'as many contents are held as there is room for')
    this.#held.set(leaf, { record, bytes, until })
    this.#bytes += bytes
  }

  /** What was handed over for a leaf (RFC 6962 hash, hex); null where nobody did. */
  of(leaf: string): ExchangeRecord | null {
    this.#forget()
    return this.#held.get(leaf)?.record ?? null
  }

  /** Audits of an epoch's leaves are over when the next one is; a leaf may come as late as its promise. */
  #untilOf(promise: { readonly origin: string; readonly promised_by: number } | undefined): number {
    const { scoring, now } = this.#rules
    if (promise === undefined) throw fail('log_promise_missing', 'expected a receipt that promises a log')
    if (scoring.log === 'any' || promise.origin !== scoring.log.origin)
      throw fail('log_origin_mismatch', 'expected a receipt that promises the log of this network')
    const { genesis, length } = scoring.epoch
    const epoch = Math.max(0, Math.floor((promise.promised_by - genesis) / length))
    const until = epochWindow(scoring, epoch).closes + length
    const at = now().getTime() / 1000
    // A promise may be made for as late as the worker likes; nothing is held for longer than three epochs.
    if (at >= until || promise.promised_by - at > 2 * length) throw fail('content_late', 'nobody will choose this receipt any more, or not soon')
    return until
  }

  async #verified({ report: text, receipt: receiptText, receiptKey, request, response }: Content): Promise<ExchangeRecord> {
    const { trust, policy, now } = this.#rules
    const receipt = parseReceipt(receiptText)
    const { forwarded } = spliceConstraints(request, requestLimits)
    const digest = eventOf(receipt, 'request.received')?.body_hash
    const digests = await Promise.all([request, forwarded].map((bytes) => sha256Digest(bytes)))
    if (digest === undefined || !digests.includes(digest)) throw fail('receipt_request_mismatch', 'the receipt is over another request')
    if (eventOf(receipt, 'response.returned')?.body_hash !== (await sha256Digest(response)))
      throw fail('receipt_response_mismatch', 'the receipt is over another answer')
    const report = await verifyReport(parseReport(text), 'stated', trust, now(), { cache: this.#cache })
    const section = { ...policyFor(policy, 'worker'), maxAttestationAge: 'any' as const }
    const { error } = evaluateReport(report, section, { role: 'worker', at: now(), attestedAt: null, channel: 'stored' })
    // Which weights are listed is what is to be judged.
    if (error !== null && error.code !== 'policy_models' && error.code !== 'policy_operator_unsigned') throw fail(error.code, error.message)
    await verifyReceipt(receipt, report.keyset, report.keysetDigest, { requestHash: null, responseHash: null, clientNonce: null })
    const signer = { keyset: report.keyset, keysetDigest: report.keysetDigest }
    return { receipt: receiptText, request, response, receiptKey, signer }
  }

  #forget(): void {
    const at = this.#rules.now().getTime() / 1000
    for (const [leaf, { until, bytes }] of this.#held)
      if (until <= at) {
        this.#held.delete(leaf)
        this.#bytes -= bytes
      }
  }
}

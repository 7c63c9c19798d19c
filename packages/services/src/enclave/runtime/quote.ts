import { parseQuote } from 'veritee/attestation'
import { equal } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import { statementReportData } from 'veritee/receipt'
import type { AttestationDevice } from './attestation-device.ts'

/**
 * Everything a quote of this enclave may be asked for. A closed union, so that no caller's bytes ever become report data (S1):
 * a quote over bytes of an attacker's choice would bind the attacker's keys to this enclave's measurement.
 */
export type QuotePurpose = {
  /** aci/1 section 3.2: these keys belong to this enclave, and, with a nonce, they do so now. */
  readonly purpose: 'aci.report_data.v1'
  /** `sha256:` and 64 lower-case hex digits. */
  readonly keysetDigest: string
  /** 64 lower-case hex digits, or null for a binding without freshness. */
  readonly nonce: string | null
}

/** Too many callers wait; the caller's answer is 429 with `Retry-After`. Its code is `quote_busy`. */
export class QuoteBusyError extends VeriteeError {
  override readonly name: string = 'QuoteBusyError'
  readonly retryAfterSeconds: number

  constructor(waiting: number, retryAfterSeconds: number) {
    super('quote_busy', `${waiting} requests wait for a quote already`)
    this.retryAfterSeconds = retryAfterSeconds
  }
}

export interface Quoter {
  /**
   * A quote for one purpose. `admission` is for the enclave's own verification of its peers and theirs of it: it may take the place that
   * other callers leave free, and goes before them.
   * Throws `QuoteBusyError`, what the device throws, `attestation_device_failed` when the quote is not over what was asked,
   * and `TypeError` for anything but the closed purposes.
   */
  quote(purpose: QuotePurpose, options?: { readonly priority?: 'admission' }): Promise<Uint8Array>
}

export interface QuoterOptions {
  /** Callers that may wait besides the one being served, the place for admission included (S22). */
  readonly maxWaiting?: number
  readonly retryAfterSeconds?: number
}

/**
 * The only caller of the quote device. Writing report data and reading the quote happen under one mutex, since the device has one slot for
 * the whole process; each quote is read back and compared, so a second writer shows as an error and not as a quote over something else.
 * The quote without nonce is the same for everybody and kept for as long as the keyset lives.
 */
export function createQuoter(device: AttestationDevice, options: QuoterOptions = {}): Quoter {
  const { maxWaiting = 16, retryAfterSeconds = 2 } = options
  if (!Number.isInteger(maxWaiting) || maxWaiting < 1) throw new TypeError('createQuoter: maxWaiting is not a positive integer')
  const admission: (() => void)[] = []
  const others: (() => void)[] = []
  let busy = false
  let kept: { readonly keysetDigest: string; readonly quote: Promise<Uint8Array> } | null = null

  const enter = async (first: boolean): Promise<void> => {
    if (!busy) {
      busy = true
      return
    }
    const waiting = admission.length + others.length
    if (waiting >= (first ? maxWaiting : maxWaiting - 1)) throw new QuoteBusyError(waiting, retryAfterSeconds)
    // The one who leaves hands the device over, so `busy` stays true.
    await new Promise<void>((resolve) => (first ? admission : others).push(resolve))
  }
  const leave = (): void => {
    const next = admission.shift() ?? others.shift()
    if (next === undefined) busy = false
    else next()
  }
  const quoteOver = async (reportData: Uint8Array, first: boolean): Promise<Uint8Array> => {
    await enter(first)
    try {
      await device.writeUserReportData(reportData)
      const quote = await device.readQuote()
      if (!equal(readReportData(quote), reportData)) throw fail('attestation_device_failed', 'the quote is over other report data than was written')
      return quote
    } finally {
      leave()
    }
  }

  return {
    quote: async (purpose, { priority } = {}) => {
      const { keysetDigest, nonce } = closed(purpose)
      if (priority !== undefined && priority !== 'admission') throw new TypeError('quote: unknown priority')
      const reportData = await statementReportData(keysetDigest, nonce)
      if (nonce !== null) return quoteOver(reportData, priority === 'admission')
      if (kept?.keysetDigest !== keysetDigest) {
        const fresh = { keysetDigest, quote: quoteOver(reportData, priority === 'admission') }
        kept = fresh
        // A failure is for those who wait for it; the next caller tries again.
        fresh.quote.catch(() => {
          if (kept === fresh) kept = null
        })
      }
      // A copy, lest a caller edit what all others get.
      return (await kept.quote).slice()
    },
  }
}

function closed(purpose: QuotePurpose): QuotePurpose {
  const members = typeof purpose === 'object' && purpose !== null ? Object.keys(purpose).sort().join() : ''
  // Strings, not objects that turn into one text when checked and another when hashed; statementReportData checks their form.
  const { keysetDigest, nonce } = purpose ?? {}
  if (members !== 'keysetDigest,nonce,purpose' || purpose.purpose !== 'aci.report_data.v1' || typeof keysetDigest !== 'string')
    throw new TypeError('quote: expected one of the closed purposes, with its members and no others')
  if (nonce !== null && typeof nonce !== 'string') throw new TypeError('quote: expected a nonce of text, or null')
  return { purpose: purpose.purpose, keysetDigest, nonce }
}

function readReportData(quote: Uint8Array): Uint8Array {
  try {
    return parseQuote(quote).body.reportData
  } catch (cause) {
    throw fail('attestation_device_failed', 'expected a quote that this library can read', cause)
  }
}

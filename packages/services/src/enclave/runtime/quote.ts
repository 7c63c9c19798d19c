import { createHash, type KeyObject } from 'node:crypto'
import { parseQuote } from 'veritee/attestation'
import { equal, isZero } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import { statementReportData } from 'veritee/receipt'
import type { AttestationDevice } from './attestation-device.ts'
import { boundDescriptor, isNonce, rcarReportData, teePubkeyOf } from './kbs/runtime-data.ts'

/**
 * Everything a quote of this enclave may be asked for. A closed union, so that no caller's bytes ever become report data (S1):
 * a quote over bytes of an attacker's choice would bind the attacker's keys to this enclave's measurement.
 */
export type QuotePurpose = AciPurpose | RcarPurpose | SelfPurpose | LegacyAttestPurpose

export type AciPurpose = {
  /** aci/1 section 3.2: these keys belong to this enclave, and, with a nonce, they do so now. */
  readonly purpose: 'aci.report_data.v1'
  /** `sha256:` and 64 lower-case hex digits. */
  readonly keysetDigest: string
  /** 64 lower-case hex digits, or null for a binding without freshness. */
  readonly nonce: string | null
}

export type RcarPurpose = {
  /** KBS protocol 0.4.0: a resource encrypted to this key opens in this enclave only, and it was asked for now. */
  readonly purpose: 'kbs.rcar.v0'
  /** The broker's: 32 bytes in base64 with padding. */
  readonly nonce: string
  /** Private, on P-256. Its public half is quoted; so nobody has a key quoted that he does not hold. */
  readonly teeKey: KeyObject
  /** `sha256:` and 64 lower-case hex digits of the service descriptor, or null for a broker that does not know it. */
  readonly descriptorDigest: string | null
}

export type SelfPurpose = {
  /** For the enclave itself, to learn where it runs. Its report data is a constant that no statement has. */
  readonly purpose: 'veritee.self.v1'
}

export type LegacyAttestPurpose = {
  /** spec/legacy-attest.md: what the attestation routes of BigDL's image get. A caller's text is only ever hashed into it. */
  readonly purpose: 'veritee.legacy-attest.v1'
  readonly userdata: string
  /** `sha256:` and 64 lower-case hex digits. */
  readonly keysetDigest: string
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

/** Keysets in force at a time: the newest, and former ones that still have connections. */
const maxKept = 4

/**
 * The only caller of the quote device. Writing report data and reading the quote happen under one mutex, since the device has one slot for
 * the whole process; each quote is read back and compared, so a second writer shows as an error and not as a quote over something else.
 * The quote without nonce is the same for everybody and kept for as long as the keyset lives: one for each of those that are in force at a time.
 */
export function createQuoter(device: AttestationDevice, options: QuoterOptions = {}): Quoter {
  const { maxWaiting = 16, retryAfterSeconds = 2 } = options
  if (!Number.isInteger(maxWaiting) || maxWaiting < 1) throw new TypeError('createQuoter: maxWaiting is not a positive integer')
  const admission: (() => void)[] = []
  const others: (() => void)[] = []
  let busy = false
  const kept = new Map<string, Promise<Uint8Array>>()

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

  const keep = (keysetDigest: string, reportData: Uint8Array, first: boolean): Promise<Uint8Array> => {
    const fresh = quoteOver(reportData, first)
    kept.set(keysetDigest, fresh)
    const [oldest] = kept.keys()
    if (kept.size > maxKept && oldest !== undefined) kept.delete(oldest)
    // A failure is for those who wait for it; the next caller tries again.
    fresh.catch(() => {
      if (kept.get(keysetDigest) === fresh) kept.delete(keysetDigest)
    })
    return fresh
  }

  return {
    quote: async (purpose, { priority } = {}) => {
      const asked = closed(purpose)
      if (priority !== undefined && priority !== 'admission') throw new TypeError('quote: unknown priority')
      if (asked.purpose === 'veritee.self.v1') return quoteOver(selfReportData, priority === 'admission')
      if (asked.purpose === 'veritee.legacy-attest.v1') return quoteOver(legacyReportData(asked), priority === 'admission')
      if (asked.purpose === 'kbs.rcar.v0') return quoteOver(rcarSlot(asked), priority === 'admission')
      const { keysetDigest, nonce } = asked
      const reportData = await statementReportData(keysetDigest, nonce)
      if (nonce !== null) return quoteOver(reportData, priority === 'admission')
      // A copy, lest a caller edit what all others get.
      return (await (kept.get(keysetDigest) ?? keep(keysetDigest, reportData, priority === 'admission'))).slice()
    },
  }
}

/** Bytes 32 to 63 are not zero, so no verifier of aci/1 takes it for a statement (S1). */
const selfReportData: Uint8Array = createHash('sha512').update('veritee.self.v1').digest()

const members = {
  'veritee.self.v1': 'purpose',
  'aci.report_data.v1': 'keysetDigest,nonce,purpose',
  'veritee.legacy-attest.v1': 'keysetDigest,purpose,userdata',
  'kbs.rcar.v0': 'descriptorDigest,nonce,purpose,teeKey',
} as const

function closed(purpose: QuotePurpose): QuotePurpose {
  const found = typeof purpose === 'object' && purpose !== null ? Object.keys(purpose).sort().join() : ''
  const name = purpose?.purpose
  if (!Object.hasOwn(members, name) || members[name] !== found)
    throw new TypeError('quote: expected one of the closed purposes, with its members and no others')
  // Read once, and strings, not objects that turn into one text when checked and another when hashed; the functions that hash check their form.
  if (purpose.purpose === 'veritee.self.v1') return { purpose: 'veritee.self.v1' }
  if (purpose.purpose === 'kbs.rcar.v0') {
    const { nonce, teeKey, descriptorDigest } = purpose
    if (!isNonce(nonce)) throw new TypeError('quote: expected a nonce of 32 bytes in base64')
    if (descriptorDigest !== null && typeof descriptorDigest !== 'string') throw new TypeError('quote: expected a descriptor digest of text, or null')
    return { purpose: 'kbs.rcar.v0', nonce, teeKey, descriptorDigest }
  }
  const { keysetDigest } = purpose
  if (typeof keysetDigest !== 'string') throw new TypeError('quote: expected a keyset digest of text')
  if (purpose.purpose === 'veritee.legacy-attest.v1') {
    const { userdata } = purpose
    if (typeof userdata !== 'string') throw new TypeError('quote: expected userdata of text')
    return { purpose: 'veritee.legacy-attest.v1', userdata, keysetDigest }
  }
  const { nonce } = purpose
  if (nonce !== null && typeof nonce !== 'string') throw new TypeError('quote: expected a nonce of text, or null')
  return { purpose: 'aci.report_data.v1', keysetDigest, nonce }
}

const legacyTag = 'veritee.legacy-attest.v1'

/** Rule S1. Bytes 32 to 63 are the same for every userdata and never zero, so no such quote stands for an aci/1 statement. */
function legacyReportData({ userdata, keysetDigest }: LegacyAttestPurpose): Uint8Array {
  if (!/^sha256:[0-9a-f]{64}$/.test(keysetDigest)) throw new TypeError('quote: expected a keyset digest')
  const sha256 = (...parts: (string | Uint8Array)[]): Buffer => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()
  const head = sha256(legacyTag, new Uint8Array(1), sha256(userdata), Buffer.from(keysetDigest.slice(7), 'hex'))
  return new Uint8Array(Buffer.concat([head, sha256(legacyTag)]))
}

function rcarSlot({ nonce, teeKey, descriptorDigest }: RcarPurpose): Uint8Array {
  const slot = rcarReportData({ nonce, teePubkey: teePubkeyOf(teeKey), additionalEvidence: boundDescriptor(descriptorDigest) })
  // What verifiers of aci/1 tell the two apart by. It takes 128 zero bits of SHA-384, so this is never reached by chance.
  if (isZero(slot.subarray(32))) throw new TypeError('quote: this report data could stand for an aci/1 statement')
  return slot
}

function readReportData(quote: Uint8Array): Uint8Array {
  try {
    return parseQuote(quote).body.reportData
  } catch (cause) {
    throw fail('attestation_device_failed', 'expected a quote that this library can read', cause)
  }
}

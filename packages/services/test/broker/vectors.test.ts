import { createHash, createPrivateKey, type JsonWebKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Json, jcs, utf8 } from 'veritee/bytes'
import { type ErrorCode, fail } from 'veritee/errors'
import { describe, expect, it } from 'vitest'
import { readAuth } from '../../src/enclave/broker/evidence.ts'
import { WitnessedLog } from '../../src/enclave/broker/freshness/witnessed-log.ts'
import { problemOf } from '../../src/enclave/broker/problem.ts'
import { headEntry, headOf, type StoreHead } from '../../src/enclave/broker/store/index.ts'
import { flooredClock } from '../../src/enclave/runtime/admission/clock.ts'
import {
  boundDescriptor,
  openJwe,
  parseTeePubkey,
  rcarReportData,
  sealJwe,
  type TeePubkey,
  teePubkeyOf,
} from '../../src/enclave/runtime/kbs/index.ts'
import { SmallLog } from './small-log.ts'

interface Vectors {
  readonly tee_key: JsonWebKey
  readonly tee_pubkey: TeePubkey
  readonly nonce: string
  readonly descriptor: Json
  readonly descriptor_digest: string
  readonly report_data: readonly { readonly additional_evidence: string; readonly hashed: string; readonly report_data: string }[]
  readonly plain: string
  readonly jwe: Json
  readonly jwe_refused: readonly { readonly why: string; readonly jwe: Json }[]
  readonly auth_refused: readonly { readonly why: string; readonly body: Json; readonly code: ErrorCode }[]
  readonly pubkey_refused: readonly { readonly why: string; readonly key: Json }[]
  readonly problems: readonly { readonly step: string; readonly code: ErrorCode; readonly status: number; readonly type: string }[]
  readonly store_heads: {
    readonly store: string
    readonly key: string
    readonly entry: StoreHead & { readonly text: string }
    readonly passed_over: readonly { readonly why: string; readonly text: string }[]
    /** Entries of a log in their order, and what follows from them. */
    readonly log: readonly string[]
    readonly logged_head: StoreHead
  }
}

const read = (path: string): string => readFileSync(new URL(`../../../../spec/${path}`, import.meta.url), 'utf8')
const vectors = JSON.parse(read('vectors/key-release.json')) as Vectors
const key = createPrivateKey({ key: vectors.tee_key, format: 'jwk' })
const codeOf = (work: () => unknown): string => {
  try {
    work()
    return 'accepted'
  } catch (error) {
    return (error as { code: string }).code
  }
}

describe('spec/vectors/key-release.json', () => {
  it('report data', () => {
    expect(teePubkeyOf(key)).toEqual(vectors.tee_pubkey)
    expect(`sha256:${createHash('sha256').update(jcs(vectors.descriptor)).digest('hex')}`).toBe(vectors.descriptor_digest)
    const [none, bound] = vectors.report_data
    expect([none?.additional_evidence, bound?.additional_evidence]).toEqual([boundDescriptor(null), boundDescriptor(vectors.descriptor_digest)])
    for (const { additional_evidence: additionalEvidence, hashed, report_data } of vectors.report_data) {
      expect(`${createHash('sha384').update(hashed).digest('hex')}${'00'.repeat(16)}`).toBe(report_data)
      const found = rcarReportData({ nonce: vectors.nonce, teePubkey: vectors.tee_pubkey, additionalEvidence })
      expect(Buffer.from(found).toString('hex')).toBe(report_data)
    }
  })

  it('the JWE opens, and one made anew for the same key does', () => {
    expect(Buffer.from(openJwe(vectors.jwe, key)).toString('hex')).toBe(vectors.plain)
    expect(Buffer.from(openJwe(sealJwe(parseTeePubkey(vectors.tee_pubkey), Buffer.from(vectors.plain, 'hex')), key)).toString('hex')).toBe(
      vectors.plain,
    )
  })

  it.each(vectors.jwe_refused)('a JWE with $why is refused', ({ jwe }) => {
    expect(codeOf(() => openJwe(jwe, key))).toBe('kbs_jwe_invalid')
  })

  it.each(vectors.auth_refused)('auth with $why: $code', ({ body, code }) => {
    expect(codeOf(() => readAuth(JSON.stringify(body)))).toBe(code)
  })

  it.each(vectors.pubkey_refused)('a tee-pubkey that is $why is refused', ({ key: pubkey }) => {
    expect(codeOf(() => parseTeePubkey(pubkey))).toBe('kbs_request_malformed')
  })

  it('store heads: the entry, what is none, and what follows from a log', async () => {
    const { store: id, key: hex, entry, passed_over: others, log: entries, logged_head: logged } = vectors.store_heads
    const store = { id, headKey: Buffer.from(hex, 'hex') }
    expect(new TextDecoder().decode(headEntry(store, entry))).toBe(entry.text)
    expect(headOf(utf8(entry.text), store)).toEqual({ index: entry.index, nonce: entry.nonce })
    for (const { why, text } of others) expect(headOf(utf8(text), store), why).toBe(null)
    const log = await SmallLog.make()
    const now = (): Date => new Date()
    const watch = new WitnessedLog({ trust: log.trust, read: log.read, clock: flooredClock(now), elapsedMs: () => 0, maxAgeSeconds: 3600, store })
    // One after the other, and all at once to another reader.
    for (const text of entries) {
      await log.submitAt(now)(utf8(text))
      await watch.refresh()
    }
    expect(watch.head).toEqual(logged)
    const late = new WitnessedLog({ trust: log.trust, read: log.read, clock: flooredClock(now), elapsedMs: () => 0, maxAgeSeconds: 3600, store })
    await late.refresh()
    expect(late.head).toEqual(logged)
  })

  it.each(vectors.problems)('$code at $step: $status $type', ({ step, code, status, type }) => {
    expect(problemOf(fail(code, 'not told'), step === 'resource' ? 'PolicyDeny' : 'AttestationError')).toMatchObject({ status, type, code })
  })
})

describe('spec/key-release.md', () => {
  const text = read('key-release.md')

  it('names every type of problem, and every member of a key and of the JWE that is read', () => {
    for (const word of [
      'AttestationError',
      'TokenNotFound',
      'TokenVerifierError',
      'PolicyDeny',
      'InvalidRequestPath',
      'PluginNotFound',
      'PluginInternalError',
    ])
      expect(text).toContain(`\`${word}\``)
    for (const member of [
      'protocol',
      'token_key',
      'store',
      'roots',
      'simulated_roots',
      ...Object.keys(vectors.tee_pubkey),
      ...Object.keys(vectors.jwe as object),
    ])
      expect(text, member).toContain(`\`${member}\``)
  })
})

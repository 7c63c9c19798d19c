import {
  formatCollateral,
  parseCertificate,
  parseCollateral,
  parseCrl,
  parsePem,
  parseQeIdentity,
  parseQuote,
  parseTcbInfo,
  verifyQuote,
} from 'veritee/attestation'
import { issueCertificate, issueCrl } from 'veritee/attestation/issue'
import { VeriteeError } from 'veritee/errors'
import { parsePolicy } from 'veritee/policy'
import { parseReceipt } from 'veritee/receipt'
import type { Corpus } from './corpus.ts'

/** How the time of one kind of hostile input grows with its size. */
export interface Growth {
  readonly name: string
  readonly sizes: readonly number[]
  /** Best of several runs, in milliseconds: kernels may count CPU time by the tick, which is too coarse here. */
  readonly ms: readonly number[]
  /** Of time against size over the largest sixteenfold step: 1 is linear, 2 quadratic. */
  readonly exponent: number
  readonly superlinear: boolean
}

interface Family {
  readonly name: string
  /** The longest input that is not refused for its length alone. */
  readonly limit: number
  make(size: number): Uint8Array | string | Promise<Uint8Array>
  run(input: never): unknown
}

const filled = (size: number, piece: string): string => piece.repeat(Math.ceil(size / piece.length)).slice(0, size)

/** Inputs that are cheap to make and dear to a careless parser, each in four sizes up to the limit of what is looked at. */
function families(corpus: Corpus): readonly Family[] {
  const seed = corpus.evidence.find(({ name }) => name === 'sgx-v3')
  if (seed === undefined) throw new TypeError('growth: the corpus has no quote sgx-v3')
  const { quote, collateral, root, at } = seed
  const text = (name: string, limit: number, run: (input: string) => unknown, pieces: Readonly<Record<string, (size: number) => string>>): Family[] =>
    Object.entries(pieces).map(([kind, make]) => ({ name: `${name}: ${kind}`, limit, make, run }))
  const json: Readonly<Record<string, (size: number) => string>> = {
    'white space': (size) => filled(size, ' \n'),
    'opening brackets': (size) => filled(size, '['),
    'opening braces': (size) => filled(size, '{"a":'),
    'one string': (size) => `"${filled(size - 2, 'a')}"`,
    'an unended string': (size) => `"${filled(size - 1, 'a')}`,
    escapes: (size) => `"${'\\u0041'.repeat(Math.floor((size - 2) / 6))}"`,
    backslashes: (size) => `"${filled(size - 1, '\\')}`,
    digits: (size) => filled(size, '7'),
    'digits after the point': (size) => `0.${filled(size - 2, '7')}`,
    'members, each of another name': (size) => `{${members(size - 4)}}`,
    'items of an array': (size) => `[${'0,'.repeat((size - 3) >> 1)}0]`,
  }
  const patched = (changes: object): Parameters<typeof verifyQuote>[1] => ({ ...collateral, ...changes })
  const judge = (bytes: Uint8Array, changes: object = {}): unknown => verifyQuote(parseQuote(bytes), patched(changes), { roots: [root] }, at)
  return [
    ...text('parseTcbInfo', 524_288, parseTcbInfo, json),
    ...text('parseQeIdentity', 524_288, parseQeIdentity, { 'members, each of another name': json['members, each of another name'] as never }),
    ...text('parsePolicy', 1_048_576, parsePolicy, json),
    ...text('parseReceipt', 262_144, parseReceipt, json),
    ...text('parseCollateral', 1_048_576, parseCollateral, {
      'a long chain': (size) => formatCollateral({ ...collateral, pckCrlIssuerChain: filled(Math.max(1, (size - 30_000) >> 1), '\n') }),
      'a long list': (size) => formatCollateral({ ...collateral, pckCrl: new Uint8Array(Math.max(1, (size - 30_000) >> 1)) }),
    }),
    ...text('parsePem', 65_536, parsePem, {
      'line ends': (size) => filled(size, '\n'),
      'carriage returns': (size) => filled(size, '\r\n'),
      'one block': (size) => `-----BEGIN CERTIFICATE-----\n${filled((size - 60) & ~3, 'QUFB')}\n-----END CERTIFICATE-----\n`,
      'a block of short lines': (size) => `-----BEGIN CERTIFICATE-----\n${filled(size - 60, 'QUFB\n')}\n-----END CERTIFICATE-----\n`,
      'an unended block': (size) => `-----BEGIN CERTIFICATE-----\n${filled(size - 30, '-----')}`,
      'opening markers': (size) => filled(size, '-----BEGIN CERTIFICATE-----\n'),
    }),
    { name: 'parseCertificate: a long extension', limit: 32_000, make: (size) => certificate(size - 300, 'extension'), run: parseCertificate },
    { name: 'parseCertificate: a long name', limit: 32_000, make: (size) => certificate(size - 300, 'name'), run: parseCertificate },
    { name: 'parseCertificate: nested sequences', limit: 32_000, make: (size) => new Uint8Array(size).fill(0x30), run: parseCertificate },
    { name: 'parseCrl: entries', limit: 500_000, make: (size) => list(Math.max(1, Math.floor(size / 42))), run: parseCrl },
    { name: 'parseQuote: bytes after the end', limit: 1_048_576, make: (size) => after(quote, size, 0), run: parseQuote },
    { name: 'verifyQuote: bytes after the end', limit: 1_048_576, make: (size) => after(quote, size, 0), run: (bytes: Uint8Array) => judge(bytes) },
    { name: 'verifyQuote: NUL after the chain', limit: 1_040_000, make: (size) => longer(quote, size, 0), run: (bytes: Uint8Array) => judge(bytes) },
    {
      name: 'verifyQuote: line ends after the chain',
      limit: 60_000,
      make: (size) => longer(quote, size, 10),
      run: (bytes: Uint8Array) => judge(bytes),
    },
    {
      name: 'verifyQuote: a list of many',
      limit: 500_000,
      make: (size) => list(Math.max(1, Math.floor(size / 42))),
      run: (pckCrl: Uint8Array) => judge(quote, { pckCrl }),
    },
    {
      name: 'verifyQuote: a chain of line ends',
      limit: 65_536,
      make: (size) => filled(size, '\n'),
      run: (pem: string) => judge(quote, { tcbInfoIssuerChain: pem }),
    },
  ] as readonly Family[]
}

function members(size: number): string {
  const parts: string[] = []
  for (let length = 0, i = 0; length < size; i++) {
    const part = `"m${i}":0`
    parts.push(part)
    length += part.length + 1
  }
  return parts.join(',')
}

const window = { notBefore: new Date('2026-01-01T00:00:00Z'), notAfter: new Date('2027-01-01T00:00:00Z') }
const unsigned = (): Uint8Array => new Uint8Array(64).fill(1)

function certificate(size: number, where: 'extension' | 'name'): Promise<Uint8Array> {
  const long = filled(Math.max(1, size), 'a')
  const name = [['CN', where === 'name' ? long : 'a']] as const
  const value = new TextEncoder().encode(where === 'extension' ? long : 'a')
  const extensions = [{ oid: '1.2.3', critical: false, value }]
  const fields = { serial: Uint8Array.of(1), issuer: [['CN', 'a']] as const, subject: name, ...window, publicKey: new Uint8Array(64), extensions }
  return issueCertificate(fields, unsigned)
}

function list(entries: number): Promise<Uint8Array> {
  const revoked = Array.from({ length: entries }, (_, i) => ({ serial: Uint8Array.of(1, i >> 16, i >> 8, i), at: window.notBefore }))
  const required = ['2.5.29.20', '2.5.29.35'].map((oid) => ({ oid, critical: false, value: Uint8Array.of(5, 0) }))
  const dates = { thisUpdate: window.notBefore, nextUpdate: window.notAfter }
  return issueCrl({ issuer: [['CN', 'a']], ...dates, revoked, extensions: required }, unsigned)
}

function after(quote: Uint8Array, size: number, value: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(size, quote.length)).fill(value)
  bytes.set(quote)
  return bytes
}

/** A quote of version 3 whose chain goes on, with the lengths that say so. */
function longer(quote: Uint8Array, size: number, value: number): Uint8Array {
  const bytes = after(quote, size, value)
  const view = new DataView(bytes.buffer)
  view.setUint32(432, bytes.length - 436, true)
  view.setUint32(1048, bytes.length - 1052, true)
  return bytes
}

/** Below this, a step is too short to measure. */
const measurableMs = 1

/**
 * Measures every family, each size as the best of `runs`, and flags those whose time grows faster than size to the power of 1.5 over the largest
 * sixteenfold step, and is not negligible. Throws what a parser throws that is not a `VeriteeError`.
 */
export async function measureGrowth(corpus: Corpus, runs = 7): Promise<readonly Growth[]> {
  const measured: Growth[] = []
  for (const { name, limit, make, run } of families(corpus)) {
    // Somewhat below the limit, for what a family adds around its repetitions.
    const sizes = [64, 16, 4, 1].map((part) => Math.floor((limit * 0.96) / part))
    const inputs: unknown[] = []
    for (const size of sizes) inputs.push(await make(size))
    let ms = sizes.map(() => Number.POSITIVE_INFINITY)
    let growth: Growth
    let tries = 0
    // What looks steep is measured again: another process may have had the core all along.
    do {
      const again: number[] = []
      for (const input of inputs) again.push(await best(() => run(input as never), runs))
      ms = ms.map((value, index) => Math.min(value, again[index] ?? value))
      growth = judged(name, sizes, ms)
    } while (growth.superlinear && ++tries < 3)
    measured.push(growth)
  }
  return measured
}

function judged(name: string, sizes: readonly number[], ms: readonly number[]): Growth {
  const [before = 0, , last = 0] = ms.slice(-3)
  const exponent = Math.log(last / Math.max(before, 0.001)) / Math.log(16)
  const rounded = ms.map((value) => Number(value.toFixed(3)))
  return { name, sizes, ms: rounded, exponent: Number(exponent.toFixed(2)), superlinear: last > measurableMs && exponent > 1.5 }
}

async function best(run: () => unknown, runs: number): Promise<number> {
  let shortest = Number.POSITIVE_INFINITY
  for (let i = 0; i < runs; i++) {
    const start = performance.now()
    try {
      await run()
    } catch (error) {
      if (!(error instanceof VeriteeError)) throw error
    }
    shortest = Math.min(shortest, performance.now() - start)
  }
  return shortest
}

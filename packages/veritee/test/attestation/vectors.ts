import { existsSync, readFileSync } from 'node:fs'
import {
  type Collateral,
  intelSgxRootCa,
  parseCollateral,
  parseQuote,
  type Trust,
  VerificationError,
  verifyQuote,
} from '../../src/attestation/index.ts'
import { VeriteeError } from '../../src/errors.ts'

/** Real quotes with Intel's verdicts, beside the repository; they are not part of it. */
const folder = new URL('../../../../../shared/vectors/', import.meta.url)
const listing = new URL('expected.json', folder)

export const haveVectors: boolean = existsSync(listing)
/** Goes into the titles of suites that need them. */
export const vectorsNote: string = haveVectors ? '' : ' (skipped: ../shared/vectors is not here)'

interface Level {
  readonly status: string
  readonly tcbDate: string
  readonly advisoryIDs: readonly string[]
}

export interface Pair {
  readonly vector: string
  readonly collateral: string
  /** Unix seconds. */
  readonly at: number
  readonly genuine: boolean
  readonly tcbStatus: string
  readonly tcbEvaluationDataNumber: number | null
  readonly launch: Level | null
  readonly current: Level | null
  /** Of TCB info and QE identity. */
  readonly earliestExpiration: string | null
}

export const pairs: readonly Pair[] = haveVectors ? (JSON.parse(readFileSync(listing, 'utf8')) as Pair[]) : []
export const genuinePairs: readonly Pair[] = pairs.filter(({ genuine }) => genuine)
export const intel: Trust = { roots: [intelSgxRootCa] }

export function titleOf(pair: Pair): string {
  return `${pair.vector.slice(0, 44)} ${pair.collateral.slice(11, -5)}`
}

/** The first pair whose vector name contains `name`. */
export function pairOf(name: string): Pair {
  const found = pairs.find(({ vector }) => vector.includes(name))
  if (found === undefined) throw new Error(`no vector ${name}`)
  return found
}

export function quoteOf(vector: string): Uint8Array {
  return new Uint8Array(readFileSync(new URL(`${vector}/quote.bin`, folder)))
}

/** Facts about a quote that another program stated. */
export function metaOf(vector: string): { readonly parsed: Readonly<Record<string, unknown>> } {
  return JSON.parse(readFileSync(new URL(`${vector}/meta.json`, folder), 'utf8')) as { parsed: Record<string, unknown> }
}

export function collateralText(pair: Pair): string {
  return readFileSync(new URL(`${pair.vector}/${pair.collateral}`, folder), 'utf8')
}

export interface Loaded {
  readonly bytes: Uint8Array
  readonly collateral: Collateral
  readonly at: Date
}

export function load(pair: Pair): Loaded {
  return { bytes: quoteOf(pair.vector), collateral: parseCollateral(collateralText(pair)), at: new Date(pair.at * 1000) }
}

/** The code with which parsing or verification refuses, or 'accepted'. Anything thrown that is not a VeriteeError is thrown on. */
export async function outcome(bytes: Uint8Array, collateral: Collateral, at: Date, trust: Trust = intel): Promise<string> {
  try {
    await verifyQuote(parseQuote(bytes), collateral, trust, at)
    return 'accepted'
  } catch (error) {
    if (error instanceof VeriteeError) return error.code
    throw error
  }
}

/** The failed check's id and code. */
export async function failure(bytes: Uint8Array, collateral: Collateral, at: Date, trust: Trust = intel): Promise<string> {
  try {
    await verifyQuote(parseQuote(bytes), collateral, trust, at)
    return 'accepted'
  } catch (error) {
    if (error instanceof VerificationError) return `${error.checks.at(-1)?.id} ${error.code}`
    throw error
  }
}

/** A copy with one byte changed. */
export function flipped(bytes: Uint8Array, at: number, mask = 1): Uint8Array {
  const copy = new Uint8Array(bytes)
  copy[at] = (copy[at] ?? 0) ^ mask
  return copy
}

/** The code a function throws, or 'accepted'. */
export function codeOf(run: () => unknown): string {
  try {
    run()
    return 'accepted'
  } catch (error) {
    if (error instanceof VeriteeError) return error.code
    throw error
  }
}

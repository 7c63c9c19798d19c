// The frozen seeds of the soak: evidence of simulated platforms whose keys are gone, so that a run can be repeated exactly.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { type Collateral, collateralFromJson, collateralToJson, intelSgxRootCa } from 'veritee/attestation'
import { createSimPlatform, createSimVendor } from 'veritee/attestation/sim'

/** A quote with everything needed to verify it. */
export interface SeedEvidence {
  readonly name: string
  readonly quote: Uint8Array
  readonly collateral: Collateral
  readonly root: Uint8Array
  readonly at: Date
}

export interface Corpus {
  readonly evidence: readonly SeedEvidence[]
  /** Quotes without evidence: certification data that needs a fetched certificate. */
  readonly quotes: readonly Uint8Array[]
  /** Over all seeds: equal digests and equal seed numbers give equal runs. */
  readonly digest: string
  /** How many of `evidence` are real. */
  readonly real: number
}

interface Frozen {
  readonly at: string
  readonly root: string
  readonly quotes: readonly { readonly name: string; readonly tee: 'sgx' | 'tdx' | null; readonly quote: string }[]
  readonly sgx: object
  readonly tdx: object
}

const file = new URL('./corpus.json', import.meta.url)
const vectors = new URL('../../../shared/vectors/', import.meta.url)

/** A fresh set of synthetic evidence as JSON, for `corpus.json`. */
export async function makeCorpus(at: Date): Promise<string> {
  const vendor = await createSimVendor(at)
  const platform = await createSimPlatform({ at, vendor, ppid: '0123456789abcdef0123456789abcdef', validDays: 3650 })
  const enclave = { mrenclave: 'a1'.repeat(32), mrsigner: 'b2'.repeat(32), isvProdId: 3, isvSvn: 4 }
  const td = { mrtd: 'c3'.repeat(48), rtmr0: 'd4'.repeat(48), xfam: 'e702060000000000' }
  const data = Uint8Array.from({ length: 64 }, (_, index) => index)
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
  const quotes: { name: string; tee: 'sgx' | 'tdx' | null; quote: string }[] = []
  for (const version of [3, 4, 5] as const)
    quotes.push({ name: `sgx-v${version}`, tee: 'sgx', quote: base64(await platform.quote(enclave, data, { version })) })
  for (const form of [{ version: 4, body: 'td10' }, { body: 'td10' }, { body: 'td15' }, { body: 'td15ex' }] as const)
    quotes.push({ name: `tdx-${form.body}`, tee: 'tdx', quote: base64(await platform.tdQuote(td, data, form)) })
  for (const certification of [1, 2, 3, 4] as const)
    quotes.push({ name: `type-${certification}`, tee: null, quote: base64(await platform.quote(enclave, data, { certification })) })
  const frozen: Frozen = {
    at: at.toISOString(),
    root: base64(platform.root),
    quotes,
    sgx: collateralToJson(platform.collateral),
    tdx: collateralToJson(platform.tdxCollateral),
  }
  return `${JSON.stringify(frozen, null, 2)}\n`
}

/** The frozen seeds, and every eighth real quote with its collateral where the real vectors are beside the repository. */
export function loadCorpus(): Corpus {
  const text = readFileSync(file, 'utf8')
  const frozen = JSON.parse(text) as Frozen
  const bytes = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, 'base64'))
  const sets = { sgx: collateralFromJson(frozen.sgx), tdx: collateralFromJson(frozen.tdx) }
  const root = bytes(frozen.root)
  const at = new Date(frozen.at)
  const evidence: SeedEvidence[] = []
  const quotes: Uint8Array[] = []
  for (const { name, tee, quote } of frozen.quotes)
    if (tee === null) quotes.push(bytes(quote))
    else evidence.push({ name, quote: bytes(quote), collateral: sets[tee], root, at })
  const found = realEvidence()
  const hash = createHash('sha256').update(text)
  for (const one of found) hash.update(one.quote).update(JSON.stringify(collateralToJson(one.collateral)))
  return { evidence: [...evidence, ...found], quotes, digest: hash.digest('hex'), real: found.length }
}

function realEvidence(): SeedEvidence[] {
  const listing = new URL('expected.json', vectors)
  if (!existsSync(listing)) return []
  const pairs = JSON.parse(readFileSync(listing, 'utf8')) as { vector: string; collateral: string; at: number; genuine: boolean }[]
  return pairs
    .filter(({ genuine }) => genuine)
    .filter((_, index) => index % 8 === 0)
    .map(({ vector, collateral, at }) => ({
      name: vector,
      quote: new Uint8Array(readFileSync(new URL(`${vector}/quote.bin`, vectors))),
      collateral: collateralFromJson(JSON.parse(readFileSync(new URL(`${vector}/${collateral}`, vectors), 'utf8'))),
      root: intelSgxRootCa,
      at: new Date(at * 1000),
    }))
}

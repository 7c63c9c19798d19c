import {
  type Collateral,
  formatCollateral,
  parseCertificate,
  parseCollateral,
  parseCrl,
  parsePem,
  parseQeIdentity,
  parseQuote,
  parseTcbInfo,
  type QuoteClaims,
  verifyQuote,
} from 'veritee/attestation'
import { parsePolicy } from 'veritee/policy'
import { parseReceipt } from 'veritee/receipt'
import type { Corpus, SeedEvidence } from './corpus.ts'
import { policies, receipts } from './documents.ts'
import { editJson } from './json-edits.ts'
import { mutate } from './mutate.ts'
import type { Random } from './random.ts'

/** One function under test: it may accept, or throw a `VeriteeError`, and nothing else. */
export interface Target {
  readonly name: string
  /** Of how many inputs. The shares of all targets are added up. */
  readonly share: number
  /** CPU time allowed for one input: so many microseconds, and so many nanoseconds for each byte. */
  readonly budget: { readonly base: number; readonly perByte: number }
  /** Makes one input and the call that judges it. */
  make(random: Random): Trial
}

export interface Trial {
  readonly input: Uint8Array
  /** Undefined, or what was accepted that should not have been. */
  run(): undefined | Promise<string | undefined>
}

const decoder = new TextDecoder()
const encoder = new TextEncoder()
const parsing = { base: 20_000, perByte: 200 }

/** All targets, with seeds from the corpus. */
export function targets(corpus: Corpus): readonly Target[] {
  const { evidence } = corpus
  const sets = [...new Set(evidence.map(({ collateral }) => collateral))]
  const texts = (read: (collateral: Collateral) => readonly string[]): Uint8Array[] =>
    [...new Set(sets.flatMap(read))].map((text) => encoder.encode(text))
  const chains = sets.flatMap((set) => [set.pckCrlIssuerChain, set.tcbInfoIssuerChain])
  const certificates = [...new Map([...new Set(chains)].flatMap(parsePem).map((der) => [Buffer.from(der).toString('hex'), der])).values()]
  const pck = evidence.flatMap(({ quote }) => {
    const { certification } = parseQuote(quote)
    return certification.kind === 'pck-chain' ? parsePem(decoder.decode(certification.pem).replace(/\0+$/, '')).slice(0, 1) : []
  })
  return [
    bytesTarget('parseQuote', 24, parseQuote, [...evidence.map(({ quote }) => quote), ...corpus.quotes]),
    bytesTarget('parseCertificate', 24, parseCertificate, [...certificates, ...pck]),
    bytesTarget(
      'parseCrl',
      16,
      parseCrl,
      sets.flatMap(({ rootCaCrl, pckCrl }) => [rootCaCrl, pckCrl]),
    ),
    textTarget(
      'parsePem',
      12,
      parsePem,
      texts((set) => [set.pckCrlIssuerChain, set.tcbInfoIssuerChain]),
    ),
    textTarget(
      'parseTcbInfo',
      8,
      parseTcbInfo,
      texts((set) => [set.tcbInfo]),
    ),
    textTarget(
      'parseQeIdentity',
      8,
      parseQeIdentity,
      texts((set) => [set.qeIdentity]),
    ),
    textTarget(
      'parseCollateral',
      2,
      parseCollateral,
      sets.map((set) => encoder.encode(formatCollateral(set))),
    ),
    textTarget(
      'parsePolicy',
      8,
      parsePolicy,
      policies.map((text) => encoder.encode(text)),
    ),
    textTarget(
      'parseReceipt',
      8,
      parseReceipt,
      receipts.map((text) => encoder.encode(text)),
    ),
    verification(evidence),
  ]
}

function bytesTarget(name: string, share: number, parse: (input: Uint8Array) => unknown, seeds: readonly Uint8Array[]): Target {
  const make = (random: Random): Trial => {
    const input = mutate(random.pick(seeds), seeds, random)
    return {
      input,
      run: () => {
        parse(input)
      },
    }
  }
  return { name, share, budget: parsing, make }
}

function textTarget(name: string, share: number, parse: (input: string) => unknown, seeds: readonly Uint8Array[]): Target {
  const make = (random: Random): Trial => {
    const seed = random.pick(seeds)
    // A third of the JSON inputs stay JSON, to get past its parser.
    const structured = seed[0] === 0x7b && random.chance(3) ? encoder.encode(editJson(decoder.decode(seed), random)) : null
    const input = structured ?? mutate(seed, seeds, random)
    const text = decoder.decode(input)
    return {
      input,
      run: () => {
        parse(text)
      },
    }
  }
  return { name, share, budget: parsing, make }
}

const pieces = [
  'rootCaCrl',
  'pckCrl',
  'tcbInfo',
  'tcbInfoSignature',
  'qeIdentity',
  'qeIdentitySignature',
  'pckCrlIssuerChain',
  'tcbInfoIssuerChain',
  'qeIdentityIssuerChain',
] as const satisfies readonly (keyof Collateral)[]

/**
 * One piece of genuine evidence is changed. What is still accepted (bytes after the quote, other line ends in PEM) must say exactly what the
 * unchanged evidence says.
 */
function verification(evidence: readonly SeedEvidence[]): Target {
  const expected = new Map<SeedEvidence, Promise<string>>()
  const verdict = async ({ quote, collateral, root, at }: SeedEvidence): Promise<string> =>
    spoken((await verifyQuote(parseQuote(quote), collateral, { roots: [root] }, at)).claims)
  const make = (random: Random): Trial => {
    const seed = random.pick(evidence)
    const which = random.below(2 * pieces.length)
    const piece = pieces[which]
    const old = piece === undefined ? seed.quote : seed.collateral[piece]
    const input = mutate(typeof old === 'string' ? encoder.encode(old) : old, [typeof old === 'string' ? encoder.encode(old) : old], random)
    const value = typeof old === 'string' ? decoder.decode(input) : input
    const changed: SeedEvidence =
      piece === undefined ? { ...seed, quote: input } : { ...seed, collateral: { ...seed.collateral, [piece]: value } as Collateral }
    const run = async (): Promise<string | undefined> => {
      const found = await verdict(changed)
      const wanted = expected.get(seed) ?? verdict(seed)
      expected.set(seed, wanted)
      return found === (await wanted) ? undefined : `accepted with other claims: ${piece ?? 'quote'} of ${seed.name}`
    }
    return { input, run }
  }
  return { name: 'verifyQuote', share: 0.11, budget: { base: 400_000, perByte: 400 }, make }
}

function spoken(claims: QuoteClaims): string {
  return JSON.stringify({ ...claims, trailingBytes: 0 })
}

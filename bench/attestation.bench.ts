// Full verification of SGX v3 and TDX v4 quotes: nothing cached, collateral cached (each PCK chain new), and everything cached, against the floor of
// each column and against other verifiers. Per CPU second; in one process and in alternating rounds, so the ratios hold on a busy machine too.
import { collateralFromJson, createVerifierCache, type VerifierCache, verifyQuote } from 'veritee/attestation'
import { collectEvidence, type Evidence } from './attestation/evidence.ts'
import { type Floors, floorsOf } from './attestation/floor.ts'
import { findPeers, type Peer } from './attestation/peers.ts'
import { type Contestant, perCpuSecond } from './rounds.ts'
import type { Figure } from './run.ts'

const columns = [
  { column: 'uncached', title: 'uncached', floorShare: 0.6, timesPeer: 5 },
  { column: 'collateralCached', title: 'collateral cached', floorShare: 0.75, timesPeer: 16 },
  { column: 'allCached', title: 'all cached', floorShare: 0.85, timesPeer: 30 },
] as const
/** Targets are set against this one. */
const measure = '@phala/dcap-qvl'

export async function run(): Promise<Figure[]> {
  const { peers, absent } = await findPeers()
  for (const line of absent) process.stderr.write(`${line}\n`)
  const figures: Figure[] = []
  for (const evidence of await collectEvidence()) {
    if (!evidence.forPeers) process.stderr.write(`${evidence.name}: without peers, which accept no root but Intel's\n`)
    figures.push(...(await figuresOf(evidence, evidence.forPeers ? peers : [])))
  }
  return figures
}

async function figuresOf(evidence: Evidence, peers: readonly Peer[]): Promise<Figure[]> {
  const { name, quotes, collateral, at } = evidence
  const floors = quotes.map((quote) => floorsOf(evidence, quote))
  const [first] = floors as [Floors, ...Floors[]]
  const contestants: Contestant[] = [
    ...columns.map(({ column }) => ({ name: `floor ${column}`, operations: floors.map((one) => one[column].operation) })),
    { name: 'floor quoteOnly', operations: floors.map((one) => one.quoteOnly.operation) },
    { name: 'usual uncached', operations: floors.map((one) => one.uncached.usual) },
    ...(await ours(evidence)),
    ...peers.map((peer) => ({ name: peer.name, operations: quotes.map((quote) => () => peer.verify(quote, collateral, at)) })),
  ]
  const rates = await perCpuSecond(contestants)
  const rate = (contestant: string): number => rates.get(contestant) ?? Number.NaN
  const report = (what: string, value: number, unit: string, target: number | null = null): Figure => ({
    name: `${name}, ${what}`,
    value,
    unit,
    target,
  })
  return [
    ...peers.map((peer) => report(peer.name, rate(peer.name), '/CPU-s')),
    ...columns.flatMap(({ column, title, floorShare, timesPeer }) => [
      report(title, rate(column), '/CPU-s'),
      report(`${title}: floor of ${first[column].description}`, rate(`floor ${column}`), '/CPU-s'),
      report(`${title}: share of that floor`, rate(column) / rate(`floor ${column}`), 'ratio', floorShare),
      ...peers.map((peer) =>
        report(`${title}: times ${peer.name}`, rate(column) / rate(peer.name), 'ratio', peer.name === measure ? timesPeer : null),
      ),
    ]),
    report('uncached: share of its floor in the usual forms', rate('uncached') / rate('usual uncached'), 'ratio'),
    // The report of the quoting enclave is the same as long as its key is, so ours has verified it before; that floor is the harder one.
    report(`all cached: share of a floor of ${first.quoteOnly.description}`, rate('allCached') / rate('floor quoteOnly'), 'ratio'),
  ]
}

/** Uncached starts where the peers do: quote bytes and the collateral object with hex in it. The cached columns hold parsed collateral. */
async function ours({ quotes, other, collateral, root, at }: Evidence): Promise<Contestant[]> {
  const trust = { roots: [root] } as const
  const parsed = collateralFromJson(collateral)
  const cached = (quote: Uint8Array, cache: VerifierCache): Promise<unknown> => verifyQuote(quote, parsed, trust, at, { cache })
  const fresh: VerifierCache[] = Array.from({ length: 4 }, () => createVerifierCache())
  const warm = createVerifierCache()
  for (const quote of quotes) await cached(quote, warm)
  return [
    { name: 'uncached', operations: quotes.map((quote) => () => verifyQuote(quote, collateralFromJson(collateral), trust, at)) },
    {
      name: 'collateralCached',
      ready: async () => {
        for (let index = 0; index < fresh.length; index++) {
          const cache = createVerifierCache()
          await cached(other, cache)
          fresh[index] = cache
        }
      },
      operations: fresh.flatMap((_, index) => quotes.map((quote) => () => cached(quote, fresh[index] as VerifierCache))),
    },
    { name: 'allCached', operations: quotes.map((quote) => () => cached(quote, warm)) },
  ]
}

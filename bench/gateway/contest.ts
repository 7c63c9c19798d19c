// The rounds: every contestant takes its turn in each, so that what slows the machine down slows them all.
import { ofRequesters } from '../../packages/services/src/http/http2/limits.ts'
import { assemble, type Column, type Contestant } from './contestants.ts'
import type { LoadDone, LoadOrder } from './load.ts'
import { cpuMicroseconds, type NodeProgram, type Program, residentMb, startNode } from './process.ts'
import type { WorkerOrder, WorkerReady } from './worker.ts'

export interface Sizes {
  /** Rounds that are not counted, and plain requests in each of them: V8 goes on compiling, on other threads, for up to twenty thousand of a controller's. */
  readonly warmUp: number
  readonly warmUpRequests: number
  readonly rounds: number
  /** Further rounds of those whose ratio has a target: how many there are decides how far that may be off by chance. */
  readonly pairRounds: number
  /** Plain requests in a round, over all connections. Each contestant rests for some ten seconds between two rounds; what comes first after that is dearer. */
  readonly requests: number
  /** And one after the other. */
  readonly alone: number
  readonly concurrency: number
  /** Events of a stream: what one costs is the difference between streams of both lengths. */
  readonly shortStream: number
  readonly longStream: number
  /** Streams open at a time, for the memory they take. */
  readonly open: number
  readonly settleMs: number
  readonly columns?: readonly Column[]
}

/** One figure of each round. */
export interface Tally {
  readonly contestant: Contestant
  readonly requestUs: number[]
  readonly eventUs: number[]
  readonly aloneMs: number[]
  readonly togetherMs: number[]
  readonly perSecond: number[]
  idleMb: number
  openMb: number
}

export interface Result {
  readonly tallies: readonly Tally[]
  readonly leftOut: readonly string[]
}

/** By the column's suffix: ours, and what it is held against. */
export const compared = ['', ', TLS', ', TLS, EHBP'].map((suffix) => ({
  suffix,
  ours: `controller${suffix}`,
  /** The same with what the passthrough has nothing of: it is compared all the same, and has no target. */
  withKeys: `controller with API keys and limits${suffix}`,
  /** The same whose requesters share connections; it has no target either. */
  overHttp2: `controller over HTTP/2${suffix}`,
  theirs: `passthrough with proofs${suffix}`,
}))
const comparedNames = new Set(compared.flatMap(({ ours, withKeys, theirs }) => [ours, withKeys, theirs]))

type Load = NodeProgram<LoadOrder, LoadDone>

/** Requests that a controller takes at a time over one connection of HTTP/2. */
const perSession = ofRequesters.maxConcurrentStreams ?? 1

/** `receipts`: what the worker signs. Throws where an answer is not whole, or a controller did not accept a receipt. */
export async function contest(sizes: Sizes, directory: string, receipts: WorkerOrder = 'true'): Promise<Result> {
  const started: Program[] = []
  try {
    const worker = startNode<WorkerOrder, WorkerReady>('others', './worker.ts')
    started.push(worker)
    const { contestants, leftOut } = await assemble(await worker.ask(receipts), directory, started, sizes.columns)
    const load: Load = startNode('others', './load.ts')
    started.push(load)
    const tallies = contestants.map(
      (contestant): Tally => ({
        contestant,
        requestUs: [],
        eventUs: [],
        aloneMs: [],
        togetherMs: [],
        perSecond: [],
        idleMb: Number.NaN,
        openMb: Number.NaN,
      }),
    )
    for (let round = -sizes.warmUp; round < sizes.rounds; round++)
      for (const tally of round % 2 === 0 ? tallies : tallies.toReversed()) await oneRound(load, tally, sizes, round >= 0)
    const pairs = tallies.filter(({ contestant }) => comparedNames.has(contestant.name))
    for (let round = 0; round < sizes.pairRounds; round++)
      for (const tally of round % 2 === 0 ? pairs : pairs.toReversed()) await oneRound(load, tally, sizes, true)
    for (const tally of tallies) if (tally.contestant.program !== null) await memory(load, tally, sizes)
    return { tallies, leftOut }
  } finally {
    for (const program of started) program.stop()
  }
}

async function ask(load: Load, order: LoadOrder, name: string): Promise<LoadDone> {
  const done = await load.ask(order)
  if (done.failure !== null) throw new Error(`${name}: ${done.failure}`)
  return done
}

const messages = [
  { role: 'system', content: 'You are a helpful assistant that answers in short sentences and never makes anything up.' },
  { role: 'user', content: 'Tell me how a quote of an enclave is verified, and what a relying party has to check beside the signature. '.repeat(4) },
]

function bodyOf(events: number | null, paceMs = 4): string {
  const more = events === null ? {} : { stream: true, max_tokens: events, user: `pace-${paceMs}` }
  return JSON.stringify({ model: 'bench', messages, temperature: 0.7, ...more })
}

function openOrder({ port, tls, http2, headers, ehbp }: Contestant, connections: number): Extract<LoadOrder, { order: 'open' }> {
  // One whose body is encrypted brings its own.
  const nonce = ehbp === null ? { 'x-veritee-nonce': '5a'.repeat(32) } : {}
  const sessions = http2 ? Math.ceil(connections / perSession) : null
  return { order: 'open', port, tls, connections, sessions, headers: { 'content-type': 'application/json', ...nonce, ...headers }, ehbp }
}

async function oneRound(load: Load, tally: Tally, sizes: Sizes, counts: boolean): Promise<void> {
  const { contestant } = tally
  const { concurrency, requests, alone, shortStream, longStream } = sizes
  const run = (events: number | null, times: number, width: number): Promise<LoadDone> =>
    ask(load, { order: 'run', body: bodyOf(events), requests: times, concurrency: width, events: events ?? 0 }, contestant.name)
  const timed = async (work: () => Promise<LoadDone>): Promise<{ us: number; done: LoadDone }> => {
    if (contestant.program === null) return { us: Number.NaN, done: await work() }
    const before = await cpuMicroseconds(contestant.program.pid)
    const done = await work()
    return { us: (await cpuMicroseconds(contestant.program.pid)) - before, done }
  }
  await ask(load, openOrder(contestant, concurrency), contestant.name)
  // Connections to the worker are opened, and what the last contestant left in the caches is gone.
  await run(null, counts ? concurrency : sizes.warmUpRequests, concurrency)
  const together = await timed(() => run(null, requests, concurrency))
  const one = await run(null, alone, 1)
  const short = await timed(() => run(shortStream, concurrency, concurrency))
  const long = await timed(() => run(longStream, concurrency, concurrency))
  await ask(load, { order: 'close' }, contestant.name)
  await contestant.check()
  if (!counts) return
  tally.requestUs.push(together.us / requests)
  tally.eventUs.push((long.us - short.us) / (concurrency * (longStream - shortStream)))
  tally.aloneMs.push(...one.latencyMs)
  tally.togetherMs.push(...together.done.latencyMs)
  tally.perSecond.push((requests * 1000) / together.done.wallMs)
}

/** Streams that are open at a time, each with an event a second. */
async function memory(load: Load, tally: Tally, { open, settleMs }: Sizes): Promise<void> {
  const { contestant } = tally
  const pid = contestant.program?.pid ?? 0
  tally.idleMb = await residentMb(pid)
  await ask(load, { order: 'hold', open: openOrder(contestant, open), body: bodyOf(1_000_000, 1000) }, contestant.name)
  await new Promise((resolve) => setTimeout(resolve, settleMs))
  tally.openMb = await residentMb(pid)
  await ask(load, { order: 'close' }, contestant.name)
  await new Promise((resolve) => setTimeout(resolve, settleMs / 6))
}

// The engine alone and the same engine behind the worker, taking turns: equal prompts, equal seeds, so equal tokens.
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { simulateMachine, startWorker } from '../../packages/services/src/demo/system.ts'
import { type Engine, parseChatRequest } from '../../packages/services/src/enclave/worker/engine/index.ts'
import type { ServedModel } from '../../packages/services/src/enclave/worker/served-model.ts'
import type { Errand, Errands } from './client.ts'

export interface ContestOptions {
  readonly served: ServedModel
  readonly rounds: number
  /** Of each contestant in a round. A turn is short, so that a machine whose speed changes within a second falls on both alike. */
  readonly turnsPerRound: number
  readonly requestsPerTurn: number
  readonly maxTokens: number
  readonly temperature: number
  /** Short requests before the first round: V8 compiles what runs once in a request only after hundreds of them, and a worker serves more than that. */
  readonly warmUp?: number
}

/** Of one contestant. */
export interface Tally {
  /** For each round, in their order: both contestants take turns in it. */
  readonly rounds: { readonly cpuUs: number; readonly wallUs: number }[]
  readonly firstMs: number[]
}

export interface Contest {
  readonly alone: Tally
  readonly worker: Tally
}

const prompts = ['Tell me a story about a dragon named Ruby.', 'Who are you?', 'What is remote attestation?', 'Tell me a story about a cat.']

export async function contest(options: ContestOptions): Promise<Contest> {
  const { served, rounds, turnsPerRound, warmUp = 0 } = options
  const now = (): Date => new Date()
  const { worker, server } = await startWorker(await simulateMachine(now), [served], 0, now)
  const client = fork(fileURLToPath(new URL('./client.ts', import.meta.url)), { execArgv: ['--conditions=@veritee/source'] })
  try {
    if (warmUp > 0) await runWorker(client, server.port, bodiesOf({ ...options, requestsPerTurn: warmUp, maxTokens: 4 }, 0))
    const tallies: Contest = { alone: { rounds: [], firstMs: [] }, worker: { rounds: [], firstMs: [] } }
    // The first round warms up and is not counted.
    for (let round = 0; round <= rounds; round++) {
      const sums = { alone: { cpuUs: 0, wallUs: 0, tokens: 0 }, worker: { cpuUs: 0, wallUs: 0, tokens: 0 } }
      for (let turn = 0; turn < turnsPerRound; turn++) {
        const bodies = bodiesOf(options, round * turnsPerRound + turn)
        const order = turn % 2 === round % 2 ? (['alone', 'worker'] as const) : (['worker', 'alone'] as const)
        for (const name of order) {
          const before = process.cpuUsage()
          const start = performance.now()
          const { tokens, firstMs } = name === 'alone' ? await runAlone(served, bodies) : await runWorker(client, server.port, bodies)
          const { user, system } = process.cpuUsage(before)
          const sum = sums[name]
          sum.cpuUs += user + system
          sum.wallUs += (performance.now() - start) * 1000
          sum.tokens += tokens
          if (round > 0) tallies[name].firstMs.push(...firstMs)
        }
      }
      if (round === 0) continue
      for (const name of ['alone', 'worker'] as const) {
        const { cpuUs, wallUs, tokens } = sums[name]
        tallies[name].rounds.push({ cpuUs: cpuUs / tokens, wallUs: wallUs / tokens })
      }
    }
    if (worker.ledger.size === 0) throw new Error('expected receipts, found none')
    return tallies
  } finally {
    client.kill()
    await server.close()
  }
}

function bodiesOf({ served, requestsPerTurn, maxTokens, temperature }: ContestOptions, turn: number): string[] {
  return Array.from({ length: requestsPerTurn }, (_, i) =>
    JSON.stringify({
      model: served.name,
      messages: [{ role: 'user', content: prompts[(turn + i) % prompts.length] }],
      temperature,
      seed: turn * 1000 + i,
      max_tokens: maxTokens,
      stream: true,
      stream_options: { include_usage: true },
    }),
  )
}

async function runAlone({ engine, template }: ServedModel, bodies: readonly string[]): Promise<{ tokens: number; firstMs: number[] }> {
  let tokens = 0
  const firstMs: number[] = []
  for (const body of bodies) {
    const start = performance.now()
    const { messages, sampling, maxTokens, seed } = parseChatRequest(JSON.parse(body))
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setBigInt64(0, BigInt(seed ?? 0))
    const generation: Parameters<Engine['generate']>[0] = {
      promptTokens: template.render(messages),
      maxTokens: maxTokens ?? 1,
      sampling,
      seed: bytes,
    }
    let first = Number.NaN
    for await (const token of engine.generate(generation)) {
      if (Number.isNaN(first) && engine.vocabulary.bytes(token.token).length > 0) first = performance.now() - start
      tokens++
    }
    firstMs.push(first)
  }
  return { tokens, firstMs }
}

async function runWorker(client: ChildProcess, port: number, bodies: readonly string[]): Promise<{ tokens: number; firstMs: number[] }> {
  const { promise, resolve, reject } = Promise.withResolvers<Errands>()
  client.once('message', (done) => resolve(done as Errands))
  client.once('exit', () => reject(new Error('the requester ended')))
  client.send({ port, bodies } satisfies Errand)
  const { firstTextMs, tokens } = await promise
  client.removeAllListeners('exit')
  return { tokens, firstMs: [...firstTextMs] }
}

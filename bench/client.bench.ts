// What verification costs a client: the first connection, cold and with a kept report; then, through an ordinary fetch and through a connection in each mode, in
// alternating rounds of one run, the time to the first token and in all of a stream of 200 tokens and of a plain answer, and the CPU time of this process. The services
// run in a process of their own. Each round's figure is held against the ordinary fetch of the same round, and the middle of them is told.
import { fork } from 'node:child_process'
import { once as event } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Trust } from 'veritee/attestation'
import { fromBase64 } from 'veritee/bytes'
import { type Connection, type ConnectionOptions, connect } from 'veritee/client'
import type { Told } from './client/service.ts'
import type { Figure } from './run.ts'

const tokens = 200
const [warmUp, rounds] = [6, 30]
const allowed = { firstToken: 1, share: 3 } as const

/** Milliseconds. */
interface Timing {
  readonly first: number
  readonly total: number
  readonly cpu: number
}
interface Contestant {
  readonly name: string
  readonly fetch: typeof fetch
  readonly timings: Timing[]
}

export async function run(): Promise<Figure[]> {
  const services = fork(fileURLToPath(new URL('./client/service.ts', import.meta.url)), { execArgv: ['--conditions=@veritee/source'] })
  const [told] = (await event(services, 'message')) as [Told]
  const directory = await mkdtemp(join(tmpdir(), 'veritee-bench-client-'))
  try {
    return [...(await connecting(told, directory)), ...(await asking(told, true)), ...(await asking(told, false))]
  } finally {
    services.disconnect()
    await rm(directory, { recursive: true, force: true })
  }
}

function open(told: Told, options: Partial<ConnectionOptions> = {}): Promise<Connection> {
  return connect(told.url, { policy: told.policy, trust: { roots: told.roots.map(fromBase64) as unknown as Trust['roots'] }, ...options })
}

async function connecting(told: Told, cache: string): Promise<Figure[]> {
  const cold: number[] = []
  const kept: number[] = []
  for (let round = 0; round < 20; round++) {
    await rm(cache, { recursive: true, force: true })
    for (const times of [cold, kept]) {
      const start = performance.now()
      const connection = await open(told, { cache })
      times.push(performance.now() - start)
      connection.close()
    }
  }
  return [
    { name: 'connect, cold: a fresh quote, everything verified', value: median(cold), unit: 'ms', target: null },
    { name: 'connect, with a kept report, verified again', value: median(kept), unit: 'ms', target: null },
    { name: '  cold over kept', value: median(cold) / median(kept), unit: 'x', target: null },
  ]
}

async function asking(told: Told, stream: boolean): Promise<Figure[]> {
  const connections = {
    'hold-last': await open(told, { mode: 'hold-last' }),
    buffered: await open(told, { mode: 'buffered' }),
    report: await open(told, { mode: 'report' }),
    'hold-last, encrypted to the controller': await open(told, { encryptTo: 'controller' }),
    'hold-last, encrypted to a worker': await open(told, { encryptTo: 'worker' }),
  }
  const bare: Contestant = { name: 'fetch', fetch: globalThis.fetch, timings: [] }
  const others = Object.entries(connections).map(([name, connection]): Contestant => ({ name, fetch: connection.fetch, timings: [] }))
  const all = [bare, ...others]
  const url = `${told.url}/v1/chat/completions`
  for (let round = -warmUp; round < rounds; round++) {
    // Another order each time, so that nobody always follows the same one.
    for (let i = 0; i < all.length; i++) {
      const contestant = all[(i + round + warmUp) % all.length] as Contestant
      const timing = await once(contestant.fetch, url, bodyOf(told, stream), stream)
      if (round >= 0) contestant.timings.push(timing)
    }
  }
  for (const connection of Object.values(connections)) connection.close()
  const kind = stream ? `stream of ${tokens} tokens` : `plain answer of ${tokens} tokens`
  const against = ({ timings }: Contestant, difference: (own: Timing, bare: Timing) => number): number =>
    median(timings.map((own, i) => difference(own, bare.timings[i] ?? own)))
  const figures: Figure[] = [
    { name: `${kind}: fetch, in all`, value: median(bare.timings.map(({ total }) => total)), unit: 'ms', target: null },
    { name: `${kind}: fetch, CPU of the client`, value: median(bare.timings.map(({ cpu }) => cpu)), unit: 'ms', target: null },
  ]
  if (stream) figures.push({ name: `${kind}: fetch, first token`, value: median(bare.timings.map(({ first }) => first)), unit: 'ms', target: null })
  for (const other of others) {
    const { name } = other
    const share = against(other, (own, fetched) => (own.total / fetched.total - 1) * 100)
    // Targets are lower bounds: what must be small is told as what is left of its allowance.
    const demanded = stream && name === 'hold-last'
    figures.push({ name: `  ${name}: added in all`, value: share, unit: '%', target: null })
    if (demanded) figures.push({ name: `    below ${allowed.share} % by`, value: allowed.share - share, unit: 'points', target: 0 })
    figures.push({
      name: `  ${name}: added CPU of the client`,
      value: against(other, (own, fetched) => own.cpu - fetched.cpu),
      unit: 'ms',
      target: null,
    })
    if (!stream || name === 'buffered') continue
    const first = against(other, (own, fetched) => own.first - fetched.first)
    figures.push({ name: `  ${name}: added to first token`, value: first, unit: 'ms', target: null })
    if (demanded) figures.push({ name: `    below ${allowed.firstToken} ms by`, value: allowed.firstToken - first, unit: 'ms', target: 0 })
  }
  return figures
}

/** Of as many tokens every time: the tokens that end answers are ruled out. */
function bodyOf({ ends }: Told, stream: boolean): string {
  return JSON.stringify({
    model: 'veritee-demo',
    messages: [{ role: 'user', content: 'Tell me a story about a dragon named Ruby.' }],
    stream,
    temperature: 1,
    seed: 7,
    max_tokens: tokens,
    logit_bias: Object.fromEntries(ends.map((token) => [token, -100])),
  })
}

async function once(fetcher: typeof fetch, url: string, body: string, stream: boolean): Promise<Timing> {
  const before = process.cpuUsage()
  const start = performance.now()
  const response = await fetcher(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
  if (response.status !== 200) throw new Error(`the service answered ${response.status}: ${await response.text()}`)
  let first = 0
  let seen = ''
  const decoder = new TextDecoder()
  for await (const part of response.body ?? []) {
    if (first !== 0) continue
    seen += decoder.decode(part, { stream: true })
    // The first event has the role only.
    if (!stream || seen.split('\n\n').length > 2) first = performance.now() - start
  }
  const total = performance.now() - start
  const { user, system } = process.cpuUsage(before)
  return { first, total, cpu: (user + system) / 1000 }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

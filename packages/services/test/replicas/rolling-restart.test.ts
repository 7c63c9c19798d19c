import dns from 'node:dns'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { intelSgxRootCa, parsePem } from 'veritee/attestation'
import type { ConnectOptions } from 'veritee/client'
import { parsePolicy } from 'veritee/policy'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { runKeys } from '../../src/bin/commands/keys.ts'
import type { Renewing } from '../../src/process/run.ts'
import { freePortBase } from '../e2e/free-ports.ts'
import { startController, startWorker } from '../process/start.ts'
import { leftOut, type PostgresServer, startPostgres } from '../store/postgres-server.ts'
import { pinnedFetch } from './pinned-fetch.ts'
import { type Balancer, startBalancer } from './sni-balancer.ts'

const names = ['r0.veritee.test', 'r1.veritee.test', 'r2.veritee.test']
const shared = 'api.veritee.test'
const left = leftOut === null ? '' : ` (left out: ${leftOut})`

describe.skipIf(leftOut !== null)(`three replicas behind a balancer that passes TLS through${left}`, () => {
  let directory = ''
  let postgres: PostgresServer
  let balancer: Balancer
  let ports: number[] = []
  let worker: Renewing
  const up: Renewing[] = []
  const lines: string[] = []
  const path = (name: string): string => join(directory, name)

  const start = async (i: number, ...more: readonly string[]): Promise<Renewing> => {
    const others = [0, 1, 2].filter((other) => other !== i)
    const one = await startController(
      [
        ...['--tee', 'simulate', '--state', path(`c${i}`), '--policy', path('policy.json'), '--root', path('w/root.pem')],
        ...['--tls', '--port', String(ports[i]), '--control-port', String((ports[i] ?? 0) + 1), '--name', names[i] ?? '', '--name', shared],
        ...['--public-port', String(balancer.port), '--drain-seconds', '20'],
        ...['--store', (await database()).url, '--store-password-file', path('password'), '--api-keys'],
        ...['--admin-port', String((ports[i] ?? 0) + 2), '--admin-token-file', path('token')],
        ...['--replicas-port', String((ports[i] ?? 0) + 10), '--replicas-secret-file', path('secret')],
        ...others.flatMap((other) => ['--replica', `https://127.0.0.1:${(ports[other] ?? 0) + 10}`, '--replica-root', path(`c${other}/root.pem`)]),
        ...more,
      ],
      { report: (line) => lines.push(`${names[i]}: ${line}`) },
    )
    up[i] = one
    return one
  }
  let made: ReturnType<PostgresServer['database']> | null = null
  const database = (): ReturnType<PostgresServer['database']> => {
    made ??= postgres.database()
    return made
  }

  /** As a client has them: its policy, and the roots of the simulated machines, which are new with each start. */
  const options = async (key: string): Promise<ConnectOptions> => {
    const roots = await Promise.all(['c0', 'c1', 'c2', 'w'].map((name) => readFile(path(`${name}/root.pem`), 'utf8')))
    const policy = parsePolicy(await readFile(path('policy.json'), 'utf8'))
    return {
      policy,
      trust: { roots: [intelSgxRootCa, ...roots.flatMap((pem) => parsePem(pem))] },
      role: 'controller',
      now: () => new Date(),
      apiKey: key,
    }
  }

  const serving = (i: number): Promise<void> =>
    vi.waitFor(
      () => expect(lines.filter((line) => line.startsWith(`${names[i]}: `) && line.includes('is admitted')).length).toBeGreaterThan(0),
      40_000,
    )

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'veritee-rolling-'))
    postgres = await startPostgres()
    ports = (await Promise.all([0, 1, 2].map(freePortBase))).map(Number)
    balancer = await startBalancer(new Map(names.map((name, i) => [name, ports[i] ?? 0])))
    await writeFile(path('token'), 'a-credential-that-nobody-would-guess-0123456789')
    await writeFile(path('secret'), 'a-secret-that-all-replicas-of-one-operator-have')
    await writeFile(path('password'), `${postgres.password}\n`)
    // Names that no resolver knows.
    const real = dns.lookup
    vi.spyOn(dns, 'lookup').mockImplementation(((name: string, ...more: [never, never]) =>
      real(name.endsWith('.veritee.test') ? '127.0.0.1' : name, ...more)) as typeof dns.lookup)
  }, 120_000)
  afterAll(async () => {
    vi.restoreAllMocks()
    for (const one of up) await one?.close()
    await worker?.close()
    await balancer?.close()
    await postgres?.close()
    await rm(directory, { recursive: true, force: true })
  }, 60_000)

  test('S8: no failed and no unverified request while one after the other is restarted; the key of the store goes from hand to hand', {
    timeout: 240_000,
  }, async () => {
    const known = [0, 1, 2].flatMap((i) => ['--controller', `https://127.0.0.1:${(ports[i] ?? 0) + 1}`, '--root', path(`c${i}/root.pem`)])
    worker = await startWorker([
      '--tee',
      'simulate',
      '--state',
      path('w'),
      '--port',
      '0',
      '--model',
      'demo',
      '--controller-policy',
      path('policy.json'),
      ...known,
    ])
    // What the worker wrote of itself, and of controllers of the same code: who is what is known when each has started.
    const seed = await startController([
      '--tee',
      'simulate',
      '--state',
      path('seed'),
      '--tls',
      '--port',
      '0',
      '--control-port',
      '0',
      '--policy',
      path('w/policy.json'),
      '--root',
      path('w/root.pem'),
    ])
    await writeFile(path('policy.json'), await readFile(path('seed/policy.json'), 'utf8'))
    await seed.close()

    // Without the one that founds the store, nobody draws a key of his own.
    await start(0, '--found-store')
    await start(1)
    await start(2)
    expect(lines.filter((line) => line.includes('the key of the shared store was given by a replica'))).toHaveLength(2)
    await Promise.all([0, 1, 2].map(serving))

    const admin = [
      '--admin',
      `https://${names[0]}:${(ports[0] ?? 0) + 2}`,
      '--policy',
      path('policy.json'),
      '--root',
      path('c0/root.pem'),
      '--admin-token-file',
      path('token'),
    ]
    const { key } = JSON.parse(await runKeys('create', ['--name', 'rolling', ...admin, '--json'])) as { key: string }

    // The others see a new key within about a second.
    await new Promise((resolve) => setTimeout(resolve, 2_500))
    const clients = Array.from({ length: 3 }, () => {
      const { fetch, seen, close } = pinnedFetch(`https://${shared}:${balancer.port}`, () => options(key))
      return { seen, close, openai: new OpenAI({ baseURL: `https://${shared}:${balancer.port}/v1`, apiKey: key, fetch, maxRetries: 0 }) }
    })
    let stopped = false
    const failures: unknown[] = []
    let answers = 0
    const run = async ({ openai }: (typeof clients)[number]): Promise<void> => {
      for (let n = 0; !stopped; n++) {
        const asked = { model: 'veritee-demo', messages: [{ role: 'user' as const, content: `Why? ${n}` }], max_tokens: 8, temperature: 0 }
        try {
          if (n % 2 === 0) await openai.chat.completions.create(asked)
          else for await (const _ of await openai.chat.completions.create({ ...asked, stream: true }));
          answers++
        } catch (error) {
          failures.push(error instanceof Error ? `${error.message} ${String((error as { cause?: unknown }).cause ?? '')}` : error)
          await new Promise((resolve) => setTimeout(resolve, 100))
        }
      }
    }
    const running = clients.map(run)
    const more = async (count: number): Promise<void> => {
      const goal = answers + count
      await vi.waitFor(() => expect(answers).toBeGreaterThanOrEqual(goal), 60_000)
    }
    await more(6)
    // The founder first: after it no process has been there from the beginning, and none is told to found anything.
    for (const i of [0, 1, 2]) {
      lines.length = 0
      expect(await up[i]?.drain()).toBe(true)
      await up[i]?.close()
      await rm(path(`c${i}/replicas.key`))
      await start(i)
      expect(lines.join('\n')).toContain(`${names[i]}: the key of the shared store was given by a replica`)
      await serving(i)
      await more(6)
    }
    stopped = true
    await Promise.all(running)
    for (const { close } of clients) close()

    expect(failures).toEqual([])
    expect(clients.reduce((sum, { seen }) => sum + seen.verified, 0)).toBe(answers)
    // They did move: three clients, three restarts, and no replica kept its keys.
    expect(new Set(clients.flatMap(({ seen }) => [...seen.keysets])).size).toBeGreaterThanOrEqual(2)
    expect(clients.reduce((sum, { seen }) => sum + Object.values(seen.repinned).reduce((a, b) => a + b, 0), 0)).toBeGreaterThan(0)
  })
})

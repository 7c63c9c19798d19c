import dns from 'node:dns'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { Agent, request } from 'undici'
import { intelSgxRootCa, parsePem } from 'veritee/attestation'
import { type Connection, connect, type Proof } from 'veritee/client'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { runKeys } from '../../src/bin/commands/keys.ts'
import type { Renewing } from '../../src/process/run.ts'
import { freePortBase } from '../e2e/free-ports.ts'
import { startController, startWorker } from '../process/start.ts'
import { leftOut, type PostgresServer, startPostgres } from '../store/postgres-server.ts'
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

  /** The roots of the simulated machines, which are new with each start; one list for all clients. */
  const roots: [Uint8Array, ...Uint8Array[]] = [intelSgxRootCa]
  const learnRoots = async (): Promise<void> => {
    const pems = await Promise.all(['c0', 'c1', 'c2', 'w'].map((name) => readFile(path(`${name}/root.pem`), 'utf8')))
    roots.splice(1, roots.length, ...pems.flatMap((pem) => parsePem(pem)))
  }
  /** As operators have it: their balancer asks each replica whether it is ready. */
  const agent = new Agent({ connect: { rejectUnauthorized: false } })
  const isReady = async (port: number): Promise<boolean> => {
    const { statusCode, body } = await request(`https://127.0.0.1:${port}/readyz`, { dispatcher: agent })
    await body.dump()
    return statusCode === 200
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
    balancer = await startBalancer(new Map(names.map((name, i) => [name, ports[i] ?? 0])), isReady)
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
    await agent.close()
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

    // The balancer hears that all are ready, and the others see a new key, within about a second, where they have the time.
    const serves = async (name: string): Promise<void> => {
      const headers = { authorization: `Bearer ${key}` }
      const { statusCode, body } = await request(`https://${name}:${balancer.port}/v1/models`, { dispatcher: agent, headers })
      await body.dump()
      expect(statusCode).toBe(200)
    }
    for (const name of [shared, ...names]) await vi.waitFor(() => serves(name), { timeout: 20_000, interval: 100 })
    await learnRoots()
    const policy = await readFile(path('policy.json'), 'utf8')
    const proofs: Proof[] = []
    const keysets = new Set<string>()
    const connected = async (name: string): Promise<Connection> =>
      connect(`https://${name}:${balancer.port}`, { policy, trust: { roots }, apiKey: key, onProof: (proof) => proofs.push(proof) })
    const clients = await Promise.all([1, 2, 3].map(() => connected(shared)))
    // Names are hints: each leads to a replica that shows by its evidence that it has this name.
    await vi.waitFor(async () => {
      const [client] = clients
      if (client === undefined) throw new TypeError('no client')
      const answer = await client.fetch(`https://${shared}:${balancer.port}/v1/veritee/replicas`)
      const { replicas } = (await answer.json()) as { replicas: { url: string }[] }
      expect(replicas.map(({ url }) => url).sort()).toEqual(names.map((name) => `https://${name}:${balancer.port}`))
    }, 20_000)
    for (const name of names) (await connected(name)).close()
    await expect(connected('other.veritee.test')).rejects.toMatchObject({ code: 'service_refused' })

    let stopped = false
    const failures: unknown[] = []
    let answers = 0
    const run = async (client: Connection): Promise<void> => {
      // Unmodified, with what it does by itself where a service says 503.
      const openai = new OpenAI({ baseURL: client.baseURL, apiKey: key, fetch: client.fetch })
      for (let n = 0; !stopped; n++) {
        const asked = { model: 'veritee-demo', messages: [{ role: 'user' as const, content: `Why? ${n}` }], max_tokens: 8, temperature: 0 }
        try {
          if (n % 2 === 0) await openai.chat.completions.create(asked)
          else for await (const _ of await openai.chat.completions.create({ ...asked, stream: true }));
          answers++
          keysets.add(client.service.report.keysetDigest)
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
      await learnRoots()
      expect(lines.join('\n')).toContain(`${names[i]}: the key of the shared store was given by a replica`)
      await serving(i)
      await more(6)
    }
    stopped = true
    await Promise.all(running)
    for (const client of clients) client.close()

    expect(failures).toEqual([])
    expect([...new Set(proofs.map(({ status }) => status))]).toEqual(['verified'])
    expect(proofs.length).toBeGreaterThanOrEqual(answers)
    // They did move: each replica was restarted, and none kept its keys.
    expect(keysets.size).toBeGreaterThanOrEqual(2)
  })
})

import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Path } from '../../src/validator/audit/path.ts'
import { Clients } from '../../src/validator/clients.ts'
import { Paths } from '../../src/validator/paths.ts'
import { type Network, now, startNetwork } from '../e2e/network.ts'

let network: Network
beforeAll(async () => {
  network = await startNetwork()
}, 240_000)
afterAll(() => network.close())

const client = { account: 0, encryptTo: 'none' } as const

test('S20: an account is one program, from the epochs in which it asks as anybody to the end of its own: it keeps its connection, and nothing closes that', async () => {
  const { policy, machine, controller } = network
  const clients = new Clients(now)
  const targets = [{ url: controller.api.url, silent: { operator: 'c0'.repeat(32) } }]
  const setting = {
    store: null as never,
    controllers: [],
    workers: [],
    evidence: { trust: machine.trust, policy },
    roster: null as never,
    now,
    signal: new AbortController().signal,
    report: () => undefined,
    clients,
  }
  const of = async (epoch: number, apiKeys: readonly string[]): Promise<Path> => {
    const path = await new Paths({ ...setting, apiKeys, epoch }, targets).of(client)
    if ('code' in path) throw new Error(path.code)
    return path
  }
  const [early, own, other] = [await of(3, ['sk-a']), await of(3, ['sk-a']), await of(3, ['sk-b'])]
  expect(own.connection).toBe(early.connection)
  expect(own.apiKey).toBe('sk-a')
  expect(other.connection).not.toBe(own.connection)
  // Clients without an account are others in each epoch.
  expect((await of(4, [])).connection).not.toBe((await of(3, [])).connection)
  const models = await early.connection.fetch(`${early.connection.baseURL}/models`)
  expect(models.status).toBe(200)
  clients.close()
  await expect(early.connection.fetch(`${early.connection.baseURL}/models`)).rejects.toThrow()
})

test('a client that has not asked for a day begins anew, and one that could not begin tries again', async () => {
  let at = Date.parse('2026-01-01T00:00:00Z')
  const clients = new Clients(() => new Date(at))
  const opened: Path[] = []
  const closed: Path[] = []
  const open = async (): Promise<Path> => {
    const path = { connection: { close: () => void closed.push(path) } } as unknown as Path
    opened.push(path)
    return path
  }
  const first = await clients.of('a', open)
  at += 80_000_000
  expect(await clients.of('a', open)).toBe(first)
  at += 80_000_000
  expect(await clients.of('a', open)).toBe(first)
  at += 86_400_001
  const second = await clients.of('a', open)
  expect(second).not.toBe(first)
  // Whoever looks on sees no end of it.
  expect(closed).toEqual([])
  await expect(clients.of('b', () => Promise.reject(new Error('gone')))).rejects.toThrow('gone')
  expect(await clients.of('b', open)).toBe(opened[2])
  clients.close()
  await Promise.resolve()
  expect(closed).toEqual([second, opened[2]])
})

import { get } from 'node:http'
import { describe, expect, test } from 'vitest'
import { type Bind, checkBind, listen } from '../../src/http/listen.ts'
import { RateLimit } from '../../src/http/rate-limit.ts'
import { Tickets } from '../../src/http/tickets.ts'

const bind: Bind = { host: '127.0.0.1', port: 0, tls: null, simulated: false, apiKeys: false }
const tls = { key: '', cert: '' }

describe('S22: closed by default', () => {
  test.for(['127.0.0.1', '127.9.9.9', '::1', 'localhost'])('%s needs no permission', (host) => {
    expect(() => checkBind({ ...bind, host, simulated: true })).not.toThrow()
  })

  test.for([
    ['without keys', { tls }, /--open/],
    ['without keys, but behind TLS', { behindTls: true }, /--open/],
    ['with keys and plain HTTP', { apiKeys: true }, /--behind-tls/],
    ['open, with plain HTTP', { open: true }, /--behind-tls/],
  ] as const)('a public bind %s is refused', ([, changes, message]) => {
    for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.org']) expect(() => checkBind({ ...bind, host, ...changes })).toThrow(message)
  })

  test.for([
    ['keys and TLS', { apiKeys: true, tls }],
    ['keys and TLS in front', { apiKeys: true, behindTls: true }],
    ['said to be open, with TLS', { open: true, tls }],
  ] as const)('%s is allowed', ([, changes]) => {
    expect(() => checkBind({ ...bind, host: '0.0.0.0', ...changes })).not.toThrow()
  })
})

test('S15: a simulated enclave binds no public address unless told so in so many words', () => {
  const open = { ...bind, host: '0.0.0.0', apiKeys: true, tls, simulated: true }
  expect(() => checkBind(open)).toThrow(/SIMULATED.*--i-know-this-is-simulated/)
  expect(() => checkBind({ ...open, knowsSimulated: true })).not.toThrow()
})

test('a port that is taken is port_unavailable', async () => {
  const first = await listen(bind, (_, response) => void response.end())
  await expect(listen({ ...bind, port: first.port }, () => undefined)).rejects.toMatchObject({ code: 'port_unavailable' })
  await first.close()
})

describe('S22: a service on loopback', () => {
  const answer = async (headers: { [name: string]: string }): Promise<number | undefined> => {
    const service = await listen(bind, (_, response) => void response.end('served'))
    try {
      const { promise, resolve, reject } = Promise.withResolvers<number | undefined>()
      get({ host: '127.0.0.1', port: service.port, headers }, (response) => {
        response.resume()
        resolve(response.statusCode)
      }).on('error', reject)
      return await promise
    } finally {
      await service.close()
    }
  }

  test.for(['127.0.0.1', 'localhost:8000', '[::1]:8000', '127.0.0.1:1'])('answers under the name %s', async (host) => {
    expect(await answer({ host })).toBe(200)
  })

  test.for(['attacker.example', 'localhost.attacker.example', '127.0.0.1.nip.io:8000', '10.0.0.1', 'a b'])(
    'not under the name %j, which may resolve to it',
    async (host) => {
      expect(await answer({ host })).toBe(421)
    },
  )

  test('nor to a page from elsewhere', async () => {
    expect(await answer({ origin: 'https://attacker.example' })).toBe(403)
    expect(await answer({ origin: 'null' })).toBe(403)
    expect(await answer({ origin: 'http://localhost:3000' })).toBe(200)
  })
})

describe('S22: admission tickets', () => {
  test('serve once, within a minute, and only if they were given', () => {
    let ms = 0
    const tickets = new Tickets(() => new Date(ms))
    const [first, late] = [tickets.give(), tickets.give()]
    expect([tickets.take('00'.repeat(16)), tickets.take(undefined), tickets.take(first), tickets.take(first)]).toEqual([false, false, true, false])
    ms = 60_000
    expect(tickets.take(late)).toBe(false)
  })

  test('are bounded in number', () => {
    const tickets = new Tickets(() => new Date(0))
    const given = Array.from({ length: 100 }, () => tickets.give())
    expect(given.filter((ticket) => tickets.take(ticket)).length).toBe(64)
  })
})

describe('rate limit', () => {
  test('S22: an IPv6 network has one bucket, whatever address its hosts take', () => {
    const limit = new RateLimit({ perSecond: 0.001, burst: 1, now: () => new Date(0) })
    expect(limit.take('2001:db8:1:2:3:4:5:6')).toBe(0)
    expect(limit.take('2001:db8:1:2::9')).toBeGreaterThan(0)
    expect(limit.take('2001:db8:1:3::9')).toBe(0)
    expect(limit.take('::ffff:10.0.0.1')).toBe(0)
    expect(limit.take('10.0.0.1')).toBeGreaterThan(0)
  })

  test('spends a burst, then refills by the second, for each address apart', () => {
    let seconds = 0
    const limit = new RateLimit({ perSecond: 2, burst: 3, now: () => new Date(seconds * 1000) })
    expect([1, 2, 3, 4].map(() => limit.take('a'))).toEqual([0, 0, 0, 1])
    expect(limit.take('b')).toBe(0)
    seconds = 0.5
    expect([limit.take('a'), limit.take('a')]).toEqual([0, 1])
    seconds = 1000
    expect([1, 2, 3, 4].map(() => limit.take('a'))).toEqual([0, 0, 0, 1])
  })

  test('a clock that goes back gives nothing away', () => {
    let seconds = 100
    const limit = new RateLimit({ perSecond: 1, burst: 1, now: () => new Date(seconds * 1000) })
    expect(limit.take('a')).toBe(0)
    seconds = 0
    expect(limit.take('a')).toBeGreaterThan(0)
  })

  test('remembers a bounded number of addresses', () => {
    const limit = new RateLimit({ perSecond: 0.001, burst: 1, now: () => new Date(0), maxAddresses: 2 })
    expect([limit.take('a'), limit.take('b'), limit.take('c')]).toEqual([0, 0, 0])
    expect(limit.take('c')).toBeGreaterThan(0)
    expect(limit.take('a')).toBe(0)
  })
})

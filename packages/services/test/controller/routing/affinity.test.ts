import { describe, expect, test } from 'vitest'
import { Affinity, prefixOf } from '../../../src/controller/routing/affinity.ts'
import { type Key, type Node, Rendezvous } from '../../../src/controller/routing/rendezvous.ts'
import { Router } from '../../../src/controller/routing/router.ts'
import { admittedWorker, wanted } from './worker.ts'

const say = (content: unknown): { messages: unknown[] } => ({ messages: [{ role: 'user', content }] })

describe('how a request begins', () => {
  test('is what the first characters of its messages say, in whatever form', () => {
    expect(
      prefixOf({
        messages: [
          { role: 'system', content: 'a' },
          { role: 'user', content: [{ type: 'text', text: 'b' }] },
        ],
      }),
    ).toBe('system\na\nuser\nb\n')
    expect(prefixOf({ prompt: 'a' })).toBe('a\n')
    expect(prefixOf({ instructions: 'a', input: 'b' })).toBe('a\nb\n')
    expect(prefixOf({})).toBe('')
  })

  test.each([
    ['a long prompt', { prompt: 'x'.repeat(8 << 20) }],
    ['a long message', say('x'.repeat(8 << 20))],
    ['many messages', { messages: Array.from({ length: 100_000 }, () => ({ role: '', content: '' })) }],
    ['many parts', say(Array.from({ length: 100_000 }, () => ({ text: '' })))],
    ['messages that are none', { messages: [null, 1, [], 'a', { role: 1, content: { text: 'a' } }, { content: [null, 1, { text: 1 }] }] }],
    ['messages that are no list', { messages: { length: 1e9 } }],
    ['a prompt of tokens', { prompt: Array.from({ length: 100_000 }, () => 1) }],
  ])('is read of %s within bounds', (_, body) => {
    expect(prefixOf(body).length).toBeLessThan(1100)
  })

  test('what comes after the first characters makes no difference', () => {
    const same = 'x'.repeat(1100)
    expect(prefixOf(say(`${same}a`))).toBe(prefixOf(say(`${same}b`)))
  })
})

describe('S22: where requests go cannot be worked out, nor steered by guessing', () => {
  test('S22: the key of a process is its own, and each tenant has its own places', () => {
    const affinity = new Affinity()
    const of = (tenant: string, from = affinity): Key | null => from.of(tenant, say('who are you?'))
    expect(of('a')).toEqual(of('a'))
    expect(of('a')).not.toEqual(of('b'))
    expect(of('a')).not.toEqual(of('a', new Affinity()))
    // Tenant and text are told apart.
    expect(affinity.of('a', { prompt: 'bc' })).not.toEqual(affinity.of('ab', { prompt: 'c' }))
    expect(affinity.of('a', {})).toBeNull()
  })

  test('S22: a tenant that sends what another sends is routed as by chance, not as the other', () => {
    const router = new Router({ now: () => new Date(0) })
    for (let i = 0; i < 16; i++) router.admitted(admittedWorker(`w${i}`, ['m']))
    const of = (tenant: string, prompt: string): string => {
      const lease = router.take(wanted('m', { salt: tenant, body: { prompt } }), [])
      if (typeof lease === 'string') throw new Error(lease)
      lease.end()
      return lease.worker.origin
    }
    const prompts = Array.from({ length: 400 }, (_, i) => `prompt ${i}`)
    expect(prompts.map((prompt) => of('a', prompt))).toEqual(prompts.map((prompt) => of('a', prompt)))
    const together = prompts.filter((prompt) => of('a', prompt) === of('b', prompt)).length
    // 25 in the mean, with a deviation of 5.
    expect(together).toBeLessThan(60)
  })
})

describe('rendezvous', () => {
  const random = (): number => Math.floor(Math.random() * 2 ** 32) | 0
  const nodes = (count: number): Node[] => Array.from({ length: count }, () => ({ hash: { high: random(), low: random() }, inGroup: -1 }))
  const keys: readonly Key[] = Array.from({ length: 4000 }, () => ({ high: random(), low: random() }))
  const chosenBy = (rendezvous: Rendezvous<Node>, fit: (node: Node) => boolean = () => true): (Node | null)[] =>
    keys.map((key) => rendezvous.best(key, fit)[0])

  test.each([1, 2, 10, 100, 1000])('of %d nodes each has its share, and a second one is another', (count) => {
    const rendezvous = new Rendezvous<Node>()
    const all = nodes(count)
    for (const node of all) rendezvous.add(node)
    const shares = new Map<Node | null, number>()
    for (const node of chosenBy(rendezvous)) shares.set(node, (shares.get(node) ?? 0) + 1)
    expect(shares.has(null)).toBe(false)
    const mean = keys.length / count
    expect(Math.max(...shares.values())).toBeLessThan(mean + 8 * Math.sqrt(mean) + 1)
    for (const key of keys.slice(0, 50)) {
      const [first, second] = rendezvous.best(key, () => true)
      expect(second === null || second !== first).toBe(true)
    }
  })

  test('a node that goes moves its own keys and few others, and they come back with it', () => {
    const rendezvous = new Rendezvous<Node>()
    const all = nodes(50)
    for (const node of all) rendezvous.add(node)
    const before = chosenBy(rendezvous)
    const [gone] = all
    if (gone === undefined) throw new Error('a node')
    rendezvous.remove(gone)
    rendezvous.remove(gone)
    const without = chosenBy(rendezvous)
    expect(without).not.toContain(gone)
    const moved = before.filter((node, i) => node !== gone && node !== without[i]).length
    expect(moved).toBeLessThan(keys.length / 10)
    rendezvous.add(gone)
    expect(chosenBy(rendezvous)).toEqual(before)
  })

  test('one that is not fit is left out without being taken away', () => {
    const rendezvous = new Rendezvous<Node>()
    const [one] = nodes(1)
    if (one === undefined) throw new Error('a node')
    rendezvous.add(one)
    expect(rendezvous.best({ high: 1, low: 2 }, () => false)).toEqual([null, null])
  })
})

test('requests that begin alike stay together until their worker has more than its share, and then go to one other before they go anywhere', () => {
  const router = new Router({ now: () => new Date(0) })
  for (let i = 0; i < 8; i++) router.admitted(admittedWorker(`w${i}`, ['m']))
  const leases = Array.from({ length: 40 }, () => router.take(wanted('m', { body: { prompt: 'the same' } }), []))
  const counts = new Map<string, number>()
  for (const lease of leases) {
    if (typeof lease === 'string') throw new Error(lease)
    counts.set(lease.worker.origin, (counts.get(lease.worker.origin) ?? 0) + 1)
  }
  const { affinity, affinity_second: second, two_choices: others } = router.figures.counts.chosen
  expect(affinity).toBeGreaterThan(4)
  expect(second).toBeGreaterThan(4)
  expect(others).toBeGreaterThan(10)
  // 1 and a quarter more than the mean of 5.
  expect(Math.max(...counts.values())).toBeLessThanOrEqual(9)
})

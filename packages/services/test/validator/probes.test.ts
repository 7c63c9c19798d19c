import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { templates } from '../../src/validator/probes/corpus.ts'
import { bitsOf, planProbes, probeBody, readTemplates } from '../../src/validator/probes/probe.ts'

const seedOf = (text: string): Uint8Array => new Uint8Array(createHash('sha256').update(text).digest())
const plan = { count: 400, seconds: 800, maxTokens: 64, maxPrompt: 2000, clients: 40, encrypted: { controller: 0.2, worker: 0.3 } }

test.for(templates)('S20: at least 64 bits of the seed are in a prompt made from "%s"', (template) => {
  expect(bitsOf(template)).toBeGreaterThanOrEqual(64)
})

test('S20: the same seed gives the same probes, another seed shares none of its prompts', () => {
  const probes = planProbes({ ...plan, seed: seedOf('a') })
  expect(planProbes({ ...plan, seed: seedOf('a') })).toEqual(probes)
  const other = new Set(planProbes({ ...plan, seed: seedOf('b') }).map(({ messages }) => JSON.stringify(messages)))
  expect(probes.some(({ messages }) => other.has(JSON.stringify(messages)))).toBe(false)
  expect(new Set(probes.map(({ messages }) => JSON.stringify(messages))).size).toBe(plan.count)
})

test('S20: a body says what common clients say, and nothing of sessions, seeds or proofs', () => {
  for (const probe of planProbes({ ...plan, seed: seedOf('c') })) {
    const body = JSON.parse(new TextDecoder().decode(probeBody('m', probe.program, probe))) as Record<string, unknown>
    for (const name of Object.keys(body))
      expect(['model', 'messages', 'stream', 'stream_options', 'temperature', 'top_p', 'max_tokens']).toContain(name)
    expect(body.max_tokens).toBeGreaterThan(0)
  }
})

test('all requests fall in the time there is, in the order of their numbers, in sittings of one client and between them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (seed) => {
      const probes = planProbes({ ...plan, seed })
      expect(probes.map(({ index }) => index)).toEqual(probes.map((_, i) => i))
      const times = probes.map(({ after }) => after)
      expect(times.every((time, i) => time >= (times[i - 1] ?? 0) && time <= plan.seconds)).toBe(true)
      // Each half of the time has its part: 400 in sittings of some two or three are at least a hundred sittings.
      const early = times.filter((time) => time < plan.seconds / 2).length
      expect(Math.abs(early - 200)).toBeLessThan(120)
    }),
    { numRuns: 30 },
  )
})

test('lengths vary as those of people do, within the bound', () => {
  const lengths = planProbes({ ...plan, seed: seedOf('d') }).map(({ messages }) => messages.at(-1)?.content.length ?? 0)
  expect(Math.max(...lengths)).toBeLessThanOrEqual(plan.maxPrompt)
  expect(lengths.filter((length) => length < 200).length).toBeGreaterThan(100)
  expect(lengths.filter((length) => length > 400).length).toBeGreaterThan(30)
})

test('S20: each client encrypts its bodies in one way, and the parts of the clients are those asked for', () => {
  const ways = new Map<number, string>()
  for (const { account, encryptTo } of planProbes({ ...plan, count: 4000, clients: 1000, seed: seedOf('e') })) {
    expect(account).toBeLessThan(1000)
    expect(ways.get(account) ?? encryptTo).toBe(encryptTo)
    ways.set(account, encryptTo)
  }
  const part = (way: string): number => [...ways.values()].filter((one) => one === way).length / ways.size
  expect(Math.abs(part('controller') - 0.2)).toBeLessThan(0.08)
  expect(Math.abs(part('worker') - 0.3)).toBeLessThan(0.08)
  const all = planProbes({ ...plan, encrypted: { controller: 0, worker: 1 }, seed: seedOf('f') })
  expect(new Set(all.map(({ encryptTo }) => encryptTo))).toEqual(new Set(['worker']))
})

test('S20: a validator brings templates of its own, each with 64 bits of the seed in it', () => {
  const own = [
    '{first} {last} wrote on {date}:\\n"{good}, {order}, {amount}". From {city}?',
    'Is {order} of {date} for {first} {last} in {city} ({good}, {amount}) paid?',
  ]
  const read = readTemplates(`${own.join('\n')}\n\n`)
  expect(read[0]).toContain(':\n"')
  const texts = planProbes({ ...plan, templates: read, seed: seedOf('g') }).map(({ messages }) => messages.at(-1)?.content ?? '')
  expect(texts.every((text) => / wrote on |Is \d{7} of /.test(text))).toBe(true)
  for (const text of ['', 'How much is two and two?', '{first} {last}', `${own[0]} {nothing}`]) expect(() => readTemplates(text)).toThrow(/template/)
})

import { createHash } from 'node:crypto'
import fc from 'fast-check'
import type { AuditView } from 'veritee/log'
import { describe, expect, test } from 'vitest'
import type { Audited } from '../../src/validator/audit/audit.ts'
import { goneOn, inConversation } from '../../src/validator/probes/conversation.ts'
import { templates } from '../../src/validator/probes/corpus.ts'
import { Draws } from '../../src/validator/probes/draws.ts'
import { Phrases } from '../../src/validator/probes/phrases.ts'
import { bitsOfSeed, type Probe, planProbes, probeBody } from '../../src/validator/probes/probe.ts'
import { bitsOf, readTemplates } from '../../src/validator/probes/templates.ts'
import { readTraffic } from '../../src/validator/probes/traffic.ts'
import { glimpsesOf, usualTraffic } from '../../src/validator/probes/usual.ts'

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

test('S20: a body says what common clients say over the library, and nothing of sessions or proofs', () => {
  for (const probe of planProbes({ ...plan, seed: seedOf('c') })) {
    const body = JSON.parse(new TextDecoder().decode(probeBody('m', probe.program, probe))) as Record<string, unknown>
    for (const name of Object.keys(body))
      expect(['seed', 'model', 'messages', 'stream', 'stream_options', 'temperature', 'top_p', 'max_tokens']).toContain(name)
    // As the library puts it there for everybody.
    expect(Object.keys(body)[0]).toBe('seed')
    // Many leave it out; who gives one gives one that fits.
    if (body.max_tokens !== undefined) expect(Math.abs(Number(body.max_tokens) - plan.maxTokens / 2)).toBeLessThanOrEqual(plan.maxTokens / 2)
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

const recording = (lines: readonly unknown[]): string => lines.map((line) => JSON.stringify(line)).join('\n')
const chat = (account: string, at: number, messages: readonly object[], rest: object = {}): object => ({
  account,
  at,
  program: 'script',
  body: { messages, model: 'theirs', ...rest },
})
const user = (content: string): object => ({ role: 'user', content })
const assistant = (content: string): object => ({ role: 'assistant', content })

describe('S20: after a recording', () => {
  const question = 'Could you tell me how the garden behind the old house was kept in the year 1871?'
  const other = 'Do you know how the orchard behind the old mill was kept in the year 1904 by them?'
  const lines = [
    chat('a', 100, [{ role: 'system', content: 'Be kind.' }, user(question)], { max_tokens: 77, stop: '\n' }),
    chat('a', 130, [{ role: 'system', content: 'Be kind.' }, user(question), assistant('By hand.'), user('why?')], { max_tokens: 77, stop: '\n' }),
    chat('b', 9000, [user(other)], { seed: 5 }),
    chat('b', 20_000, [user(question)], { seed: 5 }),
  ]
  const traffic = readTraffic(recording(lines))

  test('an account has its sittings, what each request begins with, and conversations with as many messages as came along', () => {
    expect(traffic.habits.map(({ sittings }) => sittings.map((sitting) => sitting.map(({ after, kept }) => [after, kept])))).toEqual([
      [
        [
          [0, 0],
          [30, 2],
        ],
      ],
      [[[0, 0]], [[0, 0]]],
    ])
    expect(traffic.habits[0]?.sittings[0]?.[1]?.before).toEqual([{ role: 'system', content: 'Be kind.' }])
  })

  test('S20: a sampled probe has a recorded text as it is, and the 64 bits in its seed; one that names a seed, or is greedy, has them in its text', () => {
    const texts = new Set([question, other])
    const saidIn = (changes: object, name: string): readonly Probe[] => {
      const changed = lines.map((line) => ({ ...line, body: { ...(line as { body: object }).body, ...changes } }))
      return planProbes({ ...plan, seed: seedOf(name), traffic: readTraffic(recording(changed)), count: 40 })
    }
    const isRecorded = ({ messages }: Probe): boolean => texts.has(messages.at(-1)?.content ?? '')
    const sampled = saidIn({ seed: undefined, temperature: 0.7 }, 'l')
    expect(sampled.every(isRecorded)).toBe(true)
    expect(sampled.every(({ options }) => bitsOfSeed({ options }) === 64)).toBe(true)
    expect(new Set(sampled.map(({ seed }) => seed)).size).toBe(40)
    // Twice the same text is not twice the same request, nor what another seed of the epoch asks.
    const bodies = (probes: readonly Probe[]) => probes.map((probe) => new TextDecoder().decode(probeBody('m', probe.program, probe)))
    expect(new Set([...bodies(sampled), ...bodies(saidIn({ seed: undefined, temperature: 0.7 }, 'm'))]).size).toBe(80)
    for (const changes of [{ seed: undefined, temperature: 0 }, { seed: 5 }, { seed: undefined, top_k: 1 }]) {
      const varied = saidIn(changes, 'n')
      expect(varied.some(isRecorded)).toBe(false)
      expect(varied.every(({ seed }) => (seed === null) === Object.hasOwn(changes, 'seed') || changes.seed === undefined)).toBe(true)
    }
  })

  test('S20: what the library drew for those who were recorded is not taken for a seed that they named', () => {
    const drawn = lines.map((line) => ({ ...line, body: { seed: -7_046_029_254_386_353_000, ...(line as { body: object }).body } }))
    const { habits } = readTraffic(recording(drawn.slice(0, 2)))
    expect(habits.flatMap(({ sittings }) => sittings.flat()).some(({ options, order }) => 'seed' in options || order?.includes('seed'))).toBe(false)
    const named = readTraffic(recording([{ ...drawn[0], body: { seed: 42, messages: [user(question)], model: 'theirs' } }]))
    expect(named.habits[0]?.sittings[0]?.[0]).toMatchObject({ options: { seed: 42 }, order: ['seed', 'messages', 'model'] })
  })

  test('S20: no sitting comes twice before all have come, and in the epochs of an account each sitting has its place', () => {
    const accounts = Array.from({ length: 30 }, (_, i) => `account ${i}`)
    const many = accounts.flatMap((account, i) =>
      Array.from({ length: 4 }, (_, k) => chat(account, 10_000 * k, [user(`question ${k} of ${i}, which nobody else asks`)])),
    )
    const large = readTraffic(recording(many))
    const persons = { secret: seedOf('secret'), names: accounts }
    const textsOf = (index: number, count: number) =>
      planProbes({ ...plan, seed: seedOf(`part ${index}`), traffic: large, clients: 30, count, persons, part: { index, of: 4 } }).map(
        ({ account, messages }) => `${account} ${messages.at(-1)?.content}`,
      )
    const all = planProbes({ ...plan, seed: seedOf('o'), traffic: large, clients: 30, count: 120, persons })
    expect(new Set(all.map(({ account, messages }) => `${account} ${messages.at(-1)?.content}`)).size).toBe(120)
    // Some 30 sittings belong to each of the four; 15 of them surely do.
    const parts = [0, 1, 2, 3].flatMap((index) => textsOf(index, 15))
    expect(new Set(parts).size).toBe(60)
  })

  test('probes have its members in their order, pauses and conversations, and 64 bits of the seed each', () => {
    const probes = planProbes({ ...plan, seed: seedOf('h'), traffic, count: 60 })
    const followers = probes.filter(({ follows }) => follows !== null)
    expect(followers.length).toBeGreaterThan(0)
    for (const { follows, after } of followers) {
      expect(follows?.said).toBe('why?')
      expect(after - (probes[follows?.index ?? 0]?.after ?? 0)).toBeCloseTo(30)
      expect(probes[follows?.index ?? 0]?.isFollowed).toBe(true)
    }
    for (const probe of probes) {
      const body = JSON.parse(new TextDecoder().decode(probeBody('m', probe.program, probe))) as Record<string, unknown>
      expect([
        ['seed', 'messages', 'model', 'max_tokens', 'stop'],
        ['messages', 'model', 'seed'],
      ]).toContainEqual(Object.keys(body))
      expect(body.model).toBe('m')
    }
    const texts = probes.map(({ messages }) => messages.at(-1)?.content ?? '')
    expect(new Set(probes.map((probe) => new TextDecoder().decode(probeBody('m', probe.program, probe)))).size).toBe(60)
    // By itself each is a question, also one that goes on with another.
    expect(texts.every((text) => text.length > 40)).toBe(true)
  })

  test('what goes on takes the answer of the network along, and is a question by itself where there is none', () => {
    const probes = planProbes({ ...plan, seed: seedOf('i'), traffic, count: 60 })
    const probe = probes.find(({ follows }) => follows !== null) as Probe
    const before = probes[probe.follows?.index ?? 0] as Probe
    const request = new TextDecoder().decode(probeBody('m', before.program, before))
    const response = JSON.stringify({ choices: [{ index: 0, message: { role: 'assistant', content: 'With a scythe.' }, finish_reason: 'stop' }] })
    const earlier = { request, response, contentType: 'application/json' }
    expect(goneOn(probe, earlier).messages).toEqual([
      ...before.messages,
      { role: 'assistant', content: 'With a scythe.' },
      { role: 'user', content: 'why?' },
    ])
    expect(goneOn(probe, null)).toEqual(probe)
    expect(goneOn(probe, { ...earlier, response: '{"error":{}}' })).toEqual(probe)
    const long = response.replace('With a scythe.', 'x'.repeat(plan.maxPrompt))
    expect(goneOn(probe, { ...earlier, response: long })).toEqual(probe)
    // Tokens of a rare character may be as many as its bytes.
    const rare = response.replace('With a scythe.', '\u4e00'.repeat(plan.maxPrompt / 2))
    expect(goneOn(probe, { ...earlier, response: rare })).toEqual(probe)
    const { follows } = probe
    const pair = { ...earlier, response: response.replace('With a scythe.', 'ab\u{1f5a5}cd') }
    const contentAt = (cut: number) => goneOn({ ...probe, follows: follows === null ? null : { ...follows, cut } }, pair).messages.at(-2)?.content
    expect([2, 3, 4, 5].map(contentAt)).toEqual(['ab', 'ab', 'ab\u{1f5a5}', 'ab\u{1f5a5}c'])
  })

  test('an audit of what goes on has the conversation that was kept; after a probe without an answer it has none', async () => {
    const probes = planProbes({ ...plan, seed: seedOf('k'), traffic, count: 60 })
    const [first, second] = probes.filter(({ follows }) => follows !== null)
    const kept = new Map<string, string>()
    const store = {
      fact: async (epoch: number, name: string) => kept.get(`${epoch} ${name}`) ?? null,
      keep: async (epoch: number, name: string, text: string) => {
        kept.set(`${epoch} ${name}`, kept.get(`${epoch} ${name}`) ?? text)
        return text
      },
    }
    const sent: Probe[] = []
    const silent = second?.follows?.index
    const audit = inConversation(store, 6, async (probe) => {
      sent.push(probe)
      const choices = [{ index: 0, message: { role: 'assistant', content: `Answer ${probe.index}.` }, finish_reason: 'stop' }]
      const request = new TextDecoder().decode(probeBody('m', probe.program, probe))
      const response = probe.index === silent ? '' : JSON.stringify({ choices })
      return { evidence: { request, response, contentType: 'application/json' } } as Audited
    })
    for (const probe of probes) await audit(probe)
    const texts = (index: number | undefined) => sent.find((probe) => probe.index === index)?.messages.map(({ content }) => content)
    expect(texts(first?.index)?.at(-1)).toBe('why?')
    expect(texts(first?.index)?.at(-2)).toBe(`Answer ${first?.follows?.index}.`)
    expect(texts(second?.index)).toEqual(second?.messages.map(({ content }) => content))
    expect(texts(second?.index)).not.toContain('why?')
  })

  test('what is no recording is refused, by its line and without a word of it', () => {
    for (const [text, line] of [
      ['{', 1],
      [recording([lines[0], { ...(lines[1] as object), program: 'mine' }]), 2],
      [recording([{ ...(lines[0] as object), at: 'now' }]), 1],
      [recording([{ ...(lines[0] as object), account: 7 }]), 1],
      [recording([{ ...(lines[0] as object), body: [] }]), 1],
    ] as const)
      expect(() => readTraffic(text)).toThrow(new RegExp(`line ${line}`))
    const image = chat('c', 1, [{ role: 'user', content: [{ type: 'image_url' }] }])
    expect(() => readTraffic(recording([image]))).toThrow(/a request at least/)
    expect(readTraffic(recording([image, lines[0]])).habits).toHaveLength(1)
  })
})

test('S20: however a text is varied, the bits that were asked for are in it, and other draws give other texts', () => {
  const phrases = new Phrases([
    'Is the red door open at 12?',
    'Is the old door shut at 9?',
    'the big red barn. It is old. It is tall. It is 3 years old.',
  ])
  fc.assert(
    fc.property(
      fc.string({ maxLength: 300 }),
      fc.integer({ min: 1, max: 64 }),
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      (text, bits, seed) => {
        const varied = phrases.vary(text, bits, new Draws(seed, 'a'))
        expect(varied.bits).toBeGreaterThanOrEqual(bits)
        expect(phrases.vary(text, bits, new Draws(seed, 'a'))).toEqual(varied)
        if (bits > 40) expect(phrases.vary(text, bits, new Draws(seed, 'b')).text).not.toBe(varied.text)
      },
    ),
    { numRuns: 200, seed: 20 },
  )
})

test('S20: sampling parameters are those of the views, the more the more views there are; lengths too', () => {
  const parameters = { temperature: '0.35', top_p: '1', frequency_penalty: '0', presence_penalty: '0', seed_source: 'client' }
  const part = (views: number): number => {
    const glimpses = Array.from({ length: views }, () => ({ parameters, prompt: 512 }))
    const { habits } = usualTraffic(new Draws(seedOf('j'), 'views'), glimpses)
    const like = habits.filter(({ sittings }) => sittings[0]?.[0]?.options.temperature === 0.35)
    for (const { sittings } of like) {
      const [first] = sittings[0] ?? []
      expect(first?.options.seed).toBeUndefined()
      expect(Number(first?.said)).toBeGreaterThan(256 * 3)
      expect(Number(first?.said)).toBeLessThanOrEqual(512 * 4)
    }
    return like.length / habits.length
  }
  expect(part(0)).toBe(0)
  expect(part(32)).toBeGreaterThan(0.3)
  expect(part(3200)).toBeGreaterThan(0.9)
})

test('S20: parameters that a worker puts into its views alone are nothing to shape probes after, nor are its digits', () => {
  const view = (keyset: string, temperature: string): AuditView =>
    ({
      parameters: { temperature, top_p: '1', seed_source: 'enclave', top_k: 40 },
      tokens: { prompt: 64, completion: 8 },
      engine: {},
      upstream: null,
      workload_keyset_digest: keyset,
    }) as unknown as AuditView
  const own = Array.from({ length: 500 }, () => view('x', '1.3'))
  const others = ['a', 'b', 'c'].map((keyset, i) => view(keyset, `0.7${i}1`))
  expect(glimpsesOf([...own, ...others])).toEqual(Array.from({ length: 3 }, () => ({ parameters: { temperature: '0.7', top_p: '1' }, prompt: 64 })))
})

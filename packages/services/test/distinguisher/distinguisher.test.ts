import { expect, test } from 'vitest'
import { tell } from '../../../../bench/distinguisher/classify.ts'
import { featuresOf, groups, type Sighting } from '../../../../bench/distinguisher/exchange.ts'
import { againstTrace, distinguish } from '../../../../bench/distinguisher/main.ts'
import { sight } from '../../../../bench/distinguisher/sight.ts'
import { upperBound } from '../../src/replay/calibrate.ts'

/** Questions of two kinds of accounts, which differ in nothing but what `sign` puts into those of one kind. */
function imagined(sign: (isProbe: boolean, i: number) => { readonly header?: string; readonly word?: string }): readonly Sighting[] {
  return Array.from({ length: 400 }, (_, i): Sighting => {
    const account = `a${i % 20}`
    const isProbe = (i % 20) % 2 === 0
    const { header = 'Accept', word = 'tea' } = sign(isProbe, i)
    // A sequence that has nothing to do with the kind.
    const drawn = Math.imul(i + 1, 2654435761) >>> 0
    return {
      account,
      isProbe,
      at: i * 30,
      age: drawn % 50,
      question: {
        at: i * 30,
        method: 'POST',
        path: '/v1/chat/completions',
        headers: [[header, 'x']],
        bodyLength: drawn % 900,
        socket: i % 20,
        before: i,
        ms: 0,
        answerLength: 100,
      },
      also: [],
      body: { model: 'm', messages: [{ role: 'user', content: `${word} ${'milk '.repeat(1 + (drawn % 7))}` }] },
      order: 'model messages',
    }
  })
}

const all = (sightings: readonly Sighting[], words: boolean): number =>
  tell(sightings, featuresOf(sightings), { only: groups, words, upperBound }).accuracy

test('S20: what differs between probes and others is found: a header, a word', () => {
  expect(
    all(
      imagined((isProbe) => ({ header: isProbe ? 'accept' : 'Accept' })),
      false,
    ),
  ).toBeGreaterThan(0.95)
  // One question in two shows it; the others are guessed.
  expect(
    all(
      imagined((isProbe, i) => ({ word: isProbe && Math.floor(i / 20) % 2 === 0 ? 'coffee' : 'tea' })),
      true,
    ),
  ).toBeGreaterThan(0.65)
  expect(
    all(
      imagined((isProbe) => ({ word: isProbe ? 'coffee' : 'tea' })),
      true,
    ),
  ).toBeGreaterThan(0.95)
})

test('S20: where nothing differs, nothing is found', () => {
  expect(
    Math.abs(
      all(
        imagined(() => ({})),
        true,
      ) - 0.5,
    ),
  ).toBeLessThan(0.12)
})

test('S20: by lengths alone, probes are told from a trace of another length', () => {
  const trace = (length: (i: number) => number): string =>
    `TIMESTAMP,ContextTokens,GeneratedTokens\n${Array.from({ length: 600 }, (_, i) => `t,${length(i)},9`).join('\n')}\n`
  expect(
    againstTrace(
      trace((i) => 5000 + i),
      1,
    ).accuracy,
  ).toBeGreaterThan(0.99)
})

test('S20: over a real controller, probes ask for nothing that users of the same library do not ask for, and the distinguisher reports on each group', {
  timeout: 300_000,
}, async () => {
  const sightings = await sight({ seed: 3, epochs: 2, probes: 12, accounts: 3, seconds: 600, users: 8, questions: 24 }, () => undefined)
  const kinds = (isProbe: boolean): Set<string> =>
    new Set(
      sightings
        .filter((one) => one.isProbe === isProbe)
        .flatMap(({ also }) => also.map(({ method, path }) => `${method} ${path.replace(/[\w-]{16,}/g, 'ID').replace(/\?.*/, '')}`)),
    )
  expect(sightings.filter(({ isProbe }) => isProbe).length).toBe(24)
  for (const kind of kinds(true)) expect(kinds(false)).toContain(kind)
  const found = distinguish(sightings)
  expect(found.map(({ name }) => name)).toEqual([
    ...groups.map((group) => `${group} alone`),
    'words alone',
    'all but account and text',
    'all but the words',
    'everything',
  ])
  for (const { told } of found) expect(told.upper).toBeGreaterThanOrEqual(told.accuracy)
})

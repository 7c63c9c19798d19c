import { expect, test } from 'vitest'
import { boundOf, tell } from '../../../../bench/distinguisher/classify.ts'
import { type Features, featuresOf, groups, type Place, type Sighting } from '../../../../bench/distinguisher/exchange.ts'
import { fingerprints } from '../../../../bench/distinguisher/fingerprint.ts'
import { imagine } from '../../../../bench/distinguisher/imagined.ts'
import { againstTrace, distinguish } from '../../../../bench/distinguisher/main.ts'
import { idleSeconds } from '../../../../bench/distinguisher/observe.ts'
import { plannedFor, type Scene, type Shape } from '../../../../bench/distinguisher/scene.ts'
import { sight } from '../../../../bench/distinguisher/sight.ts'

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
      isHistory: false,
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
      behind: null,
      body: { model: 'm', messages: [{ role: 'user', content: `${word} ${'milk '.repeat(1 + (drawn % 7))}` }] },
      order: 'model messages',
    }
  })
}

const all = (sightings: readonly Sighting[], words: boolean): number =>
  boundOf(tell(sightings, featuresOf(sightings), { only: groups, words }).told).accuracy

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

test('S20: a worker sees no account and no client; with tokens, what belongs together is told by the connection', () => {
  const [one, other] = imagined(() => ({})).filter((_, i) => i % 20 === 0) as [Sighting, Sighting]
  const question = { ...one.question, headers: [['te', 'trailers'] as const], socket: 900, before: 5 }
  const behind = { question, also: [{ ...question, method: 'GET', path: '/v1/aci/receipts/rcpt-1' }] }
  // Of the same account, once on the same connection and once on another.
  const again = { ...other, account: one.account, question: { ...other.question, socket: one.question.socket } }
  const elsewhere = { ...again, at: again.at + 5, question: { ...again.question, socket: 77 } }
  const all = [one, again, elsewhere].map((sighting) => ({ ...sighting, behind }))
  const at = (place: Place): readonly Features[] => featuresOf(all, 3600, place)
  const before = (place: Place): readonly (number | undefined)[] => at(place).map((found) => found.get('account: questions before'))
  expect(before('controller')).toEqual([0, Math.log1p(1), Math.log1p(2)])
  expect(before('tokens')).toEqual([0, Math.log1p(1), 0])
  expect(before('worker')).toEqual([undefined, undefined, undefined])
  for (const found of at('worker')) {
    expect(found.get('times: since the account asked')).toBe(-1)
    expect([...found.keys()].filter((name) => name.startsWith('wire: headers'))).toEqual(['wire: headers te'])
    expect(found.get('wire: requests on the connection before')).toBe(5)
    expect(found.get('fetches: number')).toBe(1)
  }
})

test('S20: a bound over accounts is wider than one over questions that say the same', () => {
  const told = (accounts: number) => Array.from({ length: 400 }, (_, i) => ({ account: String(i % accounts), isRight: (i % accounts) % 2 === 0 }))
  expect(boundOf(told(400))).toMatchObject({ questions: 400, accounts: 400, accuracy: 0.5 })
  expect(boundOf(told(400)).upper).toBeLessThan(0.55)
  expect(boundOf(told(20)).upper).toBeGreaterThan(0.65)
})

test('S20: by lengths alone, probes are told from a trace whose lengths views do not show, and not where they show them', () => {
  const trace = (length: (i: number) => number): string =>
    `TIMESTAMP,ContextTokens,GeneratedTokens\n${Array.from({ length: 1200 }, (_, i) => `t,${length(i)},9`).join('\n')}\n`
  // All at the end of a bucket: within it, a view says nothing.
  expect(
    againstTrace(
      trace(() => 4096),
      1,
    ).accuracy,
  ).toBeGreaterThan(0.9)
  // As likely anywhere in it: as probes are.
  const spread = trace((i) => Math.round(512 * 2 ** (((Math.imul(i + 1, 2654435761) >>> 0) % 997) / 997)))
  expect(againstTrace(spread, 1).accuracy).toBeLessThan(0.7)
})

test('S20: probes after a recording of other users are told less by times, parameters and sizes than those after nothing', {
  timeout: 300_000,
}, async () => {
  const of = async (shape: Shape): Promise<(name: string) => number> => {
    const plan = { seed: 5, epochs: 4, probes: 80, accounts: 80, warm: 3, seconds: 14_400, users: 80, questions: 320, shape, recorded: 2 }
    const looks = distinguish([await imagine(await plannedFor(plan))], plan.seconds)
    return (name) => looks.find((look) => look.name === `${name} alone`)?.told.accuracy ?? Number.NaN
  }
  const [nothing, recording] = [await of('nothing'), await of('recording')]
  expect(recording('times')).toBeLessThan(0.62)
  expect(recording('parameters')).toBeLessThan(0.62)
  expect(recording('sizes')).toBeLessThan(nothing('sizes') - 0.1)
})

test('S20: accounts as old as those of a recording are not told by their age, those of one age are', { timeout: 300_000 }, async () => {
  const plan = {
    seed: 6,
    epochs: 4,
    probes: 80,
    accounts: 80,
    warm: 9,
    seconds: 14_400,
    users: 80,
    questions: 320,
    shape: 'recording' as const,
    recorded: 2,
  }
  const of = async (changes: Partial<Scene>): Promise<{ readonly accuracy: number; readonly ages: ReadonlySet<number> }> => {
    const planned = await plannedFor({ ...plan, ...changes })
    const looks = distinguish([await imagine(planned)], plan.seconds)
    const ages = new Set(planned.probes.filter(({ name }) => name.startsWith('3 ')).map(({ age }) => age))
    return { accuracy: looks.find(({ name }) => name === 'account alone')?.told.accuracy ?? Number.NaN, ages }
  }
  const [alike, asRecorded] = [await of({}), await of({ warm: 1095, ages: true })]
  expect(alike.ages.size).toBe(1)
  expect(alike.accuracy).toBeGreaterThan(0.9)
  expect(asRecorded.ages.size).toBeGreaterThan(10)
  expect(asRecorded.accuracy).toBeLessThan(0.65)
})

test('S20: the first message of a TLS connection is that of any user of the library, and not of other clients', { timeout: 300_000 }, async () => {
  const found = new Map((await fingerprints()).map(({ name, tls }) => [name, tls]))
  expect(found.get('a probe')).toBe(found.get('a user of the library'))
  expect(found.get('a probe')).toBe(found.get('a user of the library, sealed'))
  expect(found.get('a probe')).not.toBe(found.get('fetch of Node'))
})

test('S20: over a real controller, probes ask for nothing that users of the same library do not ask for, and the distinguisher reports on each group', {
  timeout: 300_000,
}, async () => {
  const sightings = await sight(
    { seed: 3, epochs: 2, probes: 12, accounts: 3, warm: 0, seconds: 600, users: 8, questions: 24, shape: 'nothing', recorded: 2 },
    () => undefined,
  )
  const kinds = (isProbe: boolean): Set<string> =>
    new Set(
      sightings
        .filter((one) => one.isProbe === isProbe)
        .flatMap(({ also }) => also.map(({ method, path }) => `${method} ${path.replace(/[\w-]{16,}/g, 'ID').replace(/\?.*/, '')}`)),
    )
  expect(sightings.filter(({ isProbe }) => isProbe).length).toBe(24)
  // A connection ends where the planned pause is longer than it is kept, for both alike.
  const last = new Map<string, Sighting>()
  let ended = 0
  for (const one of sightings) {
    const before = last.get(one.account)
    last.set(one.account, one)
    if (before === undefined || one.at - before.at <= idleSeconds) continue
    ended++
    const sockets = new Set([before.question, ...before.also].map(({ socket }) => socket))
    for (const { socket } of [one.question, ...one.also]) expect(sockets.has(socket)).toBe(false)
  }
  expect(ended).toBeGreaterThan(3)
  for (const { behind } of sightings) expect(behind?.question?.path).toBe('/v1/chat/completions')
  for (const kind of kinds(true)) expect(kinds(false)).toContain(kind)
  const found = distinguish([sightings])
  expect(found.map(({ name }) => name)).toEqual([
    ...groups.map((group) => `${group} alone`),
    'words alone',
    'text, words, parameters and sizes',
    ...['sampled', 'greedy or with a seed'].flatMap((of) =>
      ['text alone', 'words alone', 'text, words, parameters and sizes', 'everything'].map((by) => `${by}, ${of}`),
    ),
    'all but account and text',
    'all but the words',
    'everything',
  ])
  // So few that none of them may be greedy.
  for (const { told } of found) if (told.questions > 0) expect(told.upper).toBeGreaterThanOrEqual(told.accuracy)
})

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { planProbes } from '../../packages/services/src/validator/probes/probe.ts'
import { readTemplates } from '../../packages/services/src/validator/probes/templates.ts'
import { boundOf, learn, type Told, tell } from './classify.ts'
import { type Features, featuresOf, type Group, groups, type Place, places, type Sighting } from './exchange.ts'
import { fingerprints } from './fingerprint.ts'
import { imagine } from './imagined.ts'
import { plannedFor, type Scene } from './scene.ts'
import { sight } from './sight.ts'
import { againstTexts } from './texts.ts'

/** By what a question may be told: each group of features alone, then together. */
export interface Distinguished {
  readonly name: string
  readonly told: Told
}

/** Whose answer the library's seed does not change: by what the body says, as everybody can see. */
function isGreedy({ body: { temperature, top_k: topK, seed } }: Sighting): boolean {
  return temperature === 0 || topK === 1 || Math.abs(Number(seed)) < 2 ** 32
}

/** What each look from one place tells at the sightings of some scenes, each learned from and judged by itself. */
export function distinguish(scenes: readonly (readonly Sighting[])[], epochSeconds = 3600, place: Place = 'controller'): readonly Distinguished[] {
  const features = scenes.map((sightings) => featuresOf(sightings, epochSeconds, place))
  const look = (name: string, only: readonly Group[], words: boolean, of: (one: Sighting) => boolean = () => true): Distinguished => {
    const answers = scenes.map((sightings, i) => {
      const chosen = sightings.flatMap((one, at) => (of(one) ? [at] : []))
      const [some, theirs] = [chosen.map((at) => sightings[at] as Sighting), chosen.map((at) => features[i]?.[at] as Features)]
      return tell(some, theirs, { only, words })
    })
    const told = answers.flatMap(({ told: ofOne }, i) => ofOne.map((one) => ({ ...one, account: `${i} ${one.account}` })))
    return { name, told: { ...boundOf(told), by: answers[0]?.by ?? [] } }
  }
  const byText = (name: string, of: (one: Sighting) => boolean): readonly Distinguished[] => [
    look(`text alone, ${name}`, ['text'], false, of),
    look(`words alone, ${name}`, [], true, of),
    look(`text, words, parameters and sizes, ${name}`, ['text', 'parameters', 'sizes'], true, of),
    look(`everything, ${name}`, groups, true, of),
  ]
  const behaviour = groups.filter((group) => group !== 'text' && group !== 'account')
  return [
    ...groups.map((group) => look(`${group} alone`, [group], false)),
    look('words alone', [], true),
    look('text, words, parameters and sizes', ['text', 'parameters', 'sizes'], true),
    ...byText('sampled', (one) => !isGreedy(one)),
    ...byText('greedy or with a seed', isGreedy),
    look('all but account and text', behaviour, false),
    look('all but the words', groups, false),
    look('everything', groups, true),
  ]
}

/**
 * Probes against a recorded trace, of which there is nothing but the length of each prompt in tokens (columns `TIMESTAMP,ContextTokens,GeneratedTokens`). The probes are shaped after
 * every second row, as views would show it: in powers of two. The other rows are told from them, by a half of both. Characters of a probe are told as a quarter as many tokens.
 */
export function againstTrace(csv: string, seed: number): Told {
  const rows = csv.trim().split('\n').slice(1)
  const lengthAt = (i: number): number => Number(rows[i]?.split(',')[1])
  const shown = rows.flatMap((_, i) => (i % 2 === 0 ? [{ parameters: {}, prompt: 2 ** Math.ceil(Math.log2(lengthAt(i))) }] : []))
  const count = Math.min(4000, Math.floor(rows.length / 2))
  const recorded = Array.from({ length: count }, (_, i) => lengthAt(2 * Math.floor((i * rows.length) / (2 * count)) + 1))
  const plan = { count, seconds: 86_400, maxTokens: 1024, maxPrompt: 64_000, clients: 400, encrypted: { controller: 0, worker: 0 } }
  const probes = planProbes({ ...plan, glimpses: shown, seed: new Uint8Array(createHash('sha256').update(`trace ${seed}`).digest()) })
  const lengths = probes.map(({ messages }) => Math.ceil(messages.reduce((sum, { content }) => sum + content.length, 0) / 4))
  const examples = [...lengths, ...recorded].map((tokens, i) => ({ features: new Map([['tokens of the prompt', tokens]]), isProbe: i < count }))
  const [fit, judged] = [0, 1].map((half) => examples.filter((_, i) => i % 2 === half)) as [typeof examples, typeof examples]
  const learned = learn(
    fit.map(({ features }) => features),
    fit.map(({ isProbe }) => isProbe),
  )
  const told = judged.map(({ features, isProbe }, i) => ({ account: String(i), isRight: learned.score(features) > 0 === isProbe }))
  return { ...boundOf(told), by: learned.by }
}

/** S20: what a question may be told by at most, with its bound. */
export const most = 0.55

/** As an operator might write them. */
const ownTemplates = [
  'Our tenant {first} {last} ({city}) has not paid {amount} since {date}, file {order}. What are the next steps?',
  'Plan a weekend in {city} for {first} {last}: budget {amount}, booking {order}, from {date}. {tone} please.',
  'patient {first} {last}, born {date}, no. {order}, asks for a {good}, copay {amount}. Draft a {tone} note',
  '{date};{first};{last};{city};{order};{amount};{good}\\nWrite a SQL insert for this row',
]

const seconds = 14_400

/** `npm run soak -- distinguisher`: 0.55 is the aim; what is reached is written down. */
export async function soakDistinguisher(args: readonly string[], commit: object): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seed: { type: 'string' },
      questions: { type: 'string' },
      scenes: { type: 'string' },
      network: { type: 'string' },
      recorded: { type: 'string' },
      networks: { type: 'string' },
      trace: { type: 'string' },
      texts: { type: 'string' },
      only: { type: 'string' },
    },
  })
  const whole = (name: 'seed' | 'questions' | 'scenes' | 'network' | 'networks' | 'recorded', usual: number): number => Number(values[name] ?? usual)
  const [seed, questions, scenes] = [whole('seed', 1), whole('questions', 3200), whole('scenes', 3)]
  const [network, networks] = [whole('network', 400), whole('networks', 1)]
  const progress = (line: string): void => void process.stderr.write(`soak: ${line}\n`)
  const found: { readonly scene: string; readonly place: Place; readonly looks: readonly Distinguished[] }[] = []
  const add = (scene: string, looks: readonly Distinguished[], place: Place = 'controller'): void => {
    found.push({ scene, place, looks })
    for (const { name, told } of looks)
      progress(
        `${scene}, at ${place}: ${name}: ${(100 * told.accuracy).toFixed(1)} % (at most ${(100 * told.upper).toFixed(1)} %) of ${told.questions} of ${told.accounts} accounts; by ${told.by.join(' | ')}`,
      )
  }
  const sceneOf = (changes: Partial<Scene>): Scene => {
    const users = Math.round(questions / 8)
    return {
      seed,
      epochs: 10,
      probes: Math.round(questions / 10),
      accounts: users,
      warm: 9,
      seconds,
      users,
      questions,
      shape: 'recording',
      recorded: whole('recorded', 10),
      ...changes,
    }
  }
  // Nobody looks on at what there is none of without a network.
  const seenOffline = ({ name }: Distinguished): boolean => !/^(?:wire|sealing|fetches)/.test(name)
  const offline = async (name: string, changes: Partial<Scene>, count: number): Promise<void> => {
    if (values.only !== undefined && values.only !== name) return
    const all: (readonly Sighting[])[] = []
    for (let i = 0; i < count; i++) all.push(await imagine(await plannedFor(sceneOf({ ...changes, seed: seed + i }))))
    for (const place of places) add(name, distinguish(all, seconds, place).filter(seenOffline), place)
  }
  if (scenes > 0) {
    await offline('after a recording', {}, scenes)
    // As old as those of the recording, the oldest of half a year; and of other ages, all alike.
    await offline('after a recording, accounts as old', { warm: 1095, ages: true }, scenes)
    for (const warm of [126, 42, 0]) await offline(`after a recording, accounts of ${warm} epochs`, { warm }, 1)
    await offline('after views', { shape: 'views' }, 1)
    await offline('after views, own templates', { shape: 'views', templates: readTemplates(ownTemplates.join('\n')) }, 1)
    await offline('after nothing', { shape: 'nothing' }, 1)
  }
  if (network > 0) {
    // What a connection and its fetches show is alike within an account, so there are many that ask little.
    const users = Math.round(network / 2)
    const small = sceneOf({ questions: network, epochs: 2, probes: users, users, accounts: users, warm: 1 })
    const all: (readonly Sighting[])[] = []
    for (let i = 0; i < networks; i++) all.push(await sight({ ...small, seed: seed + i }, progress))
    for (const place of places) add('after a recording, over a network', distinguish(all, seconds, place), place)
  }
  const hellos = await fingerprints()
  for (const { name, tls } of hellos) progress(`TLS of ${name}: ${tls}`)
  const trace = values.trace === undefined ? null : readFileSync(values.trace, 'utf8')
  if (trace !== null) add('against the recorded trace', [{ name: 'length of the prompt', told: againstTrace(trace, seed) }])
  const texts = values.texts === undefined ? null : readFileSync(values.texts, 'utf8')
  if (texts !== null) add('against recorded texts', againstTexts(texts, seed))
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.versions.node }
  const summary = { soak: 'distinguisher', date: new Date().toISOString(), machine, commit, scene: sceneOf({}), scenes, network, networks, aim: most }
  const digestOf = (text: string | null): string | null => (text === null ? null : createHash('sha256').update(text).digest('hex'))
  process.stdout.write(`${JSON.stringify({ ...summary, trace: digestOf(trace), texts: digestOf(texts), hellos, found }, null, 2)}\n`)
}

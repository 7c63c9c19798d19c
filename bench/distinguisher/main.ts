import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { upperBound } from '../../packages/services/src/replay/calibrate.ts'
import { planProbes } from '../../packages/services/src/validator/probes/probe.ts'
import { learn, type Told, tell } from './classify.ts'
import { featuresOf, type Group, groups, type Sighting } from './exchange.ts'
import { type Scene, sight } from './sight.ts'

/** By what a question may be told: each group of features alone, then together. */
export interface Distinguished {
  readonly name: string
  readonly told: Told
}

/** What each look at the same sightings tells. */
export function distinguish(sightings: readonly Sighting[]): readonly Distinguished[] {
  const features = featuresOf(sightings)
  const look = (name: string, only: readonly Group[], words: boolean): Distinguished => ({
    name,
    told: tell(sightings, features, { only, words, upperBound }),
  })
  const behaviour = groups.filter((group) => group !== 'text' && group !== 'account')
  return [
    ...groups.map((group) => look(`${group} alone`, [group], false)),
    look('words alone', [], true),
    look('all but account and text', behaviour, false),
    look('all but the words', groups, false),
    look('everything', groups, true),
  ]
}

/**
 * Probes against a recorded trace, of which there is nothing but the length of each prompt in tokens (columns `TIMESTAMP,ContextTokens,GeneratedTokens`). Characters of
 * a probe are told as a quarter as many tokens. Every second of each is learned from.
 */
export function againstTrace(csv: string, seed: number): Told {
  const rows = csv.trim().split('\n').slice(1)
  const count = Math.min(4000, rows.length)
  const recorded = Array.from({ length: count }, (_, i) => Number(rows[Math.floor((i * rows.length) / count)]?.split(',')[1]))
  const plan = { count, seconds: 86_400, maxTokens: 1024, maxPrompt: 2000, clients: 400, encrypted: { controller: 0, worker: 0 } }
  const probes = planProbes({ ...plan, seed: new Uint8Array(createHash('sha256').update(`trace ${seed}`).digest()) })
  const lengths = probes.map(({ messages }) => Math.ceil(messages.reduce((sum, { content }) => sum + content.length, 0) / 4))
  const examples = [...lengths, ...recorded].map((tokens, i) => ({ features: new Map([['tokens of the prompt', tokens]]), isProbe: i < count }))
  const [fit, judged] = [0, 1].map((half) => examples.filter((_, i) => i % 2 === half)) as [typeof examples, typeof examples]
  const learned = learn(
    fit.map(({ features }) => features),
    fit.map(({ isProbe }) => isProbe),
  )
  const right = judged.filter(({ features, isProbe }) => learned.score(features) > 0 === isProbe).length
  return { questions: judged.length, right, accuracy: right / judged.length, upper: upperBound(right, judged.length), by: learned.by }
}

/** S20: what a question may be told by at most, with its bound. */
export const most = 0.55

/** `npm run soak -- distinguisher`: 0.55 is the aim; what is reached is written down. */
export async function soakDistinguisher(args: readonly string[], commit: object): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { seed: { type: 'string' }, questions: { type: 'string' }, trace: { type: 'string' } } })
  const [seed, questions] = [Number(values.seed ?? 1), Number(values.questions ?? 1200)]
  const epochs = 10
  const scene: Scene = { seed, epochs, probes: Math.round(questions / epochs), accounts: 4, seconds: 3600, users: 60, questions }
  const sightings = await sight(scene, (line) => void process.stderr.write(`soak: ${line}\n`))
  const trace = values.trace === undefined ? null : readFileSync(values.trace, 'utf8')
  const recorded = trace === null ? [] : [{ name: 'length against the recorded trace', told: againstTrace(trace, seed) }]
  const found = [...distinguish(sightings), ...recorded]
  for (const { name, told } of found)
    process.stderr.write(
      `soak: ${name}: ${(100 * told.accuracy).toFixed(1)} % (at most ${(100 * told.upper).toFixed(1)} %) of ${told.questions}; by ${told.by.join(' | ')}\n`,
    )
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.versions.node }
  process.stdout.write(
    `${JSON.stringify({ soak: 'distinguisher', date: new Date().toISOString(), machine, commit, scene, sightings: sightings.length, aim: most, trace: trace === null ? null : createHash('sha256').update(trace).digest('hex'), found }, null, 2)}\n`,
  )
}

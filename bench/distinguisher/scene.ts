import { createHash } from 'node:crypto'
import type { AuditView } from 'veritee/log'
import { Draws } from '../../packages/services/src/validator/probes/draws.ts'
import { habitsOf, type Probe, planProbes } from '../../packages/services/src/validator/probes/probe.ts'
import type { Program } from '../../packages/services/src/validator/probes/programs.ts'
import { readTraffic, type Traffic } from '../../packages/services/src/validator/probes/traffic.ts'
import { glimpsesOf, usualTraffic } from '../../packages/services/src/validator/probes/usual.ts'
import { population, type Question, type User } from '../../packages/services/test/distinguisher/organic.ts'
import { imaginedAnswer } from './imagined.ts'
import { asSent } from './library.ts'

/** After what probes are shaped: nothing but what is believed beforehand, what views of a log show of users like these, or a recording of such. */
export const shapes = ['nothing', 'views', 'recording'] as const
export type Shape = (typeof shapes)[number]

export interface Scene {
  readonly seed: number
  readonly epochs: number
  /** Of each epoch. */
  readonly probes: number
  readonly accounts: number
  readonly seconds: number
  /** Epochs before its own in which an account asks as its client does, and nobody audits it; at most, where it is as old as that of its habit. */
  readonly warm: number
  /** Accounts begin to ask as long before their epoch as those of the recording were old. */
  readonly ages?: boolean
  /** Over all epochs. */
  readonly users: number
  readonly questions: number
  readonly shape: Shape
  /** Of a recording, how many times as many others have been recorded, each over as long a time. */
  readonly recorded: number
  /** In the place of those of the repository, where texts are not recorded. */
  readonly templates?: readonly string[]
}

export interface PlannedProbe {
  /** Of its plan: conversations are within one. */
  readonly name: string
  readonly account: string
  readonly at: number
  /** Days since its account was first seen, at the beginning of the scene: an account of an epoch is new when that begins. */
  readonly age: number
  readonly probe: Probe
  /** Sent to make its account an ordinary one; no probe. */
  readonly isWarming: boolean
}

export interface PlannedQuestion extends Question {
  readonly account: string
  readonly age: number
  readonly encryptTo: User['encryptTo']
}

/** All that is asked in a scene, by whom and when. */
export async function plannedFor(
  scene: Scene,
): Promise<{ readonly probes: readonly PlannedProbe[]; readonly questions: readonly PlannedQuestion[] }> {
  const { seed, epochs, probes: count, accounts, warm, seconds, users, questions } = scene
  const made = population({ seed, users, count: questions, seconds: epochs * seconds })
  const traffic = await trafficFor(scene)
  const secret = hashOf(`${seed} persons`)
  const planOf = (epoch: number, at: string) => ({
    seed: hashOf(`${seed} ${at}`),
    count,
    // As the command does with an epoch of this length.
    seconds: Math.max(0.9, 1 - 300 / seconds) * seconds,
    maxTokens: 4096,
    maxPrompt: 8000,
    clients: accounts,
    persons: { secret, names: Array.from({ length: accounts }, (_, i) => `${epoch} ${i}`) },
    encrypted: { controller: 0.2, worker: 0.2 },
    traffic,
    ...(scene.templates === undefined ? {} : { templates: scene.templates }),
  })
  const epochDays = seconds / 86_400
  // An account is new in the first of the epochs before its own; one whose first is before the scene began is that old then.
  const probes = Array.from({ length: epochs }, (_, epoch) => {
    const habits = habitsOf(planOf(epoch, `${epoch} 0`))
    const before = (account: number): number => {
      const { age = null } = habits[account] ?? {}
      return scene.ages === true && age !== null ? Math.min(warm, Math.round(age / epochDays)) : warm
    }
    return Array.from({ length: Math.min(warm, epoch) + 1 }, (_, early) => {
      const begins = (epoch - early) * seconds
      const ahead = scene.ages === true ? Math.max(0, (early - 0.5) * epochDays) : 0
      return planProbes({ ...planOf(epoch, `${epoch} ${early}`), ahead, part: { index: early, of: warm + 1 } }).map(
        (probe): PlannedProbe => ({
          name: `${epoch} ${early}`,
          account: `probe ${epoch} ${probe.account}`,
          at: begins + probe.after,
          age: (before(probe.account) - epoch) * epochDays,
          probe,
          isWarming: early > 0,
        }),
      )
    }).flat()
  }).flat()
  const asked = made.questions.map((question): PlannedQuestion => {
    const { encryptTo = 'none', age = 0 } = made.users[question.user] ?? {}
    return { ...question, account: `user ${question.user}`, age, encryptTo }
  })
  return { probes, questions: asked }
}

function hashOf(text: string): Uint8Array {
  return new Uint8Array(createHash('sha256').update(text).digest())
}

async function trafficFor({ shape, seed, users, questions, recorded: times, epochs, seconds }: Scene): Promise<Traffic> {
  const draws = new Draws(hashOf(`traffic ${seed}`), 'bench')
  if (shape === 'nothing') return usualTraffic(draws, [])
  // Neither is of the users that are judged: views of as many others, a recording of more.
  const of = shape === 'views' ? { seed: seed + 1_000_003, users } : { seed: seed + 2_000_003, users: times * users }
  const lines = await recorded({ ...of, count: shape === 'views' ? questions : times * questions, seconds: epochs * seconds })
  if (shape === 'recording') return readTraffic(lines.map((line) => JSON.stringify(line)).join('\n'))
  return usualTraffic(draws, glimpsesOf(lines.map(viewOf)))
}

interface RecordedLine {
  readonly account: string
  readonly at: number
  /** Days. */
  readonly age: number
  readonly program: Program
  readonly body: { readonly [member: string]: unknown }
}

/** What the programs of users send, written down by whoever stands before a service, with imagined answers. */
export async function recorded(options: Parameters<typeof population>[0]): Promise<readonly RecordedLine[]> {
  const lines: RecordedLine[] = []
  const { users, questions } = population(options)
  for (const { user, at, ask } of questions) {
    const age = (users[user]?.age ?? 0) + at / 86_400
    const fetch = imaginedAnswer(
      (body, headers) => void lines.push({ account: `recorded ${user}`, at, age, program: programOf(headers), body: JSON.parse(asSent(body, at)) }),
    )
    await ask({ baseURL: 'http://127.0.0.1:1/v1', apiKey: 'sk-x', model: 'm', fetch })
  }
  return lines
}

/** By what it says of itself. */
function programOf(headers: Headers): Program {
  const agent = headers.get('user-agent') ?? ''
  return agent.startsWith('OpenAI/JS') ? 'openai' : agent.startsWith('langchain') ? 'langchain' : agent.startsWith('ai') ? 'ai-sdk' : 'script'
}

/** What an audit view would show of a request, of one of four workers; tokens are told as four characters each. */
function viewOf({ body }: RecordedLine, i: number): AuditView {
  const decimal = (name: string, usual: string): string => String(body[name] ?? usual)
  const characters = (body.messages as readonly { readonly content: string }[]).reduce((sum, { content }) => sum + content.length, 0)
  const parameters = {
    temperature: decimal('temperature', '1'),
    top_p: decimal('top_p', '1'),
    frequency_penalty: decimal('frequency_penalty', '0'),
    presence_penalty: decimal('presence_penalty', '0'),
    seed_source: 'client',
  }
  const tokens = { prompt: 2 ** Math.ceil(Math.log2(8 + characters / 4)), completion: null }
  return { parameters, tokens, upstream: null, engine: {}, workload_keyset_digest: String(i % 4) } as unknown as AuditView
}

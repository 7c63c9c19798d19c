import { fail } from 'veritee/errors'
import type { EncryptTo } from '../audit/path.ts'
import { cities, firstNames, goods, lastNames, passages, systems, templates, tones } from './corpus.ts'
import { Draws } from './draws.ts'
import { bodyOf, type Program, programs } from './programs.ts'

/** What a probe asks for. */
export interface ProbeRequest {
  readonly messages: readonly { readonly role: 'system' | 'user'; readonly content: string }[]
  /** What else the body says; nothing where a user would say nothing. */
  readonly options: {
    readonly stream: boolean
    readonly temperature?: number
    readonly top_p?: number
    readonly max_tokens: number
  }
}

/** One request that a validator makes of a network, as any user would. */
export interface Probe extends ProbeRequest {
  readonly index: number
  /** Seconds after the probes begin. */
  readonly after: number
  /** Which of the validator's clients sends it: whom that asks, and by which account, follows from the number. */
  readonly account: number
  /** To whose key that client encrypts its bodies. */
  readonly encryptTo: EncryptTo
  readonly program: Program
  /** Of one whose answer is known beforehand; null for others. Nobody who gets the request can see it. */
  readonly canary: { readonly commitment: string; readonly expected: string; readonly model: string } | null
}

export interface ProbePlan {
  /** S_p of the epoch (rule S16): 32 bytes that nobody has before it opens. */
  readonly seed: Uint8Array
  readonly count: number
  /** From the first to the last of them at most. */
  readonly seconds: number
  /** Tokens of the longest answer asked for; a small model gets a smaller one. */
  readonly maxTokens: number
  /** Characters of the longest prompt. */
  readonly maxPrompt: number
  /** What clients ask, with {placeholders}; see `readTemplates`. Default: those of this repository, which everybody can read. */
  readonly templates?: readonly string[]
  /** Clients of an epoch, each with one account and habits of its own. */
  readonly clients: number
  /** Which part of them encrypts bodies to the service that it asks, and which to a worker; each from 0 to 1, and so their sum. */
  readonly encrypted: { readonly controller: number; readonly worker: number }
}

/** What stays the same of a client through an epoch: people choose a library once, and a program asks for the same things again and again. */
interface Client extends Pick<Probe, 'account' | 'encryptTo' | 'program'> {
  readonly templates: readonly string[]
  readonly system: string | null
  /** Of ten questions, how many come with something pasted before them. */
  readonly pastes: number
  readonly options: ProbeRequest['options']
}

/**
 * The probes of an epoch: a function of the seed and the plan. The same times and texts for whoever has both. Clients sit down at times of a Poisson process (as many
 * as there are probes, so that all fall in the time there is), and ask once or a few times before they leave.
 */
export function planProbes(plan: ProbePlan): Probe[] {
  const { seed, count, seconds } = plan
  const clients = Array.from({ length: plan.clients }, (_, account) => clientOf(plan, account))
  const times = new Draws(seed, 'veritee.probe-times.v1')
  const asked: { readonly client: Client; readonly after: number }[] = []
  while (asked.length < count) {
    const client = times.of(clients)
    let after = times.unit() * seconds
    do {
      asked.push({ client, after })
      after += 8 + times.pause(1 / 50)
    } while (asked.length < count && after < seconds && times.below(100) < 60)
  }
  const ordered = asked.sort((a, b) => a.after - b.after)
  return ordered.map(({ client, after }, index) => {
    const { account, encryptTo, program } = client
    return { index, after, account, encryptTo, program, ...requestOf(plan, index, client), canary: null }
  })
}

/** What people write there. */
const usualLimits = [10, 16, 50, 100, 128, 150, 200, 256, 256, 300, 400, 500, 512, 512, 800, 1000, 1000, 1024]

function clientOf(
  { seed, maxTokens, encrypted: { controller, worker }, templates: asked = templates }: Omit<ProbePlan, 'count' | 'seconds' | 'maxPrompt'>,
  account: number,
): Client {
  const draws = new Draws(seed, `veritee.probe-client.v1 ${account}`)
  const drawn = draws.unit()
  const temperature = draws.of([null, null, 0, 0, 0.2, 0.7, 1])
  const topP = temperature !== null && temperature > 0 && draws.below(4) === 0 ? 0.95 : null
  return {
    account,
    encryptTo: drawn <= controller ? 'controller' : drawn <= controller + worker ? 'worker' : 'none',
    program: draws.of(programs),
    templates: Array.from({ length: draws.of([1, 1, 2, 4]) }, () => draws.of(asked)),
    system: draws.below(10) < 4 ? draws.of(systems) : null,
    pastes: draws.of([0, 2, 4, 8]),
    options: {
      ...(temperature === null ? {} : { temperature }),
      ...(topP === null ? {} : { top_p: topP }),
      max_tokens: Math.min(maxTokens, draws.of(usualLimits)),
      stream: draws.below(2) === 0,
    },
  }
}

/** What canaries ask, which have no client before they are placed. */
export function lonelyRequest(plan: Pick<ProbePlan, 'seed' | 'maxTokens' | 'maxPrompt' | 'templates'>, index: number): ProbeRequest {
  return requestOf(plan, index, clientOf({ ...plan, clients: 1, encrypted: { controller: 0, worker: 0 } }, index))
}

function requestOf({ seed, maxPrompt }: Pick<ProbePlan, 'seed' | 'maxPrompt'>, index: number, client: Client): ProbeRequest {
  const draws = new Draws(seed, `veritee.probe.v1 ${index}`)
  const question = fill(draws.of(client.templates), draws)
  const pasted = draws.below(10) < client.pastes ? 1 + draws.below(3) : 0
  const context = Array.from({ length: pasted }, () => draws.of(passages))
  while (context.length > 0 && [...context, question].join('\n\n').length > maxPrompt) context.pop()
  const system = client.system === null ? [] : [{ role: 'system' as const, content: client.system }]
  return { messages: [...system, { role: 'user', content: [...context, question].join('\n\n') }], options: client.options }
}

const days = 3650
const firstDay = Date.UTC(2020, 0, 1)

/** What may stand for a placeholder, with the number of values it has, each as likely. */
const fillings: Readonly<Record<string, { readonly values: number; readonly draw: (draws: Draws) => string }>> = {
  first: { values: firstNames.length, draw: (draws) => draws.of(firstNames) },
  last: { values: lastNames.length, draw: (draws) => draws.of(lastNames) },
  city: { values: cities.length, draw: (draws) => draws.of(cities) },
  good: { values: goods.length, draw: (draws) => draws.of(goods) },
  tone: { values: tones.length, draw: (draws) => draws.of(tones) },
  order: { values: 1e7, draw: (draws) => String(draws.below(1e7)).padStart(7, '0') },
  amount: { values: 1e5, draw: (draws) => `${(draws.below(1e5) / 100).toFixed(2)} euros` },
  date: { values: days, draw: (draws) => new Date(firstDay + draws.below(days) * 86_400_000).toISOString().slice(0, 10) },
}

function fill(template: string, draws: Draws): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => {
    const filling = fillings[name]
    if (filling === undefined) throw new TypeError(`a template with an unknown placeholder ${name}`)
    return filling.draw(draws)
  })
}

/** Bits of the seed that are in a text made from a template (rule S20 asks for 64 at least). Choosing the template is not counted. */
export function bitsOf(template: string): number {
  return [...template.matchAll(/\{(\w+)\}/g)].reduce((bits, [, name = '']) => bits + Math.log2(fillings[name]?.values ?? 1), 0)
}

const leastBits = 64

/**
 * Templates of a validator's own, one a line, empty lines left out: `\n` stands for a line end. Throws `usage` for one with an unknown placeholder, or with so few that
 * less than 64 bits of the seed are in it.
 */
export function readTemplates(text: string): readonly string[] {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '')
  if (lines.length === 0) throw fail('usage', 'expected a template at least')
  return lines.map((line, i) => {
    const unknown = [...line.matchAll(/\{(\w+)\}/g)].find(([, name = '']) => fillings[name] === undefined)
    if (unknown !== undefined)
      throw fail('usage', `template ${i + 1}: expected placeholders ${Object.keys(fillings).join(', ')}, found ${unknown[0]}`)
    const bits = bitsOf(line)
    if (bits < leastBits) throw fail('usage', `template ${i + 1}: expected placeholders for ${leastBits} bits, found ${Math.floor(bits)}`)
    return line.replaceAll('\\n', '\n')
  })
}

/** The body of a probe, as the program of its client writes it. */
export function probeBody(model: string, program: Program, request: ProbeRequest): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(bodyOf(program, model, request)))
}

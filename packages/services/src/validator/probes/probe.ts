import type { EncryptTo } from '../audit/path.ts'
import { cities, firstNames, goods, lastNames, passages, templates, tones } from './corpus.ts'
import { Draws } from './draws.ts'

/** One request that a validator makes of a network, as any user would. */
export interface Probe {
  readonly index: number
  /** Seconds after the probes begin. */
  readonly after: number
  readonly messages: readonly { readonly role: 'system' | 'user'; readonly content: string }[]
  /** What else the body says; nothing where a user would say nothing. */
  readonly options: {
    readonly stream: boolean
    readonly temperature?: number
    readonly top_p?: number
    readonly max_tokens: number
  }
  /** Which of the validator's clients sends it: whom that asks, and by which account, follows from the number. */
  readonly account: number
  /** To whose key that client encrypts its bodies. */
  readonly encryptTo: EncryptTo
  /** Of one whose answer is known beforehand; null for others. Nobody who gets the request can see it. */
  readonly canary: { readonly commitment: string; readonly expected: string; readonly model: string } | null
}

export interface ProbePlan {
  /** S_p of the epoch (rule S16): 32 bytes that nobody has before it opens. */
  readonly seed: Uint8Array
  readonly count: number
  /** Of the Poisson process. */
  readonly perSecond: number
  /** Tokens of the longest answer asked for; a small model gets a smaller one. */
  readonly maxTokens: number
  /** Characters of the longest prompt. */
  readonly maxPrompt: number
  /** Clients of an epoch, each with one account and habits of its own. */
  readonly clients: number
  /** Which part of them encrypts bodies to the service that it asks, and which to a worker; each from 0 to 1, and so their sum. */
  readonly encrypted: { readonly controller: number; readonly worker: number }
}

/** The probes of an epoch: a function of the seed and the plan. The same times and texts for whoever has both. */
export function planProbes(plan: ProbePlan): Probe[] {
  const times = new Draws(plan.seed, 'veritee.probe-times.v1')
  let after = 0
  const clients = Array.from({ length: plan.clients }, (_, account) => clientOf(plan, account))
  return Array.from({ length: plan.count }, (_, index) => {
    after += times.pause(plan.perSecond)
    return { ...probeOf(plan, index), ...times.of(clients), after }
  })
}

/** What stays the same of a client through an epoch, as people choose a library once. */
function clientOf({ seed, encrypted: { controller, worker } }: ProbePlan, account: number): Pick<Probe, 'account' | 'encryptTo'> {
  const drawn = new Draws(seed, `veritee.probe-client.v1 ${account}`).unit()
  return { account, encryptTo: drawn <= controller ? 'controller' : drawn <= controller + worker ? 'worker' : 'none' }
}

/** What a probe asks. */
export function probeOf(
  { seed, maxTokens, maxPrompt }: Pick<ProbePlan, 'seed' | 'maxTokens' | 'maxPrompt'>,
  index: number,
): Omit<Probe, 'after' | 'account' | 'encryptTo'> {
  const draws = new Draws(seed, `veritee.probe.v1 ${index}`)
  const question = fill(draws.of(templates), draws)
  // Most people paste nothing; some paste a lot.
  const pasted = draws.below(10) < 6 ? 0 : 1 + draws.below(3)
  const context = Array.from({ length: pasted }, () => draws.of(passages))
  while (context.length > 0 && [...context, question].join('\n\n').length > maxPrompt) context.pop()
  const system = draws.below(4) === 0 ? [{ role: 'system' as const, content: 'You are a helpful assistant.' }] : []
  const temperature = draws.of([null, null, 0, 0, 0.2, 0.7, 1])
  const topP = temperature !== null && temperature > 0 && draws.below(4) === 0 ? 0.95 : null
  return {
    index,
    messages: [...system, { role: 'user', content: [...context, question].join('\n\n') }],
    options: {
      stream: draws.below(10) < 7,
      ...(temperature === null ? {} : { temperature }),
      ...(topP === null ? {} : { top_p: topP }),
      max_tokens: Math.max(1, Math.round(maxTokens * draws.of([0.25, 0.5, 0.5, 1, 1, 1]))),
    },
    canary: null,
  }
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

/** The body of a probe: members in the order in which common clients write them. */
export function probeBody(model: string, { messages, options }: Pick<Probe, 'messages' | 'options'>): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ model, messages, ...options, ...(options.stream ? {} : { stream: undefined }) }))
}

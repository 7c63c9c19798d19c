import { withSeed } from 'veritee/client'
import type { EncryptTo } from '../audit/path.ts'
import { templates } from './corpus.ts'
import { Draws, shuffled } from './draws.ts'
import { bodyOf, type Program } from './programs.ts'
import { leastBits, textOfLength } from './templates.ts'
import type { Asked, Habit, Message, ProbeOptions, Traffic } from './traffic.ts'
import { type Glimpse, usualTraffic } from './usual.ts'

/** What a probe asks for. */
export interface ProbeRequest {
  readonly messages: readonly Message[]
  /** What else the body says; nothing where a user would say nothing. */
  readonly options: ProbeOptions
  /** Members of the body in their order; null: as the program writes them. */
  readonly order: readonly string[] | null
  /** What the library that everybody has puts first into a body that names no seed, here drawn from the seed of the epoch: an integer in decimal. Null where the body names one of its own. */
  readonly seed: string | null
}

/** How a probe goes on with a conversation; see `goneOn`. */
export interface Follows {
  /** Of the probe before it. */
  readonly index: number
  /** How many messages of the conversation come along, at most. */
  readonly kept: number
  /** Characters of earlier answers that come along; null: all. */
  readonly cut: number | null
  /** Characters of all messages, at most. */
  readonly most: number
  /** The last message, in the place of that of `messages`. */
  readonly said: string
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
  /** Which of the models its client asks: the rest of the division by their number. People stay with one. */
  readonly model: number
  /** Null where it begins a conversation. Where the one before it has no answer, it is sent by itself. */
  readonly follows: Follows | null
  /** Another probe goes on with this one. */
  readonly isFollowed: boolean
  /** Of one whose answer is known beforehand; null for others. Nobody who gets the request can see it. */
  readonly canary: { readonly commitment: string; readonly expected: string; readonly model: string } | null
}

export interface ProbePlan {
  /** S_p of the epoch (rule S16): 32 bytes that nobody has before it opens. */
  readonly seed: Uint8Array
  readonly count: number
  /** From the first to the last of them at most. */
  readonly seconds: number
  /** Tokens of the longest answer asked for where a limit is given; a small model gets a smaller one. */
  readonly maxTokens: number
  /** Characters of the longest prompt, a conversation before it included. */
  readonly maxPrompt: number
  /** What clients ask where no texts were recorded, with {placeholders}; see `readTemplates`. Default: those of this repository, which everybody can read. */
  readonly templates?: readonly string[]
  /** A recording after which probes are shaped. Default: what `glimpses` show, and what is believed beforehand of how people ask; see `usualTraffic`. */
  readonly traffic?: Traffic
  readonly glimpses?: readonly Glimpse[]
  /** Clients of an epoch, each with one account and habits of its own. */
  readonly clients: number
  /**
   * Who they are: by a secret that is never opened and the name of each, so that an account has one habit in epochs before this one too. Default: by the seed, for accounts
   * that nobody has seen before.
   */
  readonly persons?: { readonly secret: Uint8Array; readonly names: readonly string[] }
  /** Of so many epochs in which these clients ask, which one this is: each sitting of a habit belongs to one of them. Default: there is no other. */
  readonly part?: { readonly index: number; readonly of: number }
  /** How long before their own epoch it is, days: clients with the habit of an account that was younger do not ask yet, and there are as many requests fewer. Default: 0. */
  readonly ahead?: number
  /** Which part of them encrypts bodies to the service that it asks, and which to a worker; each from 0 to 1, and so their sum. */
  readonly encrypted: { readonly controller: number; readonly worker: number }
}

/** What stays the same of a client through an epoch. */
interface Client extends Pick<Probe, 'account' | 'encryptTo' | 'model'> {
  readonly habit: Habit
  /** Of each sitting of the habit, in which of the epochs of this client it is. */
  readonly parts: readonly number[]
}

/** One request of a client, before it has a number. */
interface Planned {
  readonly client: Client
  readonly after: number
  readonly asked: Asked
  /** The conversation that it goes on with. */
  readonly previous: Planned | null
}

/**
 * The probes of an epoch: a function of the seed and the plan. The same times and texts for whoever has both. Each client has the habit of one account of the traffic;
 * sittings of such accounts are drawn until there are enough probes, each at a time of its own, with the pauses, parameters, lengths and conversations that it has there. A client
 * comes the more often the more sittings its habit has. None comes twice before all have come, those of this part of the client's life first: who asks the same again and again is known by that.
 */
export function planProbes(plan: ProbePlan): Probe[] {
  const { seed, count: most, seconds } = plan
  const traffic = trafficOf(plan)
  const clients = Array.from({ length: plan.clients }, (_, account) => clientOf(plan, traffic, account))
  const present = clients.filter(({ habit }) => isThere(habit, plan.ahead))
  const count = Math.round((most * sittingsOf(present)) / Math.max(1, sittingsOf(clients)))
  const { index: part } = plan.part ?? { index: 0 }
  const times = new Draws(seed, 'veritee.probe-times.v3')
  const planned: Planned[] = []
  const left: Sitting[] = []
  while (planned.length < count) {
    if (left.length === 0) {
      const all = present.flatMap((client) => client.habit.sittings.map((asked, i) => ({ client, asked, isOfPart: client.parts[i] === part })))
      const [others, own] = [false, true].map((isOwn) =>
        shuffled(
          all.filter(({ isOfPart }) => isOfPart === isOwn),
          times,
        ),
      )
      // Taken from the end.
      left.push(...(others ?? []), ...(own ?? []))
      if (left.length === 0) throw new TypeError('planProbes: expected a client at least')
    }
    const { client, asked: sitting } = left.pop() as Sitting
    let after = times.unit() * seconds
    let previous: Planned | null = null
    for (const asked of sitting) {
      after += asked.after
      if (planned.length === count || after >= seconds) break
      const one: Planned = { client, after, asked, previous: asked.kept > 0 ? previous : null }
      planned.push(one)
      previous = one
    }
  }
  const ordered = planned.sort((a, b) => a.after - b.after)
  return numbered(plan, traffic, ordered)
}

interface Sitting {
  readonly client: Client
  readonly asked: readonly Asked[]
}

/** Whether an account with this habit asks so many days before its own epoch: as old as the one that was recorded, it is when that begins. */
function isThere({ age = null }: Habit, ahead = 0): boolean {
  return age === null || age >= ahead
}

/** The habits of the clients of a plan, by their numbers. */
export function habitsOf(plan: ProbePlan): readonly Habit[] {
  const traffic = trafficOf(plan)
  return Array.from({ length: plan.clients }, (_, account) => clientOf(plan, traffic, account).habit)
}

function sittingsOf(clients: readonly Client[]): number {
  return clients.reduce((sum, { habit }) => sum + habit.sittings.length, 0)
}

function numbered(plan: ProbePlan, traffic: Traffic, ordered: readonly Planned[]): Probe[] {
  const numbers = new Map(ordered.map((one, index) => [one, index]))
  const followed = new Set(ordered.map(({ previous }) => previous))
  const bits = new Map<Planned, number>()
  return ordered.map((one, index) => {
    const { client, after, asked, previous } = one
    const { account, encryptTo, model, habit } = client
    const draws = new Draws(plan.seed, `veritee.probe.v3 ${index}`)
    const inText = leastBits - bitsOfSeed(asked)
    const alone = saidBy(plan, traffic, { asked: asBeginning(asked, habit, draws), habit }, inText, draws)
    const before = previous === null ? 0 : bitsBefore(bits, one)
    const inTurn = previous === null ? alone : saidBy(plan, traffic, { asked, habit }, inText - before, draws)
    bits.set(one, inTurn.bits)
    const follows =
      previous === null ? null : { index: numbers.get(previous) ?? 0, kept: asked.kept, cut: habit.cut, most: plan.maxPrompt, said: inTurn.text }
    const request = requestOf(plan, asked, alone.text, draws)
    return { index, after, account, encryptTo, model, program: habit.program, ...request, follows, isFollowed: followed.has(one), canary: null }
  })
}

/** What goes on with a conversation is no beginning of one: something with which this habit begins is said instead, where it has that. */
function asBeginning(asked: Asked, { sittings }: Habit, draws: Draws): Asked {
  if (asked.kept === 0) return asked
  const beginnings = sittings.flat().filter(({ kept }) => kept === 0)
  return beginnings.length === 0 ? { ...asked, kept: 0 } : { ...asked, kept: 0, said: draws.of(beginnings).said }
}

/**
 * Bits of the epoch's seed that are in the seed of the request, which decides each token that is sampled: 64, where tokens are sampled and the body names no seed of its own. Greedily the
 * likeliest token comes whatever the seed.
 */
export function bitsOfSeed({ options }: Pick<Asked, 'options'>): 0 | 64 {
  const { temperature = 1, top_k: topK = null } = options
  const isGreedy = temperature === 0 || topK === 1
  return namesSeed(options) || isGreedy ? 0 : 64
}

/** Also as null: the library looks for the member alone. */
function namesSeed(options: ProbeOptions): boolean {
  return Object.hasOwn(options, 'seed')
}

/** Bits in what comes along of a conversation: of the messages of its user, every second one. */
function bitsBefore(bits: ReadonlyMap<Planned, number>, { asked, previous }: Planned): number {
  let sum = 0
  for (let left = Math.floor(asked.kept / 2), one = previous; left > 0 && one !== null; left--, one = one.previous) sum += bits.get(one) ?? 0
  return sum
}

function trafficOf({ seed, traffic, glimpses = [], persons }: Pick<ProbePlan, 'seed' | 'traffic' | 'glimpses' | 'persons'>): Traffic {
  return traffic ?? usualTraffic(new Draws(persons?.secret ?? seed, 'veritee.probe-habits.v1'), glimpses)
}

function clientOf(
  {
    seed,
    encrypted: { controller, worker },
    persons = null,
    part = { index: 0, of: 1 },
  }: Pick<ProbePlan, 'seed' | 'encrypted' | 'part'> & { readonly persons?: ProbePlan['persons'] | null },
  traffic: Traffic,
  account: number,
): Client {
  const [secret, name] = persons === null ? [seed, account] : [persons.secret, persons.names[account] ?? '']
  const draws = new Draws(secret, `veritee.probe-client.v3 ${name}`)
  const drawn = draws.unit()
  const encryptTo = drawn <= controller ? 'controller' : drawn <= controller + worker ? 'worker' : 'none'
  const [model, own] = [draws.below(1 << 20), draws.of(traffic.habits)]
  // Who is new in this epoch, and gone after it, has a habit that no other has, as long as there are such.
  const habit = persons === null ? (shuffledHabits(seed, traffic)[account % traffic.habits.length] ?? own) : own
  return { account, encryptTo, model, habit, parts: habit.sittings.map(() => draws.below(part.of)) }
}

const orders = new WeakMap<Traffic, { readonly seed: Uint8Array; readonly habits: readonly Habit[] }>()

/** Made once for all clients of a plan. */
function shuffledHabits(seed: Uint8Array, traffic: Traffic): readonly Habit[] {
  const known = orders.get(traffic)
  if (known?.seed === seed) return known.habits
  const habits = shuffled(traffic.habits, new Draws(seed, 'veritee.probe-habits-order.v1'))
  orders.set(traffic, { seed, habits })
  return habits
}

/** What canaries ask, which have no client before they are placed. */
export function lonelyRequest(
  plan: Pick<ProbePlan, 'seed' | 'maxTokens' | 'maxPrompt' | 'templates' | 'traffic' | 'glimpses'>,
  index: number,
): ProbeRequest {
  const traffic = trafficOf(plan)
  const { habit } = clientOf({ ...plan, encrypted: { controller: 0, worker: 0 } }, traffic, index)
  const draws = new Draws(plan.seed, `veritee.probe.v3 ${index}`)
  const asked = asBeginning(draws.of(draws.of(habit.sittings)), habit, draws)
  return requestOf(plan, asked, saidBy(plan, traffic, { asked, habit }, leastBits, draws).text, draws)
}

type Limits = Pick<ProbePlan, 'maxTokens' | 'maxPrompt' | 'templates'>

function saidBy(
  { maxPrompt, templates: own = templates }: Limits,
  { phrases }: Traffic,
  { asked, habit }: { readonly asked: Asked; readonly habit: Habit },
  bits: number,
  draws: Draws,
) {
  const { said } = asked
  const room = maxPrompt - asked.before.reduce((sum, { content }) => sum + content.length, 0)
  if (typeof said === 'number') return textOfLength(own, Math.min(said, room), draws)
  if (bits <= 0) return { text: whole(said, room), bits: 0 }
  // An imagined follow-up has no recording to be varied by.
  if (phrases === null) return textOfLength(own, said.length, draws)
  const alike = habit.sittings.flatMap((sitting) =>
    sitting.flatMap((one) => (one.kept === asked.kept && typeof one.said === 'string' ? [one.said] : [])),
  )
  return phrases.vary(said.slice(0, Math.max(64, room - 24)), bits, draws, alike)
}

/** As much of a recorded text as there is room for; half of a pair is no JSON that a service takes. */
function whole(said: string, room: number): string {
  return said.slice(0, Math.max(64, room)).replace(/[\ud800-\udbff]$/, '')
}

function requestOf({ maxTokens, maxPrompt }: Limits, { options, order, before }: Asked, text: string, draws: Draws): ProbeRequest {
  const limited = typeof options.max_tokens === 'number' ? { ...options, max_tokens: Math.min(options.max_tokens, maxTokens) } : options
  const fits = before.reduce((sum, { content }) => sum + content.length, 0) + text.length <= maxPrompt
  const seed = namesSeed(options) ? null : String(draws.int64())
  return { messages: [...(fits ? before : []), { role: 'user', content: text }], options: limited, order, seed }
}

/** The body of a probe, as the program of its client writes it, and the library sends it. */
export function probeBody(model: string, program: Program, request: ProbeRequest): Uint8Array {
  const body = new TextEncoder().encode(JSON.stringify(bodyOf(program, model, request)))
  return request.seed === null ? body : withSeed(body, BigInt(request.seed))
}

import { createHash } from 'node:crypto'
import { parseJson } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { Phrases } from './phrases.ts'
import { type Program, programs } from './programs.ts'

/** A message of a chat request whose content is a text. */
export interface Message {
  readonly role: 'system' | 'developer' | 'user' | 'assistant'
  readonly content: string
}

/** What a body says beside model and messages, in its order. */
export interface ProbeOptions {
  readonly stream?: boolean
  readonly max_tokens?: number
  readonly [member: string]: unknown
}

/** One request of somebody, without what makes it theirs: its text is varied, or made anew. */
export interface Asked {
  /** Seconds after the one before it in its sitting; 0 for the first. */
  readonly after: number
  readonly options: ProbeOptions
  /** Members of the body in their order; null: as the program writes them. */
  readonly order: readonly string[] | null
  /** What stands before the conversation: system messages, examples. */
  readonly before: readonly Message[]
  /** Of the conversation that it goes on with, how many messages come along; 0 where it begins one. */
  readonly kept: number
  /** The last message: a text to be varied, or how long one is to be made, in characters. */
  readonly said: string | number
}

/** How somebody asks: one account of a recording, or an imagined one. */
export interface Habit {
  readonly program: Program
  /** Of each sitting its requests, in order. */
  readonly sittings: readonly (readonly Asked[])[]
  /** Characters of earlier answers that come along, where the program cuts them. */
  readonly cut: number | null
  /** Days since the account was first seen, when it asked first in the recording; null or absent where that does not say. */
  readonly age?: number | null
}

/** After what probes are shaped (rule S20). */
export interface Traffic {
  readonly habits: readonly Habit[]
  /** Varies texts that were recorded; null where there are none. */
  readonly phrases: Phrases | null
  /** SHA-256 of the recording, hex; null for what was not recorded. */
  readonly digest: string | null
}

const maxLine = 1 << 20
const maxLines = 200_000
/** Seconds without a request that end a sitting. */
const pause = 1800

interface Line {
  readonly account: string
  readonly at: number
  readonly age: number | null
  readonly program: Program
  readonly body: { readonly [member: string]: unknown }
  readonly messages: readonly Message[]
}

/**
 * Reads a recording of requests: JSON, one a line, `{"account", "at", "program", "body"}`. `account` is any text that is the same for the requests of one account, `at`
 * Unix seconds, `program` one of `openai`, `ai-sdk`, `langchain`, `script` (what the account asks with; all of an account are taken as its first), `body` the body of the
 * request to `/v1/chat/completions` as it was sent. `age`, which may be absent: days since the account was first seen, then. Requests whose messages are not all texts, or do not end with one of a user, are left out.
 *
 * Throws `usage` for a line that is something else, naming it, and where nothing is left. Nothing of a recording is in the error.
 */
export function readTraffic(text: string): Traffic {
  const accounts = new Map<string, Line[]>()
  const lines = text.split('\n')
  if (lines.length > maxLines) throw fail('usage', `traffic: expected at most ${maxLines} lines, found ${lines.length}`)
  for (const [i, line] of lines.entries()) {
    if (line.trim() === '') continue
    const read = readLine(line, i + 1)
    if (read === null) continue
    const known = accounts.get(read.account) ?? []
    known.push(read)
    accounts.set(read.account, known)
  }
  const habits = [...accounts.values()].map(habitOf)
  if (habits.length === 0) throw fail('usage', 'traffic: expected a request at least whose messages are texts')
  const said = habits.flatMap(({ sittings }) => sittings.flat().flatMap((one) => (typeof one.said === 'string' ? [one.said] : [])))
  return { habits, phrases: new Phrases(said), digest: createHash('sha256').update(text).digest('hex') }
}

function readLine(line: string, number: number): Line | null {
  const wrong = (what: string) => fail('usage', `traffic: line ${number}: expected ${what}`)
  let value: unknown
  try {
    value = parseJson(line, { maxLength: maxLine, maxDepth: 32 })
  } catch {
    throw wrong(`JSON of at most ${maxLine} characters`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('an object')
  const { account, at, age = null, program, body } = value as { readonly [member: string]: unknown }
  if (typeof account !== 'string' || account === '') throw wrong('account, a text')
  if (typeof at !== 'number' || !Number.isFinite(at)) throw wrong('at, Unix seconds')
  if (age !== null && (typeof age !== 'number' || !Number.isFinite(age) || age < 0)) throw wrong('age, days, where it is there')
  if (!programs.includes(program as Program)) throw wrong(`program, one of ${[...new Set(programs)].join(', ')}`)
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw wrong('body, an object')
  const { messages } = body as { readonly messages?: unknown }
  if (!Array.isArray(messages) || messages.length === 0 || messages.length > 1024 || !messages.every(isText)) return null
  if (messages.at(-1)?.role !== 'user') return null
  return { account, at, age, program: program as Program, body: body as Line['body'], messages }
}

const roles: readonly unknown[] = ['system', 'developer', 'user', 'assistant'] satisfies Message['role'][]

function isText(value: unknown): value is Message {
  if (typeof value !== 'object' || value === null || Object.keys(value).length !== 2) return false
  const { role, content } = value as { readonly [member: string]: unknown }
  return roles.includes(role) && typeof content === 'string'
}

function habitOf(lines: readonly Line[]): Habit {
  const inOrder = lines.toSorted((a, b) => a.at - b.at)
  const sittings: Asked[][] = []
  const said = new Set<string>()
  let last = Number.NEGATIVE_INFINITY
  for (const line of inOrder) {
    const gap = line.at - last
    const isNew = gap > pause
    if (isNew) sittings.push([])
    sittings.at(-1)?.push(askedOf(line, isNew ? 0 : gap, said))
    said.add(line.messages.at(-1)?.content ?? '')
    last = line.at
  }
  const { program = 'script', age = null } = inOrder[0] ?? {}
  return { program, sittings, cut: cutOf(inOrder), age }
}

/** A seed that is the first member, and none that a person writes, is one that the library drew: each request has another one. */
function withoutDrawnSeed(body: Line['body']): Line['body'] {
  const { seed, ...rest } = body
  return Object.keys(body)[0] === 'seed' && Number.isInteger(seed) && Math.abs(seed as number) > 2 ** 32 ? rest : body
}

function askedOf({ body: sent, messages }: Line, after: number, said: ReadonlySet<string>): Asked {
  const body = withoutDrawnSeed(sent)
  const { model, messages: _, ...options } = body
  const leading = messages.findIndex(({ role }) => role === 'user' || role === 'assistant')
  const earlier = messages.slice(leading, -1)
  // What this account has said before, and now sends along, is a conversation. Else it is what every request begins with.
  const goesOn = earlier.some(({ role, content }) => role === 'user' && said.has(content))
  return {
    after,
    options,
    order: Object.keys(body),
    before: goesOn ? messages.slice(0, leading) : messages.slice(0, -1),
    kept: goesOn ? earlier.length : 0,
    said: messages.at(-1)?.content ?? '',
  }
}

/** Several earlier answers of one length, and none that is longer, were cut to it. */
function cutOf(lines: readonly Line[]): number | null {
  const lengths = new Map<number, Set<string>>()
  for (const { messages } of lines)
    for (const { role, content } of messages)
      if (role === 'assistant') lengths.set(content.length, (lengths.get(content.length) ?? new Set()).add(content))
  const longest = Math.max(0, ...lengths.keys())
  return (lengths.get(longest)?.size ?? 0) > 1 ? longest : null
}

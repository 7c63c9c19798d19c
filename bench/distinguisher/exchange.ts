import type { Observed } from './observe.ts'

/** One question and all that came with it, and what its account had done before: everything that a controller and a worker who put together what they see have. */
export interface Sighting {
  /** Who sent it, for the split and for whoever is right; no feature. */
  readonly account: string
  readonly isProbe: boolean
  /** It is there for what comes after it, and is not judged itself. */
  readonly isHistory: boolean
  readonly at: number
  readonly question: Observed
  /** Reports, sessions, receipts that were asked for between this question and the next of this client. */
  readonly also: readonly Observed[]
  /** What came to a worker of these; null where nobody looked on. Where several requests of users came at once, theirs would be among them: here one comes after the other. */
  readonly behind: { readonly question: Observed | null; readonly also: readonly Observed[] } | null
  /** The body in clear: where it was sealed to a worker, the worker has it. */
  readonly body: { readonly [member: string]: unknown }
  /** Members in their order. */
  readonly order: string
  /** Days since the account was first seen, at the beginning of what is looked at. */
  readonly age: number
}

/** Numbers by name. What is one of several names is a number of 0 or 1 for each of them. */
export type Features = ReadonlyMap<string, number>

/** In groups, so that it can be said by what probes are told. */
export const groups = ['wire', 'sealing', 'parameters', 'sizes', 'times', 'account', 'fetches', 'text'] as const
export type Group = (typeof groups)[number]

interface Message {
  readonly role: string
  readonly content: string
}

const textOf = ({ body }: Sighting): string =>
  ((body.messages as readonly Message[] | undefined) ?? []).map(({ content }) => String(content)).join('\n')

/**
 * From where it is looked at. `controller`: accounts, connections of clients, and what is in bodies, also in those that a worker alone can open: the two tell each other. `tokens`: the same where requests come
 * with anonymous tokens, so that there is no account, and what belongs together is told by the connection. `worker`: what a controller passes on, without accounts and connections of clients.
 */
export const places = ['controller', 'tokens', 'worker'] as const
export type Place = (typeof places)[number]

/** Of whom a request is, as far as can be told there. */
function whose(place: Place, one: Sighting, i: number): string {
  return place === 'controller' ? one.account : place === 'tokens' ? `connection ${one.question.socket}` : `question ${i}`
}

/** Features of all sightings, which are in the order of time. */
export function featuresOf(sightings: readonly Sighting[], epochSeconds = 3600, place: Place = 'controller'): readonly Features[] {
  const history = new Map<string, Sighting[]>()
  const said = new Map<string, Set<string>>()
  let last = 0
  return sightings.map((given, i) => {
    const one = seenAt(place, given)
    const asker = whose(place, one, i)
    const earlier = history.get(asker) ?? []
    const found = new Map<string, number>()
    const put = (group: Group, name: string, value: number): void => void found.set(`${group}: ${name}`, value)
    wire(one, put)
    parameters(one, put)
    sizes(one, put)
    times(one, earlier, last, epochSeconds, put)
    if (place !== 'worker') account(one, earlier, place, put)
    fetches(one, put)
    text(textOf(one), put)
    repeated(one, earlier, said, put)
    history.set(asker, [...earlier, one])
    last = one.at
    return found
  })
}

function seenAt(place: Place, one: Sighting): Sighting {
  if (place !== 'worker') return one
  const { question = null, also = [] } = one.behind ?? {}
  // Lengths are those of what it opened; without anybody who looks on, its headers are those that a controller writes.
  const { bodyLength, answerLength } = one.question
  return { ...one, question: { ...(question ?? { ...one.question, headers: [], socket: 0, before: 0 }), bodyLength, answerLength }, also }
}

type Put = (group: Group, name: string, value: number) => void

function wire({ question }: Sighting, put: Put): void {
  const own = question.headers.filter(
    ([name]) => !/^(?:authorization|content-length|host|x-veritee-nonce|ehbp-encapsulated-key|x-veritee-session)$/i.test(name),
  )
  put('wire', `headers ${question.headers.map(([name]) => name).join(' ')}`, 1)
  for (const [name, value] of own) put('wire', `${name}=${value}`, 1)
  put('wire', 'requests on the connection before', question.before)
  const names = new Set(question.headers.map(([name]) => name.toLowerCase()))
  put('sealing', 'sealed', names.has('ehbp-encapsulated-key') ? 1 : 0)
  put('sealing', 'to a worker', names.has('x-veritee-session') ? 1 : 0)
}

function parameters({ body, order }: Sighting, put: Put): void {
  put('parameters', `order ${order}`, 1)
  for (const [name, value] of Object.entries(body)) {
    if (name === 'messages') continue
    put('parameters', `has ${name}`, 1)
    if (typeof value === 'number') put('parameters', name, value)
    else if (typeof value === 'string' || typeof value === 'boolean') put('parameters', `${name}=${value}`, 1)
  }
  const { seed } = body
  if (typeof seed === 'number') {
    put('parameters', 'digits of the seed', Math.floor(Math.log10(1 + Math.abs(seed))))
    put('parameters', 'bits of the seed', bitsOf(seed))
  }
  const messages = (body.messages as readonly Message[] | undefined) ?? []
  put('parameters', 'messages', messages.length)
  put('parameters', 'has a system message', messages[0]?.role === 'system' ? 1 : 0)
}

/** How many of the lower 16 bits are set, and whether it is below 0. */
function bitsOf(seed: number): number {
  let left = Math.abs(seed) % 65_536
  let count = seed < 0 ? 32 : 0
  for (; left > 0; left >>>= 1) count += left & 1
  return count
}

function sizes(one: Sighting, put: Put): void {
  const messages = (one.body.messages as readonly Message[] | undefined) ?? []
  put('sizes', 'body', one.question.bodyLength)
  put('sizes', 'text', textOf(one).length)
  put('sizes', 'last message', String(messages.at(-1)?.content ?? '').length)
  put('sizes', 'system message', messages[0]?.role === 'system' ? messages[0].content.length : 0)
  put('sizes', 'answer', one.question.answerLength)
}

function times(one: Sighting, earlier: readonly Sighting[], last: number, epochSeconds: number, put: Put): void {
  const gap = one.at - (earlier.at(-1)?.at ?? one.at)
  put('times', 'since the account asked', earlier.length === 0 ? -1 : Math.log1p(gap))
  put('times', 'the gap before that', earlier.length < 2 ? -1 : Math.log1p((earlier.at(-1)?.at ?? 0) - (earlier.at(-2)?.at ?? 0)))
  put('times', 'since anybody asked', Math.log1p(one.at - last))
  put('times', 'of the account in ten minutes', earlier.filter(({ at }) => one.at - at < 600).length)
  put('times', 'in the epoch', one.at % epochSeconds)
  put('times', 'in the hour', one.at % 3600)
}

function account(one: Sighting, earlier: readonly Sighting[], place: Place, put: Put): void {
  put('account', 'age in days', Math.log1p(place === 'controller' ? one.age + one.at / 86_400 : (one.at - (earlier[0]?.at ?? one.at)) / 86_400))
  put('account', 'questions before', Math.log1p(earlier.length))
  const ways = new Set(earlier.map(({ order }) => order))
  put('account', 'orders of members before', ways.size)
  const lengths = earlier.slice(-20).map((other) => Math.log1p(textOf(other).length))
  const mean = lengths.reduce((sum, value) => sum + value, 0) / Math.max(1, lengths.length)
  put('account', 'spread of lengths before', Math.sqrt(lengths.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, lengths.length)))
}

function fetches({ question, also }: Sighting, put: Put): void {
  for (const { path } of also) {
    const kind = path.replace(/[0-9a-f]{32,}|rcpt[\w-]*|[\w-]{20,}/g, 'ID').replace(/=[\w-]+/g, '=')
    put('fetches', kind, (also.filter((other) => other.path === path).length + 1) / 2)
  }
  put('fetches', 'number', also.length)
  for (const { headers } of also) put('fetches', `headers ${headers.map(([name]) => name).join(' ')}`, 1)
  put('fetches', 'on the connection of the question', also.filter(({ socket }) => socket === question.socket).length)
}

function text(all: string, put: Put): void {
  const part = (pattern: RegExp): number => (all.match(pattern)?.length ?? 0) / Math.max(1, all.length)
  put('text', 'digits', part(/\d/g))
  put('text', 'capitals', part(/\p{Lu}/gu))
  put('text', 'marks', part(/[^\p{L}\p{N}\s]/gu))
  put('text', 'lines', part(/\n/g))
  put('text', 'beyond ASCII', part(/[^\x00-\x7f]/g))
  put('text', 'ends with a question', /\?\s*$/.test(all) ? 1 : 0)
  const words = wordsOf(all)
  put('text', 'length of words', words.reduce((sum, { length }) => sum + length, 0) / Math.max(1, words.length))
  put('text', 'different words', new Set(words).size / Math.max(1, words.length))
}

/** What was said before, word by word, by this account and by others; and how much of the words of this account it has. */
function repeated(one: Sighting, earlier: readonly Sighting[], said: Map<string, Set<string>>, put: Put): void {
  const last = lastOf(one)
  const by = said.get(last) ?? new Set()
  put('text', 'others said the same before', by.size - (by.has(one.account) ? 1 : 0))
  put('text', 'said the same before', by.has(one.account) ? 1 : 0)
  said.set(last, by.add(one.account))
  // A conversation sends along what was said: only what is said now is compared.
  const own = new Set(earlier.slice(-20).flatMap((other) => wordsOf(lastOf(other))))
  const words = wordsOf(last)
  put('text', 'words of the account', own.size === 0 ? -1 : words.filter((word) => own.has(word)).length / Math.max(1, words.length))
}

function lastOf({ body }: Sighting): string {
  return String((body.messages as readonly Message[] | undefined)?.at(-1)?.content ?? '')
}

/** Words in small letters, numbers as their number of digits. */
export function wordsOf(all: string): readonly string[] {
  return all
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word !== '')
    .map((word) => (/^\d+$/.test(word) ? `#${word.length}` : word))
}

export { textOf }

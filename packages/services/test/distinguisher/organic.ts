import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { ChatOpenAI } from '@langchain/openai'
import { generateText, streamText } from 'ai'
import OpenAI from 'openai'

/**
 * Users of a network who are nobody's validator. Written apart from the probes: nothing of theirs is used here, neither texts nor draws, and requests are made by the
 * client libraries that people use, whatever headers and members those write.
 */
export interface Question {
  readonly user: number
  /** Seconds from the beginning. */
  readonly at: number
  readonly ask: (by: Means) => Promise<void>
}

export interface Means {
  readonly baseURL: string
  readonly fetch: typeof fetch
  readonly apiKey: string
  readonly model: string
}

export interface User {
  readonly encryptTo: 'none' | 'controller' | 'worker'
  /** Days since its key was first used. */
  readonly age: number
}

/** xorshift: a stream of its own for everything. */
function dice(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) || 1
  const next = (): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
  for (let i = 0; i < 20; i++) next()
  return next
}

type Roll = () => number
const pick = <T>(roll: Roll, list: readonly T[]): T => list[Math.floor(roll() * list.length)] as T
const normal = (roll: Roll): number => Math.sqrt(-2 * Math.log(1 - roll())) * Math.cos(2 * Math.PI * roll())
const between = (roll: Roll, from: number, to: number): number => from + Math.floor(roll() * (to - from + 1))

interface Message {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string
}
interface Asked {
  readonly messages: readonly Message[]
  readonly temperature?: number
  readonly top_p?: number
  readonly max_tokens?: number
  readonly seed?: number
  readonly stop?: string
  readonly presence_penalty?: number
  readonly stream: boolean
}

const things = [
  'sourdough',
  'a bike trip along a river',
  'my landlord',
  'React hooks',
  'a toddler who will not sleep',
  'tax returns',
  'house plants',
  'Postgres indexes',
  'a cover letter',
  'the French revolution',
  'back pain',
  'a birthday speech',
  'Kubernetes pods',
  'leftover rice',
  'a used car',
  'job interviews',
  'chess openings',
  'a noisy neighbour',
  'wedding vows',
  'photosynthesis',
  'a cat with fleas',
  'learning the guitar',
  'rust lifetimes',
  'mortgage rates',
  'a book club',
  'marathon training',
]
const openers = [
  'how do i deal with',
  'Explain',
  'what should I know about',
  'Give me 5 ideas about',
  'help me with',
  "I'm stuck with",
  'Write a short poem on',
  'ELI5',
  'pros and cons of',
  'Can you tell me more about',
  'quick question about',
  'Summarize what matters in',
  'Act as a coach for',
]
const tails = [
  '',
  '',
  '',
  ' please',
  ' in simple words',
  ' (max 100 words)',
  '. Be honest.',
  ' as a table',
  '?',
  '??',
  ' thanks!',
  ' in Spanish',
  ' for beginners',
  ' - no fluff',
]
const followUps = [
  'shorter please',
  'why?',
  'can you give an example',
  'make it funnier',
  'and if that does not work?',
  'in German now',
  'ok, continue',
  'Are you sure?',
  'more formal',
  'what about the cost',
]
const snippets = [
  'const total = items.reduce((a, b) => a + b.price, 0)',
  "SELECT * FROM users WHERE last_login < now() - interval '30 days'",
  'def area(r): return 3.14*r**2',
  'for (int i = 0; i <= n; i++) sum += a[i];',
  'useEffect(() => { fetchData() }, [])',
  'git rebase -i HEAD~3',
  'docker run -p 8080:80 nginx',
]
const chores = ['What is wrong here?', 'Refactor this', 'add types', 'write a unit test for it', 'Explain line by line', 'port this to Go']
const reviews = [
  'The room was clean but the street is loud at night.',
  'Arrived late, box dented, works fine.',
  'Best coffee in town, staff a bit slow',
  'Battery dies after two hours!!',
  'Exactly as described, would buy again',
  'Support never answered my emails.',
  'Too small, sent it back, refund took three weeks',
]
const labels = ['positive, negative or neutral', 'one of: delivery, quality, service', 'a score from 1 to 5']
const articles = [
  'City council approves new tram line after long debate.',
  'Researchers report that bees can count to four.',
  'The central bank left rates unchanged on Thursday.',
  'A storm cut power to thousands of homes overnight.',
  'The museum reopens in May with a show on maps.',
  'A start-up plans to grow coffee in greenhouses.',
]
const prose = [
  'It had rained all week and nobody minded any more.',
  'Most people agreed that something had to change, and few agreed on what.',
  'The figures for the third quarter were better than feared.',
  'She closed the door, counted to ten, and opened it again.',
  'In the north the harvest came late.',
  'There is a lot of talk about efficiency.',
  'None of this was in the minutes.',
  'He kept the letter in a drawer for years.',
]

type Persona = (roll: Roll) => (past: readonly Message[]) => Asked

/** Talks: earlier messages come along. */
const chatter: Persona = (roll) => {
  const system = roll() < 0.3 ? pick(roll, ['You are a friendly chatbot.', 'Answer briefly.', 'You are ChatGPT, a large language model.']) : null
  const temperature = roll() < 0.4 ? pick(roll, [0.7, 0.8, 1]) : undefined
  const limit = roll() < 0.5 ? pick(roll, [256, 512, 1000, 1024, 2048]) : undefined
  return (past) => ({
    messages: [
      ...(system === null ? [] : [{ role: 'system' as const, content: system }]),
      ...past.slice(-6),
      { role: 'user', content: past.length > 0 ? pick(roll, followUps) : `${pick(roll, openers)} ${pick(roll, things)}${pick(roll, tails)}` },
    ],
    ...(temperature === undefined ? {} : { temperature }),
    ...(limit === undefined ? {} : { max_tokens: limit }),
    stream: true,
  })
}

const coder: Persona = (roll) => {
  const system = roll() < 0.6 ? 'You are an expert programmer. Answer with code only.' : null
  return () => ({
    messages: [
      ...(system === null ? [] : [{ role: 'system' as const, content: system }]),
      {
        role: 'user',
        content: `${pick(roll, chores)}\n\`\`\`\n${Array.from({ length: between(roll, 1, 4) }, () => pick(roll, snippets)).join('\n')}\n\`\`\``,
      },
    ],
    temperature: pick(roll, [0, 0.1, 0.2]),
    ...(roll() < 0.5 ? { max_tokens: pick(roll, [400, 800, 1500]) } : {}),
    stream: roll() < 0.6,
  })
}

/** A program that sorts things: one prompt, many inputs. */
const batch: Persona = (roll) => {
  const label = pick(roll, labels)
  const options = roll() < 0.4 ? { seed: between(roll, 1, 99) } : roll() < 0.3 ? { stop: '\n' } : {}
  return () => ({
    messages: [
      { role: 'system', content: `Classify the review as ${label}. Reply with the label only.` },
      { role: 'user', content: `${pick(roll, reviews)} ${roll() < 0.4 ? pick(roll, reviews) : ''}`.trim() },
    ],
    temperature: 0,
    max_tokens: pick(roll, [5, 10, 16]),
    ...options,
    stream: false,
  })
}

const summariser: Persona = (roll) => {
  const style = pick(roll, ['Summarize the following text in one paragraph:', 'TL;DR of this:', 'Extract the key facts as bullet points.'])
  return () => {
    const length = Math.max(2, Math.round(Math.exp(1.6 + 0.7 * normal(roll))))
    const body = Array.from({ length: Math.min(length, 24) }, () => pick(roll, roll() < 0.4 ? articles : prose)).join(' ')
    return {
      messages: [{ role: 'user', content: `${style}\n\n${body}` }],
      ...(roll() < 0.5 ? { temperature: 0.3 } : {}),
      max_tokens: pick(roll, [150, 200, 300]),
      ...(roll() < 0.2 ? { top_p: 0.9 } : {}),
      stream: roll() < 0.3,
    }
  }
}

const mailer: Persona = (roll) => {
  const who = pick(roll, ['my boss', 'a customer', 'the school', 'a supplier', 'the bank'])
  return () => ({
    messages: [
      {
        role: 'user',
        content:
          `Write ${pick(roll, ['an email', 'a polite reply', 'a reminder', 'a short note'])} to ${who} about ${pick(roll, ['the meeting on', 'invoice', 'the delay since', 'ticket'])} ${between(roll, 1, 31)}.${between(roll, 1, 12)}. ${pick(roll, ['Sign as Kim.', 'Keep it under 80 words.', 'Mention that I am on leave.', ''])}`.trim(),
      },
    ],
    ...(roll() < 0.3 ? { temperature: 0.7, presence_penalty: 0.5 } : {}),
    stream: roll() < 0.5,
  })
}

const personas = [chatter, chatter, chatter, coder, coder, batch, batch, summariser, summariser, mailer, mailer]

type Program = (asked: Asked, means: Means) => Promise<string>

const openai: Program = async ({ stream, messages, ...rest }, { model, ...means }) => {
  const client = new OpenAI({ ...means, maxRetries: 0 })
  const body = { model, messages: [...messages], ...rest }
  if (!stream) return (await client.chat.completions.create(body)).choices[0]?.message.content ?? ''
  let text = ''
  for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) text += chunk.choices[0]?.delta.content ?? ''
  return text
}

const aiSdk: Program = async ({ stream, messages, temperature, top_p: topP, max_tokens: maxOutputTokens, seed, stop }, { model, ...means }) => {
  const provider = createOpenAICompatible({ name: 'veritee', ...means })
  const system = messages[0]?.role === 'system' ? messages[0].content : undefined
  const options = {
    model: provider(model),
    messages: messages.filter(({ role }) => role !== 'system').map(({ role, content }) => ({ role: role as 'user' | 'assistant', content })),
    maxRetries: 0,
    ...(system === undefined ? {} : { system }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP === undefined ? {} : { topP }),
    ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
    ...(seed === undefined ? {} : { seed }),
    ...(stop === undefined ? {} : { stopSequences: [stop] }),
  }
  if (!stream) return (await generateText(options)).text
  let text = ''
  for await (const part of streamText({ ...options, onError: () => undefined }).textStream) text += part
  return text
}

const langchain: Program = async ({ stream, messages, temperature, max_tokens: maxTokens }, { model, apiKey, baseURL, fetch }) => {
  const chat = new ChatOpenAI({
    model,
    apiKey,
    configuration: { baseURL, fetch },
    maxRetries: 0,
    ...(temperature === undefined ? {} : { temperature }),
    ...(maxTokens === undefined ? {} : { maxTokens }),
  })
  const turns = messages.map(({ role, content }) => [role === 'user' ? 'human' : role, content] as [string, string])
  if (!stream) return String((await chat.invoke(turns)).content)
  let text = ''
  for await (const chunk of await chat.stream(turns)) text += String(chunk.content)
  return text
}

/** Scripts of their own, as many write them. */
const script: Program = async (asked, { baseURL, apiKey, model, fetch }) => {
  const { messages, stream, ...rest } = asked
  const response = await fetch(`${baseURL}/chat/completions`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${apiKey}` },
    body: JSON.stringify({ model, messages, ...rest, ...(stream ? { stream } : {}) }),
  })
  const text = await response.text()
  return stream ? '' : ((JSON.parse(text) as { choices?: { message: { content: string } }[] }).choices?.[0]?.message.content ?? '')
}

const programs: readonly Program[] = [openai, openai, openai, openai, aiSdk, aiSdk, langchain, script, script]

/** `count` questions of `users` in so many seconds: each asks in sittings, some far more than others. */
export function population({
  seed,
  users,
  count,
  seconds,
}: {
  readonly seed: number
  readonly users: number
  readonly count: number
  readonly seconds: number
}): {
  readonly users: readonly User[]
  readonly questions: readonly Question[]
} {
  const roll = dice(seed)
  const people: User[] = []
  const questions: Question[] = []
  const weights = Array.from({ length: users }, () => Math.exp(0.9 * normal(roll)))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  for (const [user, weight] of weights.entries()) {
    const way = roll()
    people.push({ encryptTo: way < 0.6 ? 'none' : way < 0.8 ? 'controller' : 'worker', age: -20 * Math.log(1 - roll()) })
    const next = pick(roll, personas)(roll)
    const program = pick(roll, programs)
    let past: Message[] = []
    const wanted = Math.max(2, Math.round((count * weight) / total))
    for (let made = 0; made < wanted; ) {
      const sitting = Math.min(wanted - made, 1 + Math.floor(-3 * Math.log(1 - roll())))
      let at = roll() * seconds
      for (let i = 0; i < sitting && at < seconds; i++, made++) {
        const isFirst = i === 0
        questions.push({
          user,
          at,
          ask: async (means) => {
            if (isFirst) past = []
            const asked = next(past)
            const text = await program(asked, means)
            const last = asked.messages.at(-1)
            if (last !== undefined) past = [...past, last, { role: 'assistant', content: text === '' ? '...' : text.slice(0, 400) }]
          },
        })
        at += Math.exp(3.3 + normal(roll))
      }
      if (sitting === 0) break
    }
  }
  return { users: people, questions: questions.sort((a, b) => a.at - b.at) }
}

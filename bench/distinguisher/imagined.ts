import { createHash } from 'node:crypto'
import { conversationOf, goneTo } from './conversations.ts'
import type { Sighting } from './exchange.ts'
import { asSent } from './library.ts'
import { idleSeconds, type Observed } from './observe.ts'
import type { plannedFor } from './scene.ts'

const words =
  'the of and to a in is it you that for on with as are this be from or have by not at but they what all were when your can said there use an each which she do how their if'.split(
    ' ',
  )

/** A text as long as somebody could have answered, which follows from the question. */
function textFor(body: string): string {
  const { max_tokens: limit } = JSON.parse(body) as { readonly max_tokens?: number }
  const bytes = createHash('sha256').update(body).digest()
  const length = Math.min(limit ?? 1024, Math.ceil(20 * Math.exp((3 * bytes.readUInt16BE(0)) / 65_536)))
  return Array.from({ length }, (_, i) => words[((bytes[i % 32] ?? 0) + i) % words.length]).join(' ')
}

/** A body that answers a chat request. */
function answerTo(body: string): { readonly text: string; readonly contentType: string } {
  const content = textFor(body)
  const { stream = false } = JSON.parse(body) as { readonly stream?: boolean }
  const head = { id: 'x', created: 1, model: 'm' }
  if (!stream) {
    const choices = [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }]
    const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 }
    return { text: JSON.stringify({ ...head, object: 'chat.completion', choices, usage }), contentType: 'application/json' }
  }
  const chunk = (delta: object, finish_reason: string | null): string =>
    `data: ${JSON.stringify({ ...head, object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason }] })}\n\n`
  return { text: `${chunk({ role: 'assistant', content }, null)}${chunk({}, 'stop')}data: [DONE]\n\n`, contentType: 'text/event-stream' }
}

/** A `fetch` that answers by itself, and tells what it was asked. */
export function imaginedAnswer(told: (body: string, headers: Headers) => void): typeof fetch {
  return async (input, init) => {
    const request = new Request(input, init)
    const body = await request.text()
    told(body, request.headers)
    const { text, contentType } = answerTo(body)
    return new Response(text, { headers: { 'content-type': contentType } })
  }
}

/** The same as over a network, as far as bodies and times go: no service is there, answers are imagined, and nothing is known of headers, connections and what is fetched. */
export async function imagine({ probes, questions }: Awaited<ReturnType<typeof plannedFor>>): Promise<readonly Sighting[]> {
  const conversations = conversationOf()
  const found: Sighting[] = []
  for (const { account, at, age, name, probe, isWarming } of probes) {
    const { body } = goneTo(conversations, name, probe, 'm')
    const { text, contentType } = answerTo(body)
    conversations.keep(name, probe.index, { request: body, response: text, contentType })
    found.push(sightingOf({ account, at, age, isProbe: true, isHistory: isWarming }, body, text.length))
  }
  for (const { account, at, age, ask } of questions) {
    const fetch = imaginedAnswer(
      (body) => void found.push(sightingOf({ account, at, age, isProbe: false, isHistory: false }, asSent(body, at), answerTo(body).text.length)),
    )
    await ask({ baseURL: 'http://127.0.0.1:1/v1', apiKey: 'sk-x', model: 'm', fetch })
  }
  return onConnections(found.sort((a, b) => a.at - b.at))
}

/** Each on the connection of its account, or on a new one where that has ended. */
function onConnections(sightings: readonly Sighting[]): readonly Sighting[] {
  const open = new Map<string, { readonly socket: number; readonly at: number }>()
  let sockets = 0
  return sightings.map((one) => {
    const known = open.get(one.account)
    const socket = known !== undefined && one.at - known.at <= idleSeconds ? known.socket : ++sockets
    open.set(one.account, { socket, at: one.at })
    return { ...one, question: { ...one.question, socket } }
  })
}

export function sightingOf(who: Pick<Sighting, 'account' | 'at' | 'age' | 'isProbe' | 'isHistory'>, text: string, answerLength: number): Sighting {
  const question: Observed = {
    at: who.at,
    method: 'POST',
    path: '/v1/chat/completions',
    headers: [],
    bodyLength: Buffer.byteLength(text),
    socket: 0,
    before: 0,
    ms: 0,
    answerLength,
  }
  const body = JSON.parse(text) as Sighting['body']
  return { ...who, question, also: [], behind: null, body, order: Object.keys(body).join(' ') }
}

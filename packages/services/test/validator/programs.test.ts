import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { ChatOpenAI } from '@langchain/openai'
import { generateText, streamText } from 'ai'
import OpenAI from 'openai'
import { expect, test } from 'vitest'
import type { ProbeRequest } from '../../src/validator/probes/probe.ts'
import { bodyOf, headersOf, type Program } from '../../src/validator/probes/programs.ts'

// S20: a probe that claims to be of a library is written as that library writes it. Where a library is put up, this fails, and its program is to be put up too.

const system = 'You are a helpful assistant.'
const question = 'How much is two and two?'
const options = { temperature: 0.2, top_p: 0.9, max_tokens: 16 }
const requestOf = (stream: boolean): ProbeRequest => ({
  messages: [
    { role: 'system', content: system },
    { role: 'user', content: question },
  ],
  options: { ...options, stream },
  order: null,
  seed: null,
})

interface Sent {
  readonly headers: readonly (readonly [string, string])[]
  readonly body: string
}

/** What a library sends first; its answer is none, and what the library makes of that does not matter. */
async function sentBy(
  ask: (means: { readonly baseURL: string; readonly apiKey: string; readonly fetch: typeof fetch }) => Promise<unknown>,
): Promise<Sent> {
  const sent: Sent[] = []
  const spy: typeof fetch = async (input, init) => {
    const request = new Request(input, init)
    sent.push({ headers: [...request.headers], body: await request.text() })
    return new Response('{}', { status: 400, headers: { 'content-type': 'application/json' } })
  }
  await ask({ baseURL: 'http://127.0.0.1:1/v1', apiKey: 'sk-x', fetch: spy }).catch(() => undefined)
  const [first] = sent
  if (first === undefined) throw new Error('expected the library to send something')
  return first
}

async function drained(texts: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of texts);
}

const libraries: { readonly [P in Exclude<Program, 'script'>]: (stream: boolean) => Promise<Sent> } = {
  openai: (stream) =>
    sentBy(async (means) => {
      const client = new OpenAI({ ...means, maxRetries: 0 })
      const body = { model: 'm', messages: [...requestOf(stream).messages], ...options }
      return stream ? client.chat.completions.create({ ...body, stream }) : client.chat.completions.create(body)
    }),
  'ai-sdk': (stream) =>
    sentBy(async (means) => {
      const model = createOpenAICompatible({ name: 'x', ...means })('m')
      const asked = {
        model,
        system,
        messages: [{ role: 'user' as const, content: question }],
        maxOutputTokens: 16,
        temperature: 0.2,
        topP: 0.9,
        maxRetries: 0,
      }
      return stream ? drained(streamText({ ...asked, onError: () => undefined }).textStream) : generateText(asked)
    }),
  langchain: (stream) =>
    sentBy(async ({ apiKey, ...configuration }) => {
      const chat = new ChatOpenAI({ model: 'm', apiKey, configuration, maxRetries: 0, temperature: 0.2, topP: 0.9, maxTokens: 16 })
      const turns: [string, string][] = [
        ['system', system],
        ['human', question],
      ]
      return stream ? drained(await chat.stream(turns)) : chat.invoke(turns)
    }),
}

test.each((Object.keys(libraries) as (keyof typeof libraries)[]).flatMap((program) => [false, true].map((stream) => [program, stream] as const)))(
  'S20: a probe of the program %s, streamed %s, has the headers and the body of that library',
  async (program, stream) => {
    const sent = await libraries[program](stream)
    const own = new Request('http://127.0.0.1:1/', {
      headers: { 'content-type': 'application/json', authorization: 'Bearer sk-x', ...headersOf(program, { stream }) },
    })
    expect([...own.headers]).toEqual(sent.headers)
    expect(JSON.stringify(bodyOf(program, 'm', requestOf(stream)))).toBe(sent.body)
  },
)

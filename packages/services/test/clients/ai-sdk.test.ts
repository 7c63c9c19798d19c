import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { APICallError, embedMany, generateText, jsonSchema, Output, stepCountIs, streamText, tool } from 'ai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Network, startNetwork } from '../e2e/network.ts'
import { demanded, toolUser, weather } from '../e2e/tool-models.ts'

let network: Network
let provider: ReturnType<typeof createOpenAICompatible>

beforeAll(async () => {
  network = await startNetwork((model) => [model, toolUser(model), demanded(model)])
  provider = createOpenAICompatible({
    name: 'veritee',
    baseURL: `${network.controller.api.url}/v1`,
    apiKey: 'unused',
    supportsStructuredOutputs: true,
    includeUsage: true,
  })
})
afterAll(() => network.close())

const capital = { prompt: 'what is the capital of japan', temperature: 0, maxRetries: 0 } as const
const answer = 'The capital of Japan is Tokyo.'

const asked: string[] = []
const tools = {
  weather: tool({
    description: weather.function.description,
    inputSchema: jsonSchema<{ place: string }>(weather.function.parameters as Parameters<typeof jsonSchema>[0]),
    execute: ({ place }) => {
      asked.push(place)
      return 'sunny'
    },
  }),
}

describe('the Vercel AI SDK, unmodified', () => {
  test('generateText', async () => {
    const { text, finishReason, usage, response } = await generateText({ ...capital, model: provider('veritee-demo') })
    expect([text, finishReason]).toEqual([answer, 'stop'])
    expect(usage.totalTokens).toBe((usage.inputTokens ?? 0) + (usage.outputTokens ?? 0))
    expect(response.headers?.['x-receipt-id']).toMatch(/^rcpt-/)
  })

  test('streamText, with usage', async () => {
    const result = streamText({ ...capital, model: provider('veritee-demo') })
    let text = ''
    for await (const piece of result.textStream) text += piece
    expect([text, await result.finishReason]).toEqual([answer, 'stop'])
    expect((await result.usage).outputTokens).toBeGreaterThan(3)
  })

  test('a seed gives the same text again', async () => {
    const hot = { ...capital, model: provider('veritee-demo'), prompt: 'Tell me a story about a fox.', temperature: 1.5, seed: 7 }
    expect((await generateText(hot)).text).toBe((await generateText(hot)).text)
  })

  test.each([false, true])('calls tools and answers over their results; streamed: %s', async (streamed) => {
    asked.length = 0
    const options = { model: provider('tool-user'), prompt: 'How is the weather in Rome and Oslo?', tools, stopWhen: stepCountIs(3), maxRetries: 0 }
    const text = streamed ? await streamText(options).text : (await generateText(options)).text
    expect(text).toBe('It is sunny there.')
    expect(asked).toEqual(['Rome', 'Oslo'])
  })

  test.each([false, true])('an object of a JSON Schema; streamed: %s', async (streamed) => {
    const schema = jsonSchema<{ name: string; age: number }>({
      type: 'object',
      properties: { name: { type: 'string', maxLength: 8 }, age: { type: 'integer' } },
      required: ['name', 'age'],
      additionalProperties: false,
    })
    const options = { ...capital, model: provider('veritee-demo'), prompt: 'Tell me about Mia.', output: Output.object({ schema, name: 'person' }) }
    const output = streamed ? await streamText(options).output : (await generateText(options)).output
    expect(output).toEqual({ name: expect.any(String) as string, age: expect.any(Number) as number })
  })

  test('embeddings', async () => {
    const { embeddings } = await embedMany({ model: provider.embeddingModel('veritee-demo'), values: ['a fox', 'a dog'], maxRetries: 0 })
    expect(embeddings).toHaveLength(2)
    expect(embeddings[0]?.length).toBe(network.model.engine.model.embeddingSize)
  })

  test.for([
    ['an unknown model', 'gpt-4o', {}, 404, 'model_not_found'],
    ['an input longer than the context', 'veritee-demo', { prompt: 'word '.repeat(3000) }, 400, 'context_length_exceeded'],
  ] as const)('its own error class for %s', async ([, model, members, status, code]) => {
    const error: unknown = await generateText({ ...capital, ...members, model: provider(model) }).catch((thrown: unknown) => thrown)
    if (!APICallError.isInstance(error)) throw error
    expect([error.statusCode, error.isRetryable]).toEqual([status, false])
    expect(error.data).toMatchObject({ error: { type: 'invalid_request_error', code } })
  })

  test('a stream that is aborted ends at once; the next request is served', async () => {
    const abort = new AbortController()
    const options = { ...capital, prompt: 'Tell me a story about a dragon named Ruby.', abortSignal: abort.signal }
    const parts: string[] = []
    for await (const part of streamText({ ...options, model: provider('veritee-demo') }).fullStream) {
      parts.push(part.type)
      if (part.type === 'text-delta') abort.abort()
    }
    expect(parts.at(-1)).toBe('abort')
    expect((await generateText({ ...capital, model: provider('veritee-demo') })).text).toBe(answer)
    expect(network.controller.controller.registry.all()[0]?.quarantine).toBeNull()
  })
})

import { HumanMessage, type ToolMessage } from '@langchain/core/messages'
import { tool } from '@langchain/core/tools'
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Network, startNetwork } from '../e2e/network.ts'
import { demanded, toolUser, weather } from '../e2e/tool-models.ts'

let network: Network
type Fields = NonNullable<ConstructorParameters<typeof ChatOpenAI>[0]>

beforeAll(async () => {
  network = await startNetwork((model) => [model, toolUser(model), demanded(model)])
})
afterAll(() => network.close())

const connection = (): { apiKey: string; maxRetries: number; configuration: { baseURL: string } } => ({
  apiKey: 'unused',
  maxRetries: 0,
  configuration: { baseURL: `${network.controller.api.url}/v1` },
})
const chat = (model: string, more: Partial<Fields> = {}): ChatOpenAI => new ChatOpenAI({ ...connection(), model, temperature: 0, ...more })

const answer = 'The capital of Japan is Tokyo.'
const capital = 'what is the capital of japan'
const parameters = {
  type: 'object' as const,
  properties: { place: { type: 'string' as const, maxLength: 8 } },
  required: ['place'],
  additionalProperties: false,
}
const asked: string[] = []
const look = tool(
  (input) => {
    asked.push((input as { place: string }).place)
    return 'sunny'
  },
  { name: 'weather', description: weather.function.description, schema: parameters },
)

/** Its types lose the member on their way through generics that are not set. */
function usageOf(message: object): { output_tokens?: number; total_tokens?: number } {
  return (message as { usage_metadata?: { output_tokens: number; total_tokens: number } }).usage_metadata ?? {}
}

describe.each([
  ['chat completions', {}],
  ['responses', { useResponsesApi: true }],
] as const)('LangChain.js over %s, unmodified', (_, how) => {
  test('invoke', async () => {
    const message = await chat('veritee-demo', how).invoke(capital)
    expect(message.text).toBe(answer)
    expect(usageOf(message).output_tokens).toBeGreaterThan(3)
  })

  test('stream', async () => {
    const pieces: string[] = []
    let total = 0
    for await (const chunk of await chat('veritee-demo', how).stream(capital)) {
      pieces.push(chunk.text)
      total += usageOf(chunk).total_tokens ?? 0
    }
    expect(pieces.join('')).toBe(answer)
    expect(pieces.filter((piece) => piece !== '').length).toBeGreaterThan(1)
    expect(total).toBeGreaterThan(10)
  })

  test('tools: calls, and an answer over their results', async () => {
    asked.length = 0
    const model = chat('tool-user', how).bindTools([look])
    const question = new HumanMessage('How is the weather in Rome and Oslo?')
    const called = await model.invoke([question])
    expect(called.tool_calls?.map(({ name, args }) => [name, args])).toEqual([
      ['weather', { place: 'Rome' }],
      ['weather', { place: 'Oslo' }],
    ])
    const results = await Promise.all((called.tool_calls ?? []).map((call) => look.invoke(call)))
    const told = await model.invoke([question, called, ...(results as ToolMessage[])])
    expect(told.text).toBe('It is sunny there.')
    expect(asked).toEqual(['Rome', 'Oslo'])
  })

  test('withStructuredOutput, by a JSON Schema', async () => {
    const schema = {
      title: 'person',
      type: 'object',
      properties: { name: { type: 'string', maxLength: 8 }, age: { type: 'integer' } },
      required: ['name', 'age'],
      additionalProperties: false,
    }
    const person = await chat('veritee-demo', how).withStructuredOutput(schema, { method: 'jsonSchema', strict: true }).invoke('Tell me about Mia.')
    expect(person).toEqual({ name: expect.any(String) as string, age: expect.any(Number) as number })
  })

  test.for([
    ['an unknown model', 'gpt-4o', capital, 404],
    ['an input longer than the context', 'veritee-demo', 'word '.repeat(3000), 400],
  ] as const)('an error for %s, with its status', async ([, model, prompt, status]) => {
    const error: unknown = await chat(model, how)
      .invoke(prompt)
      .catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({ status })
  })

  test('a stream that is aborted ends; the next request is served', async () => {
    const abort = new AbortController()
    const reading = (async () => {
      for await (const chunk of await chat('veritee-demo', how).stream('Tell me a story about a dragon named Ruby.', { signal: abort.signal }))
        if (chunk.text !== '') abort.abort()
    })()
    await expect(reading).rejects.toThrow(/abort/i)
    expect((await chat('veritee-demo', how).invoke(capital)).text).toBe(answer)
    expect(network.controller.controller.registry.all()[0]?.quarantine).toBeNull()
  })
})

test('LangChain.js embeds texts', async () => {
  const vectors = await new OpenAIEmbeddings({ ...connection(), model: 'veritee-demo' }).embedDocuments(['a fox', 'a dog'])
  expect(vectors.map(({ length }) => length)).toEqual([network.model.engine.model.embeddingSize, network.model.engine.model.embeddingSize])
})

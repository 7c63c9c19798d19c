import OpenAI from 'openai'
import { makeParseableTool } from 'openai/lib/parser'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Network, startNetwork } from './network.ts'
import { demanded, toolUser, weather } from './tool-models.ts'

let network: Network
let client: OpenAI

beforeAll(async () => {
  network = await startNetwork((model) => [model, toolUser(model), demanded(model)])
  client = new OpenAI({ baseURL: `${network.controller.api.url}/v1`, apiKey: 'unused', maxRetries: 0 })
})
afterAll(() => network.close())

const asked = { model: 'tool-user', messages: [{ role: 'user' as const, content: 'How is the weather in Rome and Oslo?' }], tools: [weather] }

describe('tools of the official openai client', () => {
  test('several models are served by one worker, each under its name', async () => {
    expect((await client.models.list()).data.map(({ id }) => id).sort()).toEqual(['demo-tools', 'tool-user', 'veritee-demo'])
    const plain = await client.chat.completions.create({
      model: 'veritee-demo',
      temperature: 0,
      messages: [{ role: 'user', content: 'what is the capital of japan' }],
    })
    expect(plain).toMatchObject({ model: 'veritee-demo', choices: [{ message: { content: 'The capital of Japan is Tokyo.' } }] })
  })

  test('calls come with ids, names and JSON arguments, and finish_reason tool_calls', async () => {
    const { choices } = await client.chat.completions.create(asked)
    expect(choices[0]).toMatchObject({
      finish_reason: 'tool_calls',
      message: {
        content: expect.stringMatching(/^I will look\.\s*$/),
        tool_calls: [
          { id: expect.stringMatching(/^call_[0-9a-f]{24}$/), type: 'function', function: { name: 'weather', arguments: '{"place": "Rome"}' } },
          { id: expect.stringMatching(/^call_[0-9a-f]{24}$/), type: 'function', function: { name: 'weather', arguments: '{"place": "Oslo"}' } },
        ],
      },
    })
    const [first, second] = choices[0]?.message.tool_calls ?? []
    expect(first?.id).not.toBe(second?.id)
  })

  test('streamed deltas add up to the same message', async () => {
    const stream = client.chat.completions.stream({ ...asked, stream_options: { include_usage: true } })
    const pieces: unknown[] = []
    stream.on('tool_calls.function.arguments.done', ({ name, arguments: text }) => pieces.push([name, text]))
    const { choices, usage } = await stream.finalChatCompletion()
    expect(pieces).toEqual([
      ['weather', '{"place": "Rome"}'],
      ['weather', '{"place": "Oslo"}'],
    ])
    expect(choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { content: expect.stringMatching(/^I will look\.\s*$/) } })
    expect(choices[0]?.message.tool_calls).toHaveLength(2)
    expect(usage?.completion_tokens).toBeGreaterThan(10)
  })

  test.each([false, true])('runTools() calls the functions and gives the answer over their results; streamed: %s', async (stream) => {
    const places: string[] = []
    const tool = makeParseableTool<{ name: string; arguments: { place: string }; function: (args: { place: string }) => string }>(weather, {
      parser: (text) => JSON.parse(text) as { place: string },
      callback: ({ place }) => {
        places.push(place)
        return 'sunny'
      },
    })
    const runner = stream
      ? client.chat.completions.runTools({ ...asked, stream: true, tools: [tool] })
      : client.chat.completions.runTools({ ...asked, tools: [tool] })
    expect(await runner.finalContent()).toBe('It is sunny there.')
    expect(places).toEqual(['Rome', 'Oslo'])
  })

  test('a call by name is of the schema, from a model that knows no tools', async () => {
    const { choices } = await client.chat.completions.create({
      ...asked,
      model: 'demo-tools',
      temperature: 0,
      tool_choice: { type: 'function', function: { name: 'weather' } },
    })
    const [call] = choices[0]?.message.tool_calls ?? []
    expect(choices[0]?.message.content).toBeNull()
    expect(call?.type === 'function' ? JSON.parse(call.function.arguments) : null).toEqual({ place: expect.any(String) })
  })

  test('a model whose template has no tools refuses them', async () => {
    const error: unknown = await client.chat.completions.create({ ...asked, model: 'veritee-demo' }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.BadRequestError)
    expect(error).toMatchObject({ code: 'unsupported_value', param: 'tools' })
  })
})

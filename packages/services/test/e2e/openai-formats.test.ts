import { createHash, createHmac } from 'node:crypto'
import OpenAI from 'openai'
import { makeParseableResponseFormat } from 'openai/lib/parser'
import { type InferenceEvent, parseReceipt } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Network, startNetwork } from './network.ts'

let network: Network
let client: OpenAI

beforeAll(async () => {
  network = await startNetwork()
  client = new OpenAI({ baseURL: `${network.controller.api.url}/v1`, apiKey: 'unused', maxRetries: 0 })
})
afterAll(() => network.close())

async function inferenceOf(response: Response): Promise<InferenceEvent> {
  const url = `${network.controller.api.url}/v1/veritee/receipts/${response.headers.get('x-receipt-id')}/upstream`
  const receipt = parseReceipt(await (await fetch(url, { headers: { authorization: 'Bearer unused' } })).text())
  const event = receipt.events.find(({ type }) => type === 'veritee.inference')
  if (event?.type !== 'veritee.inference') throw new Error('the receipt lacks veritee.inference')
  return event
}

interface Person {
  readonly name: string
  readonly age: number
  readonly friend: { readonly name: string } | null
}

const schema = {
  type: 'object',
  properties: {
    name: { type: 'string', maxLength: 10 },
    age: { type: 'integer' },
    friend: {
      anyOf: [
        { type: 'object', properties: { name: { type: 'string', maxLength: 5 } }, required: ['name'], additionalProperties: false },
        { type: 'null' },
      ],
    },
  },
  required: ['name', 'age', 'friend'],
  additionalProperties: false,
}
const personFormat = makeParseableResponseFormat(
  { type: 'json_schema', json_schema: { name: 'person', strict: true, schema } },
  (text) => JSON.parse(text) as Person,
)
const asked = { model: 'veritee-demo', messages: [{ role: 'user' as const, content: 'Tell me about Mia.' }] }

describe('structured outputs of the official openai client', () => {
  test('parse() gives a value of the schema', async () => {
    const answer = await client.chat.completions.parse({ ...asked, temperature: 0, response_format: personFormat })
    const parsed = answer.choices[0]?.message.parsed
    expect(parsed).toEqual({
      name: expect.any(String),
      age: expect.any(Number),
      friend: parsed?.friend === null ? null : { name: expect.any(String) },
    })
    expect(answer.choices[0]?.finish_reason).toBe('stop')
  })

  test('stream() gives the same value', async () => {
    const parameters = { ...asked, temperature: 1.2, seed: 11, response_format: personFormat }
    const whole = await client.chat.completions.parse(parameters)
    const streamed = await client.chat.completions.stream(parameters).finalChatCompletion()
    expect(streamed.choices[0]?.message.content).toBe(whole.choices[0]?.message.content)
    expect(streamed.choices[0]?.message.parsed).toEqual(whole.choices[0]?.message.parsed)
  })

  test('a schema outside the subset is a BadRequestError with its place', async () => {
    const odd = {
      type: 'json_schema' as const,
      json_schema: { name: 'x', schema: { type: 'object', properties: { a: { type: 'string', pattern: 'x' } } } },
    }
    const error: unknown = await client.chat.completions.create({ ...asked, response_format: odd }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.BadRequestError)
    expect(error).toMatchObject({ code: 'unsupported_value', param: 'response_format.json_schema.schema' })
    expect((error as Error).message).toContain('/properties/a/pattern')
  })
})

test('S6: the receipt names the form, and has only a keyed digest of the schema', async () => {
  const { response } = await client.chat.completions.create({ ...asked, temperature: 0, response_format: personFormat }).withResponse()
  const { parameters } = await inferenceOf(response)
  const key = Buffer.from(response.headers.get('x-veritee-receipt-key') ?? '', 'hex')
  const text = JSON.stringify(schema)
  expect(parameters).toMatchObject({ constraint: 'json_schema', constraint_hmac: createHmac('sha256', key).update(text).digest('hex') })
  expect(JSON.stringify(parameters)).not.toContain(createHash('sha256').update(text).digest('hex'))
  expect(JSON.stringify(parameters)).not.toContain('properties')
})

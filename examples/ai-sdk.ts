// The Vercel AI SDK against the demo, unmodified: a streamed text, then an object of a JSON Schema. It verifies nothing.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateText, jsonSchema, Output, streamText } from 'ai'

const veritee = createOpenAICompatible({
  name: 'veritee',
  baseURL: process.env.VERITEE_URL ?? 'http://127.0.0.1:8000/v1',
  supportsStructuredOutputs: true,
  includeUsage: true,
})
const model = veritee('veritee-demo')

for await (const piece of streamText({ model, prompt: 'What is remote attestation?' }).textStream) process.stdout.write(piece)

const schema = jsonSchema<{ city: string }>({
  type: 'object',
  properties: { city: { type: 'string', maxLength: 20 } },
  required: ['city'],
  additionalProperties: false,
})
const { output } = await generateText({
  model,
  prompt: 'What is the capital of Japan?',
  temperature: 0,
  output: Output.object({ schema, name: 'city' }),
})
process.stdout.write(`\n${JSON.stringify(output)}\n`)

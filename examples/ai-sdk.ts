// The Vercel AI SDK with every answer verified: a streamed text, then an object of a JSON Schema.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateText, jsonSchema, Output, streamText } from 'ai'
import { connect } from 'veritee/client'
import { policy, trust, url } from './demo.ts'

const veritee = await connect(url, { policy, trust, onProof: ({ status, model }) => console.log(`\n[${status}: ${model?.name}]`) })
const provider = createOpenAICompatible({
  name: 'veritee',
  baseURL: veritee.baseURL,
  fetch: veritee.fetch,
  supportsStructuredOutputs: true,
  includeUsage: true,
})
const model = provider('veritee-demo')

// What cannot be proven arrives here as an error, after the text that came before it.
const { fullStream } = streamText({ model, prompt: 'What is remote attestation?', maxRetries: 0 })
for await (const part of fullStream) {
  if (part.type === 'text-delta') process.stdout.write(part.text)
  if (part.type === 'error') throw part.error
}

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
  maxRetries: 0,
  output: Output.object({ schema, name: 'city' }),
})
process.stdout.write(`\n${JSON.stringify(output)}\n`)
veritee.close()

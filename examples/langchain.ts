// LangChain.js against the demo, unmodified: a streamed text, then an object of a JSON Schema. It verifies nothing.
import { ChatOpenAI } from '@langchain/openai'

const model = new ChatOpenAI({
  model: 'veritee-demo',
  temperature: 0,
  apiKey: 'unused',
  configuration: { baseURL: process.env.VERITEE_URL ?? 'http://127.0.0.1:8000/v1' },
})
for await (const chunk of await model.stream('What is remote attestation?')) process.stdout.write(chunk.text)

const schema = {
  title: 'city',
  type: 'object',
  properties: { city: { type: 'string', maxLength: 20 } },
  required: ['city'],
  additionalProperties: false,
}
const city = await model.withStructuredOutput(schema, { method: 'jsonSchema', strict: true }).invoke('What is the capital of Japan?')
process.stdout.write(`\n${JSON.stringify(city)}\n`)

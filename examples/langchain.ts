// LangChain.js with every answer verified: a streamed text, then an object of a JSON Schema.
import { ChatOpenAI } from '@langchain/openai'
import { connect } from 'veritee/client'
import { policy, trust, url } from './demo.ts'

const veritee = await connect(url, { policy, trust, onProof: ({ status, model }) => console.log(`\n[${status}: ${model?.name}]`) })
const model = new ChatOpenAI({
  model: 'veritee-demo',
  temperature: 0,
  maxRetries: 0,
  apiKey: process.env.VERITEE_API_KEY ?? 'unused',
  configuration: { baseURL: veritee.baseURL, fetch: veritee.fetch },
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
veritee.close()

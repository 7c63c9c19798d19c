// The official OpenAI client over /v1/responses, every answer verified. Nothing is kept by the service, so the whole conversation is sent each time.
import OpenAI from 'openai'
import { connect } from 'veritee/client'
import { policy, trust, url } from './demo.ts'

const veritee = await connect(url, { policy, trust, onProof: ({ status, model }) => console.log(`[${status}: ${model?.name}]`) })
const client = new OpenAI({ baseURL: veritee.baseURL, apiKey: process.env.VERITEE_API_KEY ?? 'unused', fetch: veritee.fetch })
const stream = await client.responses.create({
  model: 'veritee-demo',
  instructions: 'Answer in one sentence.',
  input: [{ role: 'user', content: 'What is remote attestation?' }],
  stream: true,
})
for await (const event of stream) {
  if (event.type === 'response.output_text.delta') process.stdout.write(event.delta)
  if (event.type === 'response.completed') process.stdout.write(`\n${event.response.usage?.total_tokens} tokens\n`)
}
veritee.close()

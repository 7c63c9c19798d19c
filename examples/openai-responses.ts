// The official OpenAI client over /v1/responses, unmodified. Nothing is kept by the service, so the whole conversation is sent each time; nothing is verified here.
import OpenAI from 'openai'

const client = new OpenAI({ baseURL: process.env.VERITEE_URL ?? 'http://127.0.0.1:8000/v1', apiKey: 'unused' })
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

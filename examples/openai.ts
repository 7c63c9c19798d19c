// The official OpenAI client against the demo, unmodified. It gets answers; it verifies nothing.
import OpenAI from 'openai'

const client = new OpenAI({ baseURL: process.env.VERITEE_URL ?? 'http://127.0.0.1:8000/v1', apiKey: 'unused' })
const stream = await client.chat.completions.create({
  model: 'veritee-demo',
  messages: [{ role: 'user', content: 'What is remote attestation?' }],
  stream: true,
})
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? '')
process.stdout.write('\n')

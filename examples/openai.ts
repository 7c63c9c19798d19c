// The official OpenAI client with every answer verified: the service before anything is sent, each answer before its end is given out.
import OpenAI from 'openai'
import { connect, explain } from 'veritee/client'
import { policy, trust, url } from './demo.ts'

const veritee = await connect(url, { policy, trust, onProof: (proof) => console.log(`\n\n${explain(proof)}`) })
const client = new OpenAI({ baseURL: veritee.baseURL, apiKey: process.env.VERITEE_API_KEY ?? 'unused', fetch: veritee.fetch })

// Where an answer cannot be proven, this throws instead of ending.
const stream = await client.chat.completions.create({
  model: 'veritee-demo',
  messages: [{ role: 'user', content: 'What is remote attestation?' }],
  stream: true,
})
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? '')
veritee.close()

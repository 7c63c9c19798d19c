// Bodies encrypted to the key of the worker that runs the model: the controller in front passes on what it cannot read.
import OpenAI from 'openai'
import { connect, explain } from 'veritee/client'
import { policy, trust, url } from './demo.ts'

const veritee = await connect(url, { policy, trust, encryptTo: 'worker', mode: 'buffered' })
const client = new OpenAI({ baseURL: veritee.baseURL, apiKey: process.env.VERITEE_API_KEY ?? 'unused', fetch: veritee.fetch })
const { data, response } = await client.chat.completions
  .create({ model: 'veritee-demo', messages: [{ role: 'user', content: 'Who are you?' }] })
  .withResponse()
console.log(data.choices[0]?.message.content)
console.log(explain(await veritee.proofOf(response)))
veritee.close()

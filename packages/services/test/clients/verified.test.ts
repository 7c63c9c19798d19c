import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { ChatOpenAI } from '@langchain/openai'
import { generateText, streamText } from 'ai'
import OpenAI from 'openai'
import { type Connection, type ConnectionOptions, connect, type Proof, webTransport } from 'veritee/client'
import type { Policy } from 'veritee/policy'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { complaints } from '../../../../tools/test/schemas.ts'
import { type Network, startNetwork } from '../e2e/network.ts'

let network: Network
const open: Connection[] = []
beforeAll(async () => {
  network = await startNetwork()
}, 60_000)
afterAll(() => network.close())
afterEach(() => {
  for (const connection of open.splice(0)) connection.close()
})

const proofs: Proof[] = []
async function connected(changes: Partial<ConnectionOptions> = {}): Promise<Connection> {
  proofs.length = 0
  const { policy, machine, controller } = network
  const connection = await connect(controller.api.url, { policy, trust: machine.trust, onProof: (proof) => proofs.push(proof), ...changes })
  open.push(connection)
  return connection
}

const question = 'what is the capital of japan'
const answer = 'The capital of Japan is Tokyo.'
const asking = (content: string): { model: string; temperature: number; messages: { role: 'user'; content: string }[] } => ({
  model: 'veritee-demo',
  temperature: 0,
  messages: [{ role: 'user', content }],
})
const ask = asking(question)
const story = asking('Tell me a story about a dragon named Ruby.')

function sdk({ baseURL, fetch }: Connection): OpenAI {
  return new OpenAI({ baseURL, fetch, apiKey: 'unused', maxRetries: 0 })
}

/** Proofs are told after the body has ended. */
async function proven(count = 1): Promise<Proof> {
  while (proofs.length < count) await new Promise((resolve) => setTimeout(resolve, 5))
  const last = proofs[count - 1] as Proof
  expect(complaints('proof', JSON.parse(JSON.stringify(last)))).toEqual([])
  return last
}

describe.each(['none', 'controller', 'worker'] as const)('SDKs through a connection, bodies encrypted to: %s', (encryptTo) => {
  const expected = { status: 'verified', error: null, bytes: { complete: true, encryptedTo: encryptTo === 'none' ? null : encryptTo } }

  test.each(['buffered', 'hold-last', 'report'] as const)('OpenAI, plain and streamed, mode %s', async (mode) => {
    const client = sdk(await connected({ encryptTo, mode }))
    const { data, response } = await client.chat.completions.create(ask).withResponse()
    expect(data.choices[0]?.message.content).toBe(answer)
    expect(await open[0]?.proofOf(response)).toMatchObject(expected)
    let text = ''
    for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) text += chunk.choices[0]?.delta.content ?? ''
    expect(text).toBe(answer)
    expect(await proven(2)).toMatchObject({ ...expected, model: { name: 'veritee-demo', provenance: 'hashed_while_loading' }, outcome: 'complete' })
  })

  test('OpenAI: embeddings, completions and responses', async () => {
    const client = sdk(await connected({ encryptTo }))
    expect((await client.embeddings.create({ model: 'veritee-demo', input: 'a fox' })).data).toHaveLength(1)
    expect((await client.completions.create({ model: 'veritee-demo', prompt: question, max_tokens: 4 })).choices).toHaveLength(1)
    let last = ''
    for await (const event of await client.responses.create({ model: 'veritee-demo', input: question, stream: true, temperature: 0 }))
      last = event.type
    expect(last).toBe('response.completed')
    expect([await proven(1), await proven(2), await proven(3)].map(({ status }) => status)).toEqual(['verified', 'verified', 'verified'])
  })

  test('S9: a stream that its reader leaves is a verified prefix', async () => {
    const client = sdk(await connected({ encryptTo }))
    let seen = 0
    for await (const _ of await client.chat.completions.create({ ...story, stream: true })) if (++seen === 3) break
    const proof = await proven()
    expect(proof).toMatchObject({ status: 'verified-prefix', error: null, bytes: { complete: false } })
    expect(proof.bytes.events).toBeGreaterThanOrEqual(3)
  })

  test('the Vercel AI SDK and LangChain', async () => {
    const { baseURL, fetch } = await connected({ encryptTo })
    const provider = createOpenAICompatible({ name: 'veritee', baseURL, fetch, apiKey: 'unused' })
    const options = { model: provider('veritee-demo'), prompt: question, temperature: 0, maxRetries: 0 }
    expect((await generateText(options)).text).toBe(answer)
    expect(await streamText(options).text).toBe(answer)
    const model = new ChatOpenAI({ model: 'veritee-demo', temperature: 0, apiKey: 'unused', maxRetries: 0, configuration: { baseURL, fetch } })
    expect((await model.invoke(question)).text).toBe(answer)
    let text = ''
    for await (const chunk of await model.stream(question)) text += chunk.text
    expect(text).toBe(answer)
    expect(await proven(4)).toMatchObject(expected)
  })

  test('errors of the service reach the SDK with their status', async () => {
    const client = sdk(await connected({ encryptTo }))
    const error: unknown = await client.chat.completions.create({ ...ask, temperature: 99 }).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ status: 400 })
    // What was refused is signed.
    expect(await proven()).toMatchObject({ status: 'unproven', error: { code: 'service_refused' }, worker: null })
  })
})

test('S4: over a fetch, as in browsers, the channel is the encryption; without it there is none', async () => {
  const roles = network.policy.roles
  const strict: Policy = {
    ...network.policy,
    roles: { ...roles, ...(roles.controller === undefined ? {} : { controller: { ...roles.controller, channel: 'attested' } }) },
  }
  const openTransport = (url: string): ReturnType<typeof webTransport> => webTransport(url)
  const client = sdk(await connected({ policy: strict, encryptTo: 'worker', openTransport }))
  expect((await client.chat.completions.create(ask)).choices[0]?.message.content).toBe(answer)
  expect(await proven()).toMatchObject({
    service: { channel: 'sealed' },
    worker: { channel: 'sealed', fresh: true },
    bytes: { encryptedTo: 'worker' },
  })
  await expect(connected({ policy: strict, encryptTo: 'none', openTransport })).rejects.toMatchObject({ code: 'policy_channel' })
})

test('a worker is asked directly, and sealed to', async () => {
  const { policy, machine, worker } = network
  for (const encryptTo of ['none', 'worker'] as const) {
    const connection = await connect(worker.server.url, { policy, trust: machine.trust, role: 'worker', encryptTo })
    open.push(connection)
    const { data, response } = await sdk(connection).chat.completions.create(ask).withResponse()
    expect(data.choices[0]?.message.content).toBe(answer)
    expect(await connection.proofOf(response)).toMatchObject({ status: 'verified', worker: null, service: { role: 'worker', channel: 'attested' } })
  }
})

import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { request } from 'undici'
import { eventOf, parseReceipt } from 'veritee/receipt'
import { beforeAll, describe, expect, test } from 'vitest'
import { SealedStatements } from '../../src/enclave/runtime/ehbp/statements.ts'
import type { Identity } from '../../src/enclave/runtime/identity.ts'
import { Ledger } from '../../src/enclave/runtime/ledger.ts'
import { type AnswerShape, type GeneratingEndpoint, handleGeneration } from '../../src/enclave/worker/answer.ts'
import { plainEvents } from '../../src/enclave/worker/chat-format.ts'
import type { Completion, CompletionDelta, CompletionResult } from '../../src/enclave/worker/engine/index.ts'
import type { ServedModel } from '../../src/enclave/worker/served-model.ts'
import { hash, identities, now } from './enclave.ts'

/** The model ran and its words cannot be told: a receipt says so all the same. */

let identity: Identity
beforeAll(async () => {
  identity = await (await identities()).make()
})

const engine = { name: 'e', version: '1', build: hash, cpu_variant: 'v' }
const model = {
  name: 'm',
  event: {
    type: 'veritee.model',
    name: 'm',
    files: [{ name: 'm.gguf', sha256: hash, size: 1 }],
    format: 'gguf',
    sealed: false,
    chat_template_digest: null,
    provenance: 'hashed_while_loading',
  },
  describedEngine: engine,
  engine: { facts: { profile: 'canonical' } },
} as unknown as ServedModel

type Request = { readonly model: string; readonly stream: boolean; readonly ignored: readonly string[] }

function endpoint(broken: keyof AnswerShape): GeneratingEndpoint<Request> {
  const fails = (): never => {
    throw new Error('a prompt is in this message')
  }
  const usage = { promptTokens: 1, completionTokens: 1, totalTokens: 2 }
  const choice = { outcome: 'complete', finishReason: 'stop', text: 'x', completionTokens: [1] } as const
  const result: CompletionResult = { ...choice, choices: [choice], usage }
  const completion: Completion = {
    promptTokens: [1],
    parameters: { seed: '00', seed_source: 'enclave' } as unknown as Completion['parameters'],
    tools: null,
    result: Promise.resolve(result),
    async *[Symbol.asyncIterator]() {
      yield { choice: 0, text: 'x' } as CompletionDelta
    },
  }
  const shape: AnswerShape = {
    id: 'chatcmpl-1',
    whole: () => ({ text: 'x' }),
    first: () => [{ first: true }],
    delta: () => [{ text: 'x' }],
    last: () => [{ last: true }],
    ...plainEvents,
    [broken]: fails,
  }
  return {
    path: '/v1/test',
    parse: (body) => ({ model: 'm', stream: body.stream === true, ignored: [] }),
    start: () => completion,
    shape: () => shape,
  }
}

async function ask(broken: keyof AnswerShape, stream: boolean): Promise<{ status: number; text: string; outcome: unknown }> {
  const ledger = new Ledger({ identity, now })
  const deps = { ledger, identity, statements: new SealedStatements(), now, models: new Map([['m', model]]), upstream: new Map() }
  const server = http.createServer((incoming, response) => void handleGeneration(endpoint(broken), deps, incoming, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const { statusCode, headers, body } = await request(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, {
      method: 'POST',
      body: JSON.stringify({ model: 'm', stream }),
    })
    const text = await body.text()
    const found = await ledger.find(String(headers['x-receipt-id']), null)
    return {
      status: statusCode,
      text,
      outcome: found.kind === 'found' ? eventOf(parseReceipt(found.text), 'veritee.inference')?.outcome : found.kind,
    }
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

describe('an answer that cannot be told', () => {
  test('plain: an error, with a receipt that says error', async () => {
    const { status, text, outcome } = await ask('whole', false)
    expect([status, outcome]).toEqual([500, 'error'])
    expect(text).not.toContain('prompt')
  })

  test('streamed: an error event, with a receipt that says error', async () => {
    const { status, text, outcome } = await ask('last', true)
    expect([status, outcome]).toEqual([200, 'error'])
    expect(text).toContain('"error"')
    expect(text).not.toContain('prompt')
  })

  test('one that can be told is complete', async () => {
    expect(await ask('last', false)).toMatchObject({ status: 200, outcome: 'complete' })
    expect(await ask('whole', true)).toMatchObject({ status: 200, outcome: 'complete' })
  })
})

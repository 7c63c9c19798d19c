import { expect } from 'vitest'
import type { Json } from '../../src/bytes/index.ts'
import { ClientError, type Connection, type ConnectionOptions, connect, type Proof } from '../../src/client/index.ts'
import type { ReceiptEvent } from '../../src/receipt/index.ts'
import { trust } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { tlsIdentity } from './servers.ts'
import { type Behaviour, type FakeService, fakeService } from './service.ts'

/** A client in front of a TLS server that does as it is told, and what its caller gets to see. */

export const secret = 'the-prompt-nobody-else-may-read'
export const plain = JSON.stringify({ model: 'demo-model', messages: [{ role: 'user', content: secret }] })
export const streamed = JSON.stringify({ model: 'demo-model', stream: true, messages: [{ role: 'user', content: secret }] })

export async function open(url: string, changes: Partial<ConnectionOptions> = {}): Promise<Connection> {
  return connect(url, { policy: policyOf({}, { channel: 'attested' }), trust: await trust(), ...changes })
}
export const secure = async (behaviour: Partial<Behaviour> = {}): Promise<FakeService> => fakeService(behaviour, await tlsIdentity())
export const posts = (fake: FakeService): number => fake.requests.filter((line) => line.startsWith('POST')).length

export async function thrown(run: () => Promise<unknown>): Promise<ClientError> {
  try {
    await run()
  } catch (error) {
    expect(error).toBeInstanceOf(ClientError)
    expect((error as ClientError).next).not.toBe('')
    return error as ClientError
  }
  throw new Error('expected a refusal, found none')
}

export interface Outcome {
  /** Of the error that the reader got; null where there was none. */
  readonly code: string | null
  /** What the reader had before. */
  readonly text: string
  readonly proof: Proof
}

/** One request, read as SDKs read: to the end or the first failure. */
export async function ask(c: Connection, body: string): Promise<Outcome> {
  const response = await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body })
  let text = ''
  let code: string | null = null
  try {
    for await (const part of response.body ?? []) text += new TextDecoder().decode(part)
  } catch (error) {
    expect(error).toBeInstanceOf(ClientError)
    code = (error as ClientError).code
  }
  return { code, text, proof: await c.proofOf(response) }
}

/** Edits the event of one type of a receipt. */
export const editing =
  (type: string, edit: (event: Record<string, Json>) => Json | null) =>
  (events: readonly (ReceiptEvent | Json)[]): readonly Json[] =>
    events.flatMap((event) => {
      const copy = { ...(event as Record<string, Json>) }
      if (copy.type !== type) return [copy]
      const edited = edit(copy)
      return edited === null ? [] : [edited]
    })

import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { request } from 'undici'
import { afterEach, describe, expect, test } from 'vitest'
import type { ForwardDeps } from '../../src/controller/forward.ts'
import { withTurn } from '../../src/controller/stages/exchange.ts'
import { readRequestBody } from '../../src/http/body.ts'
import { HttpError } from '../../src/http/errors.ts'
import { clientOf, closeAll, protocols, startService } from '../http/http2/service.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
  await closeAll()
})

test('S22: where receipts cannot be kept, a request is refused, and nothing is left that would end the process', async () => {
  const ledger = {
    open: () => {
      throw new HttpError(503, 'server_error', 'receipts cannot be kept', { code: 'receipts_unavailable' })
    },
  }
  const deps = { ledger, registry: { routing: { limits: { answerMs: 60_000 } } } } as unknown as ForwardDeps
  const turns: Promise<void>[] = []
  let ran = false
  const server = createServer((incoming, response) => {
    const turn = withTurn(deps, incoming, response, async () => {
      ran = true
      return { outcome: 'complete', usage: null }
    })
    turns.push(turn)
    // As whoever calls it without waiting: this test alone hears of a rejection.
    turn.catch(() => response.destroy())
  })
  closing.push(() => server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { statusCode, body } = await request(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/chat/completions`, { method: 'POST' })
  expect([statusCode, await body.json()]).toMatchObject([503, { error: { code: 'receipts_unavailable' } }])
  await Promise.all(turns)
  expect([turns.length, ran]).toEqual([1, false])
})

describe.for(protocols)('S22: a request that fails after its answer has begun, over %s', (protocol) => {
  const opened = { id: 'rcpt-1', abandon: () => undefined }
  const deps = { ledger: { open: () => opened }, registry: { routing: { limits: { answerMs: 60_000 } } } } as unknown as ForwardDeps

  /** How turns ended: whoever calls one does not wait for it, and a rejection would end the process. */
  async function served(run: Parameters<typeof withTurn>[3], fails: (response: ServerResponse) => void = () => undefined) {
    const ended: PromiseSettledResult<void>[] = []
    const service = await startService(
      (incoming, response) => {
        fails(response)
        const turn = withTurn(deps, incoming, response, async (own) => {
          await readRequestBody(incoming, 1000)
          return run(own)
        })
        void Promise.allSettled([turn]).then(([how]) => ended.push(how))
      },
      { requesters: true, limits: { headersMs: 100, requestMs: 200 } },
    )
    return { ended, client: clientOf(protocol, service) }
  }

  test('S22: its body does not come in time', async () => {
    const { ended, client } = await served(async () => ({ outcome: 'complete', usage: null }))
    expect((await client.ask({ method: 'POST', unended: true, body: 'x' }).answer).status).toBe(408)
    await expect.poll(() => ended).toEqual([{ status: 'fulfilled', value: undefined }])
  })

  test('S22: in the middle of it', async () => {
    const { ended, client } = await served(
      async () => {
        throw new Error('a receipt cannot be kept')
      },
      (response) => void response.writeHead(200).write('begun'),
    )
    await expect(client.ask({ method: 'POST', body: 'x' }).answer).rejects.toThrow()
    await expect.poll(() => ended).toEqual([{ status: 'fulfilled', value: undefined }])
  })
})

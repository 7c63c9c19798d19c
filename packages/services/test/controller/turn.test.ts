import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { request } from 'undici'
import { afterEach, expect, test } from 'vitest'
import type { ForwardDeps } from '../../src/controller/forward.ts'
import { withTurn } from '../../src/controller/stages/exchange.ts'
import { HttpError } from '../../src/http/errors.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
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

import { describe, expect, test } from 'vitest'
import type { Identity } from '../../src/enclave/runtime/identity.ts'
import { createProofRoutes } from '../../src/http/proof-routes.ts'
import { RateLimit } from '../../src/http/rate-limit.ts'
import { Tickets } from '../../src/http/tickets.ts'

const now = (): Date => new Date(0)
const nonce = 'ab'.repeat(32)

/** The routes over an identity that only tells how it was asked; one challenge for each address, and no refill. */
function routes(): { ask: (headers?: { [name: string]: string }) => Promise<{ status: number; body: string }>; tickets: Tickets } {
  const identity = { report: (of: string | null, options?: object) => Promise.resolve(JSON.stringify({ of, ...options })) } as unknown as Identity
  const tickets = new Tickets(now)
  const app = createProofRoutes({
    identity,
    kept: () => ({ find: async () => ({ kind: 'not_found' }), document: async () => null }),
    tickets,
    quoteLimit: new RateLimit({ perSecond: 0.001, burst: 1, now }),
  })
  const env = { incoming: { socket: { remoteAddress: '10.0.0.1' } } }
  return {
    tickets,
    ask: async (headers = {}) => {
      const response = await app.request(`/v1/aci/attestation?nonce=${nonce}`, { headers }, env)
      return { status: response.status, body: await response.text() }
    },
  }
}

describe('S22: a challenge that brings a ticket back', () => {
  test('is served although its address has spent its share, and takes the place kept for admission', async () => {
    const { ask, tickets } = routes()
    expect(await ask()).toEqual({ status: 200, body: JSON.stringify({ of: nonce }) })
    expect((await ask()).status).toBe(429)
    const ticket = tickets.give()
    expect(await ask({ 'x-veritee-admission': ticket })).toEqual({ status: 200, body: JSON.stringify({ of: nonce, priority: 'admission' }) })
    expect((await ask({ 'x-veritee-admission': ticket })).status).toBe(429)
  })

  test('that was never given is worth nothing', async () => {
    const { ask } = routes()
    expect(await ask({ 'x-veritee-admission': '00'.repeat(16) })).toEqual({ status: 200, body: JSON.stringify({ of: nonce }) })
    expect((await ask({ 'x-veritee-admission': '00'.repeat(16) })).status).toBe(429)
  })
})

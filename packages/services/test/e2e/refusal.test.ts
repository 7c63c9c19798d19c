import { type Connection, connect, nodeTransport, type Proof, type ProofEvidence } from 'veritee/client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { sendProbe } from '../../src/validator/audit/audit.ts'
import { openPath } from '../../src/validator/audit/path.ts'
import type { Probe } from '../../src/validator/probes/probe.ts'
import { meddled, type Network, now, startNetwork } from './network.ts'

let network: Network
beforeAll(async () => {
  network = await startNetwork()
}, 240_000)
afterAll(() => network.close())

/** Far longer than the context of the demo model. */
const messages = [{ role: 'user' as const, content: 'tea '.repeat(20_000) }]
const recipients = ['none', 'controller', 'worker'] as const

test.each(recipients)('what a controller or its worker refuses is signed, and verifies: encrypted to %s', async (encryptTo) => {
  const { controller, policy, machine, model } = network
  const told: [Proof, ProofEvidence][] = []
  const c: Connection = await connect(controller.api.url, { policy, trust: machine.trust, now, encryptTo, onProof: (...one) => void told.push(one) })
  try {
    const body = JSON.stringify({ model: model.served.name, messages })
    const response = await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body })
    expect(response.status).toBe(400)
    const { error } = (await response.json()) as { error: { message: string } }
    expect(error.message).toContain('context')
    const proof = await c.proofOf(response)
    expect(proof).toMatchObject({ status: 'unproven', error: { code: 'service_refused' }, receipts: { worker: null } })
    expect(proof.receipts.service?.id).toBe(response.headers.get('x-receipt-id'))
    // Whose refusal it was.
    expect(told[0]?.[1].seen.session).toContain('established_at')
  } finally {
    c.close()
  }
})

test.each(recipients)('S20: of a refusal, a validator asks for what every client asks for, in the same order: encrypted to %s', async (encryptTo) => {
  const { controller, policy, machine, model } = network
  const asked = async (ask: (transport: ReturnType<typeof meddled>) => Promise<unknown>): Promise<readonly string[]> => {
    const transport = meddled(controller.api.url, {})
    await ask(transport)
    transport.close()
    return transport.sent.map(({ method, path }) => `${method} ${path.replace(/rcpt-[\w-]+|[0-9a-f]{64}/g, 'ID')}`)
  }
  const body = { model: model.served.name, messages }
  const user = await asked(async (transport) => {
    const c = await connect(controller.api.url, { policy, trust: machine.trust, now, encryptTo, openTransport: () => transport })
    const response = await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body: JSON.stringify(body) })
    await response.text()
    await c.proofOf(response)
  })
  const probe = { program: 'script', messages, options: {}, order: null, seed: '5' } as unknown as Probe
  const validator = await asked(async (transport) => {
    const operators = ['c0'.repeat(32)]
    const path = await openPath(nodeTransport(controller.api.url).origin, {
      policy,
      trust: machine.trust,
      now,
      operators,
      encryptTo,
      apiKey: null,
      openTransport: () => transport,
    })
    const { exchanged } = await sendProbe(path, model.served.name, probe, { clockMs: () => performance.now(), timeoutMs: 60_000 })
    expect(exchanged.failure).toMatchObject({ code: 'service_refused' })
    expect(exchanged.seen.receipt).not.toBeNull()
  })
  expect(validator).toEqual(user)
  expect(user.filter((line) => line.includes('receipts'))).toEqual(['GET /v1/aci/receipts/ID'])
})

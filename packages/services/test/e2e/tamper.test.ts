import { generateKeyPairSync, sign } from 'node:crypto'
import { intelSgxRootCa } from 'veritee/attestation'
import { createSimPlatform } from 'veritee/attestation/sim'
import { type Json, jcs, toHex, utf8 } from 'veritee/bytes'
import { ask, chatBody, connect, nodeTransport, type Transport } from 'veritee/client'
import type { Policy } from 'veritee/policy'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { admit, startController, startWorker } from '../../src/demo/system.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { type Meddler, meddled, type Network, now, startNetwork } from './network.ts'

/** Each tampering fails, and each with its own code. */

let network: Network
beforeAll(async () => {
  network = await startNetwork()
})
afterAll(() => network.close())

const endpoint = '/v1/chat/completions'
const request = (stream = false): Uint8Array => chatBody('veritee-demo', 'Who are you?', { stream, temperature: 0 })
const isReceipt = (path: string): boolean => path.startsWith('/v1/aci/receipts/')
const isReport = (path: string): boolean => path.startsWith('/v1/aci/attestation')
const isChat = (path: string): boolean => path === endpoint

/** Edits JSON as a meddler would, keeping everything else as it was. */
function edited(body: Buffer, edit: (document: { [name: string]: unknown } & { attestation: { evidence: { descriptor: object } } }) => void): Buffer {
  const document = JSON.parse(body.toString()) as Parameters<typeof edit>[0]
  edit(document)
  return Buffer.from(JSON.stringify(document))
}

async function codeOf(meddler: Meddler, options = network.options(), body = request()): Promise<string> {
  const transport = meddled(network.controller.api.url, meddler)
  try {
    await ask(await connect(transport, options), endpoint, body)
    return 'accepted'
  } catch (error) {
    return (error as { code?: string }).code ?? `no code: ${String(error)}`
  } finally {
    transport.close()
  }
}

const on =
  (match: (path: string) => boolean, edit: (body: Buffer) => Buffer | Promise<Buffer>): NonNullable<Meddler['response']> =>
  (sent, body) =>
    match(sent.path) ? edit(body) : body

describe('somebody between client and controller', () => {
  test('without meddling the same flow is accepted', async () => {
    expect(await codeOf({})).toBe('accepted')
    expect(await codeOf({ response: (_, body) => body })).toBe('accepted')
  })

  test('a response byte changed', async () => {
    const flip = (body: Buffer): Buffer => Buffer.from(body.toString().replace('Veritee Demo', 'Veritee Dem0'))
    expect(await codeOf({ response: on(isChat, flip) })).toBe('receipt_response_mismatch')
  })

  test('a byte of a streamed response changed', async () => {
    const flip = (body: Buffer): Buffer => Buffer.from(body.toString().replace('"content":"I"', '"content":"U"'))
    expect(await codeOf({ response: on(isChat, flip) }, network.options(), request(true))).toBe('receipt_response_mismatch')
  })

  test('events of a stream reordered, dropped, or added', async () => {
    const events = (body: Buffer): string[] => body.toString().split('\n\n').slice(0, -1)
    const join = (list: string[]): Buffer => Buffer.from(`${list.join('\n\n')}\n\n`)
    for (const edit of [
      (list: string[]) => [...list.slice(0, 1), ...list.slice(1, 4).reverse(), ...list.slice(4)],
      (list: string[]) => list.slice(0, -3),
      (list: string[]) => [...list, ': hi'],
    ])
      expect(await codeOf({ response: on(isChat, (body) => join(edit(events(body)))) }, network.options(), request(true))).toBe(
        'receipt_response_mismatch',
      )
  })

  test('a request byte changed', async () => {
    const swap: Meddler['request'] = (sent) =>
      isChat(sent.path) ? { ...sent, body: utf8(new TextDecoder().decode(sent.body).replace('Who are you?', 'Who are u?')) } : sent
    expect(await codeOf({ request: swap })).toBe('receipt_request_mismatch')
  })

  test.for(['model', 'endpoint', 'served_at', 'chat_id', 'receipt_id'])('a receipt field changed: %s', async (name) => {
    const edit = (body: Buffer): Buffer =>
      edited(body, (receipt) => {
        Object.assign(receipt, { [name]: typeof receipt[name] === 'number' ? receipt[name] + 1 : 'other' })
      })
    expect(await codeOf({ response: on(isReceipt, edit) })).toBe('receipt_signature_invalid')
  })

  test('a receipt signed by a key outside the keyset, under a listed key id and under its own', async () => {
    const { privateKey } = generateKeyPairSync('ed25519')
    const resign = (changes: object) => (body: Buffer) => {
      const { signature: _, ...unsigned } = { ...(JSON.parse(body.toString()) as { [name: string]: Json }), ...changes }
      return Buffer.from(JSON.stringify({ ...unsigned, signature: toHex(sign(null, utf8(jcs(unsigned)), privateKey)) }))
    }
    expect(await codeOf({ response: on(isReceipt, resign({})) })).toBe('receipt_signature_invalid')
    expect(await codeOf({ response: on(isReceipt, resign({ key_id: 'mine' })) })).toBe('receipt_key_unknown')
  })

  test('a receipt of another request', async () => {
    const service = await connect(nodeTransport(network.controller.api.url), network.options())
    const other = await ask(service, endpoint, request())
    service.transport.close()
    expect(await codeOf({ response: on(isReceipt, () => Buffer.from(other.records.receipt)) })).toBe('receipt_response_mismatch')
  })

  test('a report for another nonce', async () => {
    const replayed = await network.controller.controller.identity.report('ab'.repeat(32))
    expect(await codeOf({ response: on(isReport, () => Buffer.from(replayed)) })).toBe('report_nonce_mismatch')
    const unchallenged = await network.controller.controller.identity.report(null)
    expect(await codeOf({ response: on(isReport, () => Buffer.from(unchallenged)) })).toBe('report_nonce_mismatch')
  })

  test('a report with the keyset swapped', async () => {
    const foreign = network.worker.worker.identity
    const swapKeyset = (body: Buffer): Buffer => edited(body, (report) => Object.assign(report.attestation, { workload_keyset: foreign.keyset }))
    expect(await codeOf({ response: on(isReport, swapKeyset) })).toBe('report_keyset_mismatch')
    const swapBoth = (body: Buffer): Buffer =>
      edited(swapKeyset(body), (report) => Object.assign(report, { workload_keyset_digest: foreign.keysetDigest }))
    expect(await codeOf({ response: on(isReport, swapBoth) })).toBe('report_nonce_mismatch')
  })

  test('S7: a report with the descriptor edited or swapped', async () => {
    const edit = (change: () => object) => (body: Buffer) =>
      edited(body, (report) => {
        const { evidence } = report.attestation
        evidence.descriptor = { ...evidence.descriptor, ...change() }
      })
    expect(
      await codeOf({
        response: on(
          isReport,
          edit(() => ({ release: { version: '9.9.9', commit: null } })),
        ),
      }),
    ).toBe('report_descriptor_mismatch')
    expect(
      await codeOf({
        response: on(
          isReport,
          edit(() => network.worker.worker.identity.descriptor),
        ),
      }),
    ).toBe('report_descriptor_mismatch')
    expect(
      await codeOf({
        response: on(
          isReport,
          edit(() => ({ surprise: 1 })),
        ),
      }),
    ).toBe('report_malformed')
  })

  test('a session that is not the one cited', async () => {
    const isSession = (path: string): boolean => path.startsWith('/v1/aci/sessions/')
    const edit = (body: Buffer): Buffer => edited(body, (session) => Object.assign(session, { expires_at: 4e9 }))
    expect(await codeOf({ response: on(isSession, edit) })).toBe('session_mismatch')
  })

  test('a worker receipt that is not the one cited', async () => {
    const isUpstream = (path: string): boolean => path.endsWith('/upstream')
    const edit = (body: Buffer): Buffer => edited(body, (receipt) => Object.assign(receipt, { served_at: 1 }))
    expect(await codeOf({ response: on(isUpstream, edit) })).toBe('receipt_upstream_mismatch')
  })

  test('a receipt withheld', async () => {
    const meddler: Meddler = { request: (sent) => (isReceipt(sent.path) ? { ...sent, path: '/v1/aci/receipts/rcpt-none' } : sent) }
    expect(await codeOf(meddler)).toBe('receipt_missing')
  })
})

describe('what the policy refuses', () => {
  test('a worker with other weights than the policy allows', async () => {
    const worker = { ...network.policy.roles.worker, models: { 'veritee-demo': [`sha256:${'1'.repeat(64)}`] } }
    const policy = { ...network.policy, roles: { ...network.policy.roles, worker } } as Policy
    expect(await codeOf({}, network.options({ policy }))).toBe('policy_models')
    await expect(startAdmission(policy)).rejects.toMatchObject({
      code: 'service_refused',
      message: expect.stringContaining('policy_models') as string,
    })
  })

  test('S15: the simulator root passed as an ordinary root', async () => {
    const refusing = (role: 'controller' | 'worker'): Policy =>
      ({ ...network.policy, roles: { ...network.policy.roles, [role]: { ...network.policy.roles[role], simulated: 'refuse' } } }) as Policy
    expect(await codeOf({}, network.options({ policy: refusing('controller') }))).toBe('policy_simulated')
    expect(await codeOf({}, network.options({ policy: refusing('worker') }))).toBe('policy_simulated')
  })

  test('S15: simulated evidence never chains to Intel, nor to another simulator', async () => {
    const other = await createSimPlatform({ at: now() })
    for (const root of [intelSgxRootCa, other.root]) expect(await codeOf({}, network.options({ trust: { roots: [root] } }))).toBe('chain_untrusted')
  })

  test('nothing of the caller is sent before the service is verified', async () => {
    const transport = meddled(network.controller.api.url, {})
    const trust = { roots: [intelSgxRootCa] } as const
    await expect(connect(transport, network.options({ trust, apiKey: 'sk-secret' }))).rejects.toMatchObject({ code: 'chain_untrusted' })
    expect(transport.sent.map(({ method, path, headers, body }) => [method, path.split('?')[0], headers, body])).toEqual([
      ['GET', '/v1/aci/attestation', undefined, undefined],
    ])
    transport.close()
  })
})

/** A second controller under another policy. */
async function startAdmission(policy: Policy): Promise<void> {
  const controller = await startController(network.machine, policy, { api: 0, control: 0 }, now)
  try {
    await admit(controller, network.worker)
  } finally {
    for (const stop of [controller.api.close, controller.control.close, controller.controller.close]) await stop()
  }
}

describe('S10: a worker whose host edits what the enclave said', () => {
  /** The worker's real TLS key in front of its handler, with an edit on the way out: what a broken or lying worker looks like. */
  async function withLyingWorker(
    edit: (path: string, body: Buffer) => Buffer,
    check: (transport: Transport, url: string, again: () => Promise<string>) => Promise<void>,
  ): Promise<void> {
    const worker = await startWorker(network.machine, [network.model.served], 0, now)
    const inner = nodeTransport(worker.server.url)
    const front: Listening = await listen(
      { host: '127.0.0.1', port: 0, tls: worker.worker.identity.tls, simulated: true, apiKeys: false },
      (incoming, response) => {
        void (async () => {
          const parts: Buffer[] = []
          for await (const part of incoming as AsyncIterable<Buffer>) parts.push(part)
          const nonce = incoming.headers['x-veritee-nonce']
          const headers = typeof nonce === 'string' ? { 'x-veritee-nonce': nonce } : {}
          const method = incoming.method === 'POST' ? 'POST' : 'GET'
          const answer = await inner.send({
            method,
            path: incoming.url ?? '/',
            headers,
            ...(method === 'POST' ? { body: Buffer.concat(parts) } : {}),
          })
          const body: Uint8Array[] = []
          for await (const part of answer.body) body.push(part)
          const { 'content-length': _, 'transfer-encoding': __, ...kept } = answer.headers
          response.writeHead(answer.status, kept).end(edit(incoming.url ?? '/', Buffer.concat(body)))
        })()
      },
    )
    const controller = await startController(network.machine, network.policy, { api: 0, control: 0 }, now)
    await admit(controller, { worker: worker.worker, server: front })
    const transport = nodeTransport(controller.api.url)
    try {
      await check(transport, controller.control.url, () => admit(controller, { worker: worker.worker, server: front }))
    } finally {
      transport.close()
      inner.close()
      for (const stop of [controller.api.close, controller.control.close, controller.controller.close, front.close, worker.server.close]) await stop()
    }
  }

  const workersOf = async (url: string): Promise<{ workers: { quarantine: string | null }[] }> => {
    const transport = nodeTransport(url)
    const answer = await transport.send({ method: 'GET', path: '/v1/workers' })
    const parts: Uint8Array[] = []
    for await (const part of answer.body) parts.push(part)
    transport.close()
    return JSON.parse(Buffer.concat(parts).toString()) as { workers: { quarantine: string | null }[] }
  }

  test('a changed answer is withheld, the worker quarantined, and the next request refused', async () => {
    const edit = (path: string, body: Buffer): Buffer => (isChat(path) ? Buffer.from(body.toString().replace('tiny', 'huge')) : body)
    await withLyingWorker(edit, async (transport, control, again) => {
      const service = await connect(transport, network.options())
      await expect(ask(service, endpoint, request())).rejects.toMatchObject({
        code: 'service_refused',
        message: expect.stringContaining('mismatch') as string,
      })
      const why = (await workersOf(control)).workers[0]?.quarantine
      expect(why).toMatch(/receipt_response_mismatch: expected \(a digest\), found \(a digest\)$/)
      await expect(ask(service, endpoint, request())).rejects.toMatchObject({ message: expect.stringContaining('no verified worker') as string })
      await expect(again()).rejects.toMatchObject({ message: expect.stringContaining('worker_quarantined') as string })
    })
  })

  test('a changed stream reaches the client with a receipt that says mismatch, and is rejected there', async () => {
    const edit = (path: string, body: Buffer): Buffer =>
      isChat(path) ? Buffer.from(body.toString().replace('"content":"I"', '"content":"U"')) : body
    await withLyingWorker(edit, async (transport, control) => {
      const service = await connect(transport, network.options())
      await expect(ask(service, endpoint, request(true))).rejects.toMatchObject({
        code: 'receipt_upstream_mismatch',
      })
      expect((await workersOf(control)).workers[0]?.quarantine).toMatch(/receipt_/)
    })
  })

  test('a withheld receipt is absent, not overlooked', async () => {
    const edit = (path: string, body: Buffer): Buffer => (isReceipt(path) ? Buffer.from('{}') : body)
    await withLyingWorker(edit, async (transport, control) => {
      await expect(ask(await connect(transport, network.options()), endpoint, request())).rejects.toMatchObject({ code: 'service_refused' })
      expect((await workersOf(control)).workers[0]?.quarantine).toMatch(/receipt/)
    })
  })
})

import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect as connectSocket, createServer, type Server } from 'node:net'
import { Pool, request } from 'undici'
import { ask, chatBody, connect, nodeTransport } from 'veritee/client'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { workerOrigin } from '../../src/controller/address.ts'
import { Registry } from '../../src/controller/registry.ts'
import { checkUpstream } from '../../src/controller/upstream.ts'
import { admit, type RunningController, startController, startWorker } from '../../src/demo/system.ts'
import { drainingHeader } from '../../src/http/chat-request.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { type Network, now, rulesOf, startNetwork } from './network.ts'
import { forwarder } from './wire.ts'

/** What somebody who can reach the control port, or sits before a worker, can do to honest workers and to the controller. */

let network: Network
beforeAll(async () => {
  network = await startNetwork()
})
afterAll(() => network.close())

const endpoint = '/v1/chat/completions'
const body = (stream: boolean, prompt = 'Who are you?'): Uint8Array => chatBody('veritee-demo', prompt, { stream, temperature: 0 })

async function withController(run: (controller: RunningController) => Promise<void>): Promise<void> {
  const controller = await startController(network.machine, network.policy, { api: 0, control: 0 }, now)
  try {
    await run(controller)
  } finally {
    for (const stop of [controller.api.close, controller.control.close, controller.controller.close]) await stop()
  }
}

describe('re-admission', () => {
  test('S19: a worker registered again while it answers keeps its connections and its good name', async () => {
    await withController(async (controller) => {
      await admit(controller, network.worker)
      const service = await connect(nodeTransport(controller.api.url), network.options())
      let again: Promise<string> | null = null
      // Anybody who can reach the control port can do this: origin and keyset digest are public.
      const answer = await ask(service, endpoint, body(true, 'Tell me a story about a dragon named Ruby.'), {
        onEvent: () => {
          again ??= admit(controller, network.worker)
          return true
        },
      })
      expect(answer.proof.outcome).toBe('verified')
      expect(await again).toMatch(/^[0-9a-f]{64}$/)
      expect(controller.controller.registry.all().map(({ quarantine }) => quarantine)).toEqual([null])
      await expect(admit(controller, network.worker)).resolves.toMatch(/^[0-9a-f]{64}$/)
      service.transport.close()
    })
  })

  test('sessions of one worker registered over and over stay bounded, and the live one is always served', async () => {
    const registry = new Registry({ rules: rulesOf(network), now, allowLoopback: true, maxPastSessions: 2 })
    const ids: string[] = []
    for (let i = 0; i < 5; i++) ids.push((await registry.admit(network.worker.server.url, network.worker.worker.identity.keysetDigest)).session.id)
    expect(new Set(ids).size).toBe(5)
    expect(ids.map((id) => registry.session(id) !== undefined)).toEqual([false, false, true, true, true])
    await registry.close()
  })
})

describe('S5: what the wire did is not held against the keyset', () => {
  test('a receipt lost on the wire ends the session, not the keyset: a fresh challenge brings the worker back', async () => {
    const wire = await forwarder(network.worker.server.port)
    await withController(async (controller) => {
      const url = `https://127.0.0.1:${wire.port}`
      const { registry } = controller.controller
      const { keysetDigest } = network.worker.worker.identity
      await registry.admit(url, keysetDigest)
      const service = await connect(nodeTransport(controller.api.url), network.options())
      // Within the answer's events: after the head of the response, well before the receipt that follows them.
      wire.cutAfter(8_000)
      const failure = ask(service, endpoint, body(true, 'Tell me a story about a dragon named Ruby.'))
      await expect(failure).rejects.toMatchObject({ code: 'receipt_upstream_mismatch' })
      expect(registry.serving()).toEqual([])
      wire.mend()
      const back = await registry.admit(url, keysetDigest)
      expect(back.quarantine).toBeNull()
      expect((await ask(service, endpoint, body(false))).proof.outcome).toBe('verified')
      service.transport.close()
    })
    wire.close()
  })

  test('somebody who shows another TLS key once does not get the worker banned', async () => {
    const wire = await forwarder(network.worker.server.port)
    const other = await startWorker(network.machine, [network.model.served], 0, now)
    const impostor = await forwarder(other.server.port)
    await withController(async (controller) => {
      const { registry } = controller.controller
      const { keysetDigest } = network.worker.worker.identity
      const url = `https://127.0.0.1:${wire.port}`
      await registry.admit(url, keysetDigest)
      // The same port now leads to another enclave.
      wire.close()
      const { port } = wire
      const swapped: Server = createServer((inner) => {
        const outer = connectSocket(impostor.port, '127.0.0.1')
        inner.on('error', () => outer.destroy()).pipe(outer)
        outer.on('error', () => inner.destroy()).pipe(inner)
      })
      const ready = Promise.withResolvers<void>()
      swapped.listen(port, '127.0.0.1', ready.resolve)
      await ready.promise
      const before = other.worker.ledger.size
      const service = await connect(nodeTransport(controller.api.url), network.options())
      await expect(ask(service, endpoint, body(false))).rejects.toMatchObject({ code: 'service_refused' })
      // No request reached the other enclave.
      expect(other.worker.ledger.size).toBe(before)
      swapped.close()
      expect((await registry.admit(network.worker.server.url, keysetDigest)).quarantine).toBeNull()
      service.transport.close()
    })
    impostor.close()
    await other.server.close()
  })
})

describe('S22: admission cannot be used up', () => {
  test('an address that takes the connection and never speaks TLS gives its place back', async () => {
    const silent = createServer(() => undefined)
    const ready = Promise.withResolvers<void>()
    silent.listen(0, '127.0.0.1', ready.resolve)
    await ready.promise
    const address = silent.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const registry = new Registry({ rules: rulesOf(network), now, allowLoopback: true, maxWorkers: 1, admissionMs: 300 })
    const { keysetDigest } = network.worker.worker.identity
    await expect(registry.admit(`https://127.0.0.1:${port}`, keysetDigest)).rejects.toMatchObject({ code: 'service_unavailable' })
    // The only place is free again.
    expect((await registry.admit(network.worker.server.url, keysetDigest)).quarantine).toBeNull()
    await registry.close()
    silent.close()
  })

  test('a report that drips a byte at a time does not hold its place for ever', async () => {
    const drip = await listen(
      { host: '127.0.0.1', port: 0, tls: network.worker.worker.identity.tls, simulated: true, apiKeys: false },
      (_incoming: IncomingMessage, response: ServerResponse) => {
        response.writeHead(200, { 'content-type': 'application/json' })
        const timer = setInterval(() => response.write(' '), 50)
        response.once('close', () => clearInterval(timer))
      },
    )
    const registry = new Registry({ rules: rulesOf(network), now, allowLoopback: true, admissionMs: 400 })
    await expect(registry.admit(drip.url, network.worker.worker.identity.keysetDigest)).rejects.toMatchObject({ code: 'service_unavailable' })
    await registry.close()
    await drip.close()
  })

  test('nor does a hinted worker that drips when it is asked whether it serves', async () => {
    let asked = 0
    const drip = await listen(
      { host: '127.0.0.1', port: 0, tls: network.worker.worker.identity.tls, simulated: true, apiKeys: false },
      (incoming: IncomingMessage, response: ServerResponse) => {
        if (incoming.url !== '/healthz') return network.worker.worker.handler(incoming, response)
        asked++
        const timer = setInterval(() => response.write(' '), 50)
        response.once('close', () => clearInterval(timer))
      },
    )
    const registry = new Registry({ rules: rulesOf(network), now, allowLoopback: true, admissionMs: 4000 })
    const { keysetDigest } = network.worker.worker.identity
    await expect(registry.admit(drip.url, keysetDigest, { hinted: true })).rejects.toMatchObject({ code: 'service_unavailable' })
    expect(asked).toBe(1)
    await registry.close()
    await drip.close()
  })

  test.for([
    ['https://127.1', 'https://127.0.0.1'],
    ['https://2130706433', 'https://127.0.0.1'],
    ['https://0x7f.1', 'https://127.0.0.1'],
    ['https://127.0.0.1.', 'https://127.0.0.1'],
    ['https://[::1]', 'https://[::1]'],
    ['https://[::ffff:127.0.0.1]', null],
    ['https://localhost', null],
  ] as const)('a loopback address in another dress is still one: %s', ([url, origin]) => {
    expect(() => workerOrigin(url, false)).toThrow(expect.objectContaining({ code: 'address_refused' }))
    if (origin === null) expect(() => workerOrigin(url, true)).toThrow(expect.objectContaining({ code: 'address_refused' }))
    else expect(workerOrigin(url, true)).toBe(origin)
  })
})

describe('what a worker with a genuine key says is data', () => {
  async function withFakeWorker(
    chat: (incoming: IncomingMessage, response: ServerResponse) => void,
    run: (controller: RunningController) => Promise<void>,
  ): Promise<void> {
    const { worker, server } = await startWorker(network.machine, [network.model.served], 0, now)
    const front: Listening = await listen(
      { host: '127.0.0.1', port: 0, tls: worker.identity.tls, simulated: true, apiKeys: false },
      (incoming, response) => (incoming.method === 'POST' ? chat(incoming, response) : worker.handler(incoming, response)),
    )
    await withController(async (controller) => {
      await admit(controller, { worker, server: front })
      await run(controller)
    })
    await front.close()
    await server.close()
  }

  const send = async (
    controller: RunningController,
    asked = body(false),
  ): Promise<{ status: number; headers: { readonly [name: string]: string }; body: string }> => {
    const transport = nodeTransport(controller.api.url)
    const answer = await transport.send({ method: 'POST', path: endpoint, body: asked })
    const parts: Uint8Array[] = []
    for await (const part of answer.body) parts.push(part)
    transport.close()
    return { status: answer.status, headers: answer.headers, body: Buffer.concat(parts).toString() }
  }

  test.for(['set aside', 'back with other keys'] as const)(
    'S10: a worker that was %s while another was tried gets no request that was meant for it as it was before',
    async (how) => {
      const [first, second, third] = await Promise.all([0, 0, 0].map((port) => startWorker(network.machine, [network.model.served], port, now)))
      if (first === undefined || second === undefined || third === undefined) throw new Error('three workers')
      let reached = 0
      let behind = second
      const back = await listen(
        { host: '127.0.0.1', port: 0, tls: second.worker.identity.tls, simulated: true, apiKeys: false },
        (incoming, response) => {
          if (incoming.method === 'POST') reached++
          behind.worker.handler(incoming, response)
        },
      )
      await withController(async (controller) => {
        const { registry } = controller.controller
        const change = async (): Promise<void> => {
          const worker = registry.all().find(({ origin }) => origin === back.url)
          if (worker === undefined) throw new Error('the second worker')
          if (how === 'set aside') return registry.quarantine(worker, 'meanwhile', 'session')
          behind = third
          back.renewTls(third.worker.identity.tls)
          await registry.admit(back.url, third.worker.identity.keysetDigest)
        }
        const front = await listen(
          { host: '127.0.0.1', port: 0, tls: first.worker.identity.tls, simulated: true, apiKeys: false },
          (incoming, response) => {
            if (incoming.method === 'POST') void change().finally(() => incoming.socket.destroy())
            else first.worker.handler(incoming, response)
          },
        )
        const sessions = [
          await admit(controller, { worker: first.worker, server: front }),
          await admit(controller, { worker: second.worker, server: back }),
        ]
        // So that the other one is tried first.
        for (const worker of registry.all()) if (worker.origin === back.url) worker.load.outstanding = 1
        const pinned = { ...JSON.parse(Buffer.from(body(false)).toString()), provider: { aci_session_ids: sessions } }
        expect([(await send(controller, Buffer.from(JSON.stringify(pinned)))).status, reached]).toEqual([503, 0])
        if (how === 'back with other keys') {
          // Who pins nothing is served by the worker that was verified anew, under its new session.
          const { status, headers } = await send(controller)
          const receipt = await fetch(`${controller.api.url}/v1/aci/receipts/${headers['x-receipt-id']}`)
          const { event_log: log } = (await receipt.json()) as { event_log: { type: string; session_id?: string }[] }
          const cited = log.find(({ type }) => type === 'upstream.verified')?.session_id
          expect([status, reached, cited]).toEqual([200, 1, registry.all().find(({ origin }) => origin === back.url)?.session.id])
        }
        await front.close()
      })
      await back.close()
      await Promise.all([first, second, third].map(({ server }) => server.close()))
    },
  )

  test('a refusal is passed on as an error of its own kind only: no other status, type or header is chosen by the worker', async () => {
    const refuse = (_: IncomingMessage, response: ServerResponse): void => {
      response.writeHead(302, {
        'content-type': 'text/html',
        location: 'https://example.com/',
        'set-cookie': 'a=b',
        'retry-after': '5\u00e9',
        'x-receipt-id': 'mine',
      })
      response.end('{"error":{"message":"<script>"}}')
    }
    await withFakeWorker(refuse, async (controller) => {
      const { status, headers } = await send(controller)
      expect(status).toBe(502)
      expect(headers['content-type']).toBe('application/json')
      expect(headers.location).toBeUndefined()
      expect(headers['set-cookie']).toBeUndefined()
      expect(headers['retry-after']).toBeUndefined()
      expect(headers['x-receipt-id']).toMatch(/^rcpt-[0-9a-f]{32}$/)
    })
  })

  test('type and receipt key of an answer are not echoed unread, and the controller lives on', async () => {
    const stream = (_: IncomingMessage, response: ServerResponse): void => {
      response.writeHead(200, {
        'content-type': 'text/event-stream; x="\u00e9"',
        'x-veritee-receipt-key': 'not\u00e9hex',
        'x-receipt-id': '../../v1/models?',
      })
      response.end('data: {"id":"rcpt-00000000000000000000000000000000"}\n\n')
    }
    await withFakeWorker(stream, async (controller) => {
      const { status, headers } = await send(controller)
      expect(status).toBe(200)
      expect(headers['content-type']).toBe('text/event-stream; charset=utf-8')
      expect(headers['x-veritee-receipt-key']).toBeUndefined()
      expect(controller.controller.registry.serving()).toEqual([])
      const transport = nodeTransport(controller.api.url)
      const receipt = await transport.send({ method: 'GET', path: `/v1/aci/receipts/${headers['x-receipt-id']}` })
      const parts: Uint8Array[] = []
      for await (const part of receipt.body) parts.push(part)
      const log = (JSON.parse(Buffer.concat(parts).toString()) as { event_log: { type: string }[] }).event_log
      expect(log.find(({ type }) => type === 'veritee.upstream_receipt')).toMatchObject({
        result: 'absent',
        reason: 'the worker announced no receipt',
      })
      transport.close()
    })
  })

  test("S5: a receipt key that the worker's receipt does not commit to is a mismatch, and the answer is withheld", async () => {
    const { worker, server } = await startWorker(network.machine, [network.model.served], 0, now)
    const front = await listen({ host: '127.0.0.1', port: 0, tls: worker.identity.tls, simulated: true, apiKeys: false }, (incoming, response) => {
      const { setHeader } = response
      response.setHeader = ((name: string, value: string) =>
        setHeader.call(response, name, name === 'x-veritee-receipt-key' ? '0'.repeat(64) : value)) as typeof setHeader
      worker.handler(incoming, response)
    })
    await withController(async (controller) => {
      await admit(controller, { worker, server: front })
      const { status, body: text } = await send(controller)
      expect([status, (JSON.parse(text) as { error: { code: string } }).error.code]).toEqual([502, 'upstream_receipt_mismatch'])
      expect(controller.controller.registry.serving()).toEqual([])
    })
    await front.close()
    await server.close()
  })

  test('a stream of more events than any answer has ends with an error event, and the memory of the controller is bounded', async () => {
    const flood = (_: IncomingMessage, response: ServerResponse): void => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      const chunk = Buffer.from('\n\n'.repeat(16_384))
      const pump = (): void => {
        while (!response.destroyed && response.write(chunk));
        if (!response.destroyed) response.once('drain', pump)
      }
      pump()
    }
    await withFakeWorker(flood, async (controller) => {
      const { body: received } = await send(controller)
      expect(received.length).toBeLessThan(4 << 20)
      expect(received).toContain('upstream_broken')
      expect(controller.controller.registry.serving()).toEqual([])
    })
  })

  test('S10: a receipt that drips is absent in the end: the requester is not held for ever', async () => {
    const { tls } = network.worker.worker.identity
    const drip = await listen({ host: '127.0.0.1', port: 0, tls, simulated: true, apiKeys: false }, (incoming, response) => {
      if (incoming.url?.startsWith('/v1/aci/attestation') === true) {
        network.worker.worker.handler(incoming, response)
        return
      }
      response.writeHead(200, { 'content-type': 'application/json' })
      const timer = setInterval(() => response.write(' '), 50)
      response.once('close', () => clearInterval(timer))
    })
    const registry = new Registry({ rules: rulesOf(network), now, allowLoopback: true })
    const worker = await registry.admit(drip.url, network.worker.worker.identity.keysetDigest)
    const hash = `sha256:${'0'.repeat(64)}`
    const forwarded = { requestHash: hash, responseHash: hash, clientNonce: '0'.repeat(64), complete: true, stream: null, receiptKey: null }
    const { event } = await checkUpstream(worker, 'rcpt-1', forwarded, 300)
    expect(event).toMatchObject({ result: 'absent', digest: null })
    await registry.close()
    await drip.close()
  })
})

test('S19: requesters who leave at any moment harm neither the worker nor the engine, and nothing stays behind', async () => {
  await withController(async (controller) => {
    await admit(controller, network.worker)
    const [admitted] = controller.controller.registry.all()
    const transport = nodeTransport(controller.api.url)
    const leave = async (i: number): Promise<void> => {
      const abort = new AbortController()
      const stream = i % 3 !== 0
      const timer = setTimeout(() => abort.abort(), i * 7)
      try {
        const request = {
          method: 'POST',
          path: endpoint,
          body: body(stream, 'Tell me a story about a dragon named Ruby.'),
          signal: abort.signal,
        } as const
        const answer = await transport.send(request)
        for await (const _ of answer.body) if (i % 5 === 1) abort.abort()
      } catch {
        // Left.
      }
      clearTimeout(timer)
    }
    await Promise.all(Array.from({ length: 40 }, (_, i) => leave(i)))
    const { engine } = network.model
    await expect.poll(() => [admitted?.load.outstanding, engine.load.running, engine.load.waiting], { timeout: 15_000 }).toEqual([0, 0, 0])
    expect(admitted?.quarantine).toBeNull()
    const service = await connect(transport, network.options())
    expect((await ask(service, endpoint, body(true))).proof.outcome).toBe('verified')
    transport.close()
  })
})

test('S22: odd but well-framed requests end in an answer or a closed connection, never in a crash', async () => {
  const { port } = network.controller.api
  const raw = (text: string): Promise<string> => {
    const { promise, resolve } = Promise.withResolvers<string>()
    let seen = ''
    const socket = connectSocket(port, '127.0.0.1', () => socket.end(text))
    socket.setTimeout(3000, () => socket.destroy())
    socket.on('data', (part) => {
      seen += part.toString()
    })
    socket.on('close', () => resolve(seen))
    socket.on('error', () => undefined)
    return promise
  }
  const odd = [
    'GET /v1/models HTTP/1.1\r\n\r\n',
    'GET /v1/models HTTP/1.1\r\nHost: a b\r\n\r\n',
    'GET http://[::/ HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET //evil.example/v1/models HTTP/1.1\r\nHost: x\r\n\r\n',
    'OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n',
    'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n',
    'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: nonsense\r\nContent-Length: 2\r\n\r\n{}',
    'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}',
    'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"model":',
    'GET /v1/aci/receipts/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /v1/aci/receipts/__proto__ HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /v1/aci/sessions/constructor HTTP/1.1\r\nHost: x\r\n\r\n',
  ]
  for (const request of odd) {
    const seen = await raw(request)
    expect(seen === '' || /^HTTP\/1\.1 (4\d\d|200) /.test(seen), `${JSON.stringify(request.slice(0, 60))}: ${seen.slice(0, 80)}`).toBe(true)
  }
  const transport = nodeTransport(network.controller.api.url)
  expect((await transport.send({ method: 'GET', path: '/v1/models' })).status).toBe(200)
  transport.close()
})

test('S19: a worker that breaks off while it says that it is stopping counts once, and does not become the least busy', async () => {
  await withController(async (controller) => {
    const { registry } = controller.controller
    const admitted = await registry.admit(network.worker.server.url, network.worker.worker.identity.keysetDigest)
    const pool = new Pool(network.worker.server.url)
    vi.spyOn(pool, 'dispatch').mockImplementation((_, handler) => {
      const abort = (reason: Error): void => handler.onResponseError?.(controls, reason)
      const controls = { aborted: false, paused: false, reason: null, abort, pause: () => undefined, resume: () => undefined }
      handler.onRequestStart?.(controls, {})
      handler.onResponseStart?.(controls, 503, { [drainingHeader]: '1' })
      handler.onResponseError?.(controls, new Error('other side closed'))
      return true
    })
    const { pool: pinned } = admitted
    admitted.pool = pool
    const { statusCode, body: answer } = await request(`${controller.api.url}${endpoint}`, { method: 'POST', body: Buffer.from(body(false)) })
    await answer.dump()
    expect([statusCode, admitted.quarantine, admitted.load.outstanding]).toEqual([503, 'it is stopping', 0])
    await Promise.all([pool.close(), pinned.close()])
  })
})

import {
  type Connection,
  type ConnectionOptions,
  connect,
  nodeTransport,
  type Proof,
  type Transport,
  type TransportRequest,
  type TransportResponse,
} from 'veritee/client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { admit, type RunningWorker, startWorker } from '../../src/demo/system.ts'
import { bytesOf, type Network, now, startNetwork } from '../e2e/network.ts'
import { chatPath } from './sealing-client.ts'

/** Somebody on the way, and the client in front of it: bodies are encrypted, and everything else is in the hands of whoever carries them. */

let network: Network
let other: RunningWorker
let otherSession: string
beforeAll(async () => {
  network = await startNetwork()
  other = await startWorker(network.machine, [network.model.served], 0, now)
  otherSession = await admit(network.controller, other)
}, 60_000)
afterAll(async () => {
  await other.server.close()
  await network.close()
})

type Send = (request: TransportRequest) => Promise<TransportResponse>
type Meddler = (request: TransportRequest, send: Send) => Promise<TransportResponse>

async function behind(meddler: Meddler, options: Partial<ConnectionOptions> = {}): Promise<Connection & { readonly sent: string[] }> {
  const sent: string[] = []
  const openTransport = (url: string): Transport => {
    const inner = nodeTransport(url)
    const send: Send = (request) => {
      sent.push(`${request.method} ${request.path.split('?')[0]}`)
      return inner.send(request)
    }
    return { ...inner, send: (request) => meddler(request, send) }
  }
  const { policy, machine, controller } = network
  for (;;) {
    try {
      const connection = await connect(controller.api.url, { policy, trust: machine.trust, encryptTo: 'worker', openTransport, ...options })
      sent.length = 0
      return Object.assign(connection, { sent })
    } catch (error) {
      // A service answers so many challenges of one address and no more (rule S22): these tests ask for many.
      if ((error as { code?: unknown }).code !== 'service_refused') throw error
      await new Promise((resolve) => setTimeout(resolve, 300))
    }
  }
}

const isChat = ({ method, path }: TransportRequest): boolean => method === 'POST' && path === chatPath
/** Only requests that the caller made. */
const onChat =
  (meddle: Meddler): Meddler =>
  (request, send) =>
    isChat(request) ? meddle(request, send) : send(request)

const withBody = (response: TransportResponse, body: Uint8Array, headers: { [name: string]: string } = {}): TransportResponse => ({
  ...response,
  headers: { ...response.headers, ...headers },
  body: (async function* () {
    yield body
  })(),
})

/** The frames of an encrypted body, lengths included. */
function framesOf(wire: Buffer): Buffer[] {
  const frames: Buffer[] = []
  for (let at = 0; at < wire.length; ) {
    const end = at + 4 + wire.readUInt32BE(at)
    frames.push(wire.subarray(at, end))
    at = end
  }
  return frames
}

interface Outcome {
  readonly status: number
  readonly code: unknown
  readonly text: string
  readonly proof: Proof | null
}

let asked = 0
async function ask(c: Connection, stream = true): Promise<Outcome> {
  const messages = [{ role: 'user', content: `Tell me a story about a dragon named Ruby and ${++asked} knights.` }]
  const body = JSON.stringify({ model: 'veritee-demo', temperature: 0, max_tokens: 200, stream, messages })
  let response: Response
  try {
    response = await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body })
  } catch (error) {
    return { status: 0, code: (error as { code: unknown }).code, text: '', proof: null }
  }
  let text = ''
  let code: unknown = null
  try {
    for await (const part of response.body ?? []) text += Buffer.from(part).toString()
  } catch (error) {
    code = (error as { code: unknown }).code
  }
  const proof = response.status === 200 ? await c.proofOf(response) : null
  return { status: response.status, code, text, proof }
}

describe.each(['controller', 'worker'] as const)('S4: bodies encrypted to the %s', (encryptTo) => {
  let shared: Promise<Connection> | null = null
  let meddling: Meddler = (request, send) => send(request)
  const run = async (meddler: Meddler, stream = true): Promise<Outcome> => {
    shared ??= behind(
      onChat((request, send) => meddling(request, send)),
      { encryptTo },
    )
    meddling = meddler
    return ask(await shared, stream)
  }

  test('S4: untouched, the answer is proven; the key is never asked for at a well-known path', async () => {
    const c = await behind((request, send) => send(request), { encryptTo })
    expect(await ask(c)).toMatchObject({ status: 200, code: null, proof: { status: 'verified', bytes: { encryptedTo: encryptTo } } })
    expect(c.sent.filter((line) => line.includes('well-known'))).toEqual([])
  })

  test('S4: the nonce header stripped from a 200', async () => {
    const outcome = await run(async (request, send) => {
      const response = await send(request)
      const { 'ehbp-response-nonce': _, ...headers } = response.headers
      return { ...response, headers }
    })
    expect(outcome).toMatchObject({ status: 0, code: 'ehbp_malformed', text: '' })
  })

  test('S4: a plain answer to an encrypted request', async () => {
    const outcome = await run(async () => ({
      status: 200,
      headers: {
        'content-type': 'application/json',
        'x-receipt-id': 'rcpt-1',
        'x-aci-keyset-digest': network.controller.controller.identity.keysetDigest,
      },
      body: [] as unknown as AsyncIterable<Uint8Array>,
    }))
    expect(outcome).toMatchObject({ status: 0, code: 'ehbp_malformed' })
  })

  test('S4: the ciphertext of an earlier answer, with its headers', async () => {
    let earlier: { response: TransportResponse; wire: Buffer } | null = null
    const c = await behind(
      onChat(async (request, send) => {
        if (earlier !== null) return withBody(earlier.response, earlier.wire)
        const response = await send(request)
        earlier = { response, wire: await bytesOf(response) }
        return withBody(response, earlier.wire)
      }),
      { encryptTo },
    )
    expect((await ask(c)).proof?.status).toBe('verified')
    expect((await ask(c)).code).toBe('ehbp_not_authentic')
  })

  test.each<[string, (frames: Buffer[]) => Buffer[], unknown]>([
    ['one bit changed', ([first = Buffer.alloc(0), ...rest]) => [flipped(first), ...rest], 'ehbp_not_authentic'],
    ['the first two exchanged', ([a, b, ...rest]) => [b, a, ...rest] as Buffer[], 'ehbp_not_authentic'],
    ['the first left out', (frames) => frames.slice(1), 'ehbp_not_authentic'],
    ['the last left out, which no frame shows', (frames) => frames.slice(0, -1), 'receipt_response_mismatch'],
    ['one said twice', (frames) => [...frames, ...frames.slice(-1)], 'ehbp_not_authentic'],
    ['half a frame behind them', (frames) => [...frames, Buffer.from([0, 0, 0, 99, 1])], 'ehbp_malformed'],
  ])('S4: frames: %s', async (_, meddle, code) => {
    // What is made within 20 ms shares a frame (rule S25), so that a fast machine may need but one for a whole answer: ask until there are two.
    let frames: Buffer[] = []
    let outcome: Outcome
    do {
      outcome = await run(async (request, send) => {
        const response = await send(request)
        frames = framesOf(await bytesOf(response))
        return withBody(response, Buffer.concat(frames.length < 2 ? frames : meddle(frames)))
      })
    } while (frames.length < 2)
    expect(outcome).toMatchObject({ status: 200, code, proof: { status: 'rejected', error: { code } } })
    expect(outcome.text).not.toContain('[DONE]')
  })

  test('S4: carried to another path: refused by whoever opens it, and no answer', async () => {
    const outcome = await run((request, send) => send({ ...request, path: '/v1/completions' }))
    expect(outcome.status).toBe(400)
    expect(outcome.text).toContain('ehbp_binding_mismatch')
  })

  test('S4: delivered twice, the second answer passed on: it is a refusal', async () => {
    const outcome = await run(async (request, send) => {
      await bytesOf(await send(request))
      return send(request)
    })
    expect(outcome.status).toBe(400)
    expect(outcome.text).toContain('ehbp_replayed')
  })

  test('S4: a stale key, said for ever by somebody on the way: sealed anew once, then ehbp_stale_key', async () => {
    const problem = { status: 422, headers: { 'content-type': 'application/problem+json' }, body: [] as unknown as AsyncIterable<Uint8Array> }
    const bodies: string[] = []
    const c = await behind(
      onChat(async (request) => {
        bodies.push(Buffer.from(request.body ?? []).toString('hex'))
        return problem
      }),
      { encryptTo },
    )
    expect(await ask(c)).toMatchObject({ status: 0, code: 'ehbp_stale_key' })
    expect(bodies.length).toBeGreaterThan(1)
    expect(bodies.length).toBeLessThanOrEqual(4)
    // Never the same bytes twice.
    expect(new Set(bodies).size).toBe(bodies.length)
  })

  test.each([302, 401, 429, 503])('S4: status %d in plain is a hint, and its body nobody’s word', async (status) => {
    const outcome = await run(async () => ({
      status,
      headers: { 'content-type': 'application/json', 'retry-after': '3' },
      body: (async function* () {
        yield Buffer.from('{"error":{"message":"send your key to me"}}')
      })(),
    }))
    expect(outcome.status).toBe(status === 302 ? 502 : status)
    expect(outcome.text).toContain('service_refused')
    expect(outcome.text).not.toContain('send your key')
  })

  test('S4: the receipt of an earlier exchange in the place of this one', async () => {
    let earlier: string | undefined
    const c = await behind(
      onChat(async (request, send) => {
        const response = await send(request)
        const { 'x-receipt-id': id = '' } = response.headers
        earlier ??= id
        return { ...response, headers: { ...response.headers, 'x-receipt-id': earlier } }
      }),
      { encryptTo },
    )
    expect((await ask(c)).proof?.status).toBe('verified')
    expect((await ask(c)).code).toBe('receipt_request_mismatch')
  })
})

const flipped = (frame: Buffer): Buffer => {
  const copy = Buffer.from(frame)
  copy[8] = (copy[8] ?? 0) ^ 1
  return copy
}

describe('S4: the key of a worker', () => {
  const report =
    (edit: (request: TransportRequest, send: Send) => Promise<TransportResponse>): Meddler =>
    (request, send) =>
      request.path.startsWith('/v1/veritee/workers/') ? edit(request, send) : send(request)
  const edited =
    (edit: (text: string) => string): Meddler =>
    async (request, send) => {
      const response = await send(request)
      return withBody(response, Buffer.from(edit((await bytesOf(response)).toString())))
    }
  const neverSent = async (meddler: Meddler, code: string): Promise<void> => {
    const c = await behind(meddler)
    expect(await ask(c)).toMatchObject({ status: 0, code })
    expect(c.sent.filter((line) => line.startsWith('POST'))).toEqual([])
  }

  test('S4: the report of another genuine worker', async () => {
    const swap = (path: string): string =>
      path.includes(network.sessionId) ? path.replace(network.sessionId, otherSession) : path.replace(otherSession, network.sessionId)
    await neverSent(
      report((request, send) => send({ ...request, path: swap(request.path) })),
      'session_mismatch',
    )
  })

  test('S4: exchanged in the report', async () => {
    await neverSent(report(edited((text) => text.replace(/("algo":"veritee\.ehbp[^}]*"public_key":")../, '$1ff'))), 'report_keyset_mismatch')
  })

  test('S4: stale evidence', async () => {
    const recorded = await network.worker.worker.identity.report('ab'.repeat(32))
    await neverSent(report(edited(() => recorded)), 'report_nonce_mismatch')
  })

  test('S4: the report of the controller in its place', async () => {
    await neverSent(
      report((request, send) => send({ ...request, path: `/v1/aci/attestation${request.path.slice(request.path.indexOf('?'))}` })),
      'session_mismatch',
    )
  })

  test('S4: sessions that are not what they hash to', async () => {
    await neverSent(
      (request, send) =>
        /sessions\/[0-9a-f]{64}$/.test(request.path)
          ? edited((text) => text.replace('"verifier_id":"', '"verifier_id":"x'))(request, send)
          : send(request),
      'session_mismatch',
    )
  })

  test('S4: no sessions at all', async () => {
    await neverSent(
      (request, send) => (request.path.startsWith('/v1/aci/sessions?') ? edited(() => '{"sessions":[]}')(request, send) : send(request)),
      'service_refused',
    )
  })

  test('S4: a worker that the policy does not want, although its controller does', async () => {
    const { roles } = network.policy
    const worker = roles.worker === undefined ? {} : { worker: { ...roles.worker, identity: [{ mrenclave: 'ab'.repeat(32) }] } }
    const c = await behind((request, send) => send(request), { policy: { ...network.policy, roles: { ...roles, ...worker } } })
    expect(await ask(c)).toMatchObject({ status: 0, code: 'policy_identity' })
    expect(c.sent.filter((line) => line.startsWith('POST'))).toEqual([])
  })

  test('S4: carried to another worker, it is not opened there; the client verifies again, and seals anew to one that is verified', async () => {
    let carried = 0
    const c = await behind(
      onChat((request, send) => {
        const session = request.headers?.['x-veritee-session']
        if (carried++ > 0) return send(request)
        return send({ ...request, headers: { ...request.headers, 'x-veritee-session': session === otherSession ? network.sessionId : otherSession } })
      }),
    )
    expect((await ask(c)).proof?.status).toBe('verified')
    expect(carried).toBe(2)
  })

  test("S4: the worker's receipt of an earlier exchange in the place of this one is not to be had", async () => {
    let earlier: string | undefined
    const c = await behind(
      onChat(async (request, send) => {
        const response = await send(request)
        earlier ??= response.headers['x-veritee-worker-receipt-id'] ?? ''
        return { ...response, headers: { ...response.headers, 'x-veritee-worker-receipt-id': earlier } }
      }),
    )
    expect((await ask(c)).proof?.status).toBe('verified')
    expect(await ask(c)).toMatchObject({ code: 'receipt_missing', proof: { status: 'unproven' } })
  })
})

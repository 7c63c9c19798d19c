import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { mkdtemp, rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chatBody, nodeTransport, readBody, type TransportRequest } from 'veritee/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createLog } from '../../../src/process/logs/log.ts'
import type { Running } from '../../../src/process/run.ts'
import { freePortBase } from '../../e2e/free-ports.ts'
import { startController, startWorker } from '../start.ts'
import { type Collector, type OtlpSpan, startCollector } from '../traces/collector.ts'

const marker = 'zebra-in-a-prompt-4711'
const secret = `a-bearer-token-with-${marker}`
const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
const parent = '00f067aa0ba902b7'

interface Line {
  readonly event: string
  readonly role: string
  readonly [name: string]: unknown
}

let directory: string
let collector: Collector
const written: string[] = []
const texts: string[] = []
const running: Running[] = []
let worker: Running
let front: Running
/** Headers of what came to the worker's endpoint, over HTTP/1.1 or HTTP/2: it alone has TLS here. */
const seen: IncomingHttpHeaders[] = []
const onRequest = (message: unknown): void => {
  const { request } = message as { readonly request: IncomingMessage }
  if (request.method === 'POST' && 'encrypted' in request.socket) seen.push(request.headers)
}
const onStream = (message: unknown): void => {
  const { headers } = message as { readonly headers: IncomingHttpHeaders }
  if (headers[':method'] === 'POST') seen.push(headers)
}
const channels = [
  ['http.server.request.start', onRequest],
  ['http2.server.stream.start', onStream],
] as const

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-logs-'))
  collector = await startCollector()
  for (const [channel, listener] of channels) subscribe(channel, listener)
  const now = (): Date => new Date()
  const report = (role: string) => {
    const json = createLog({ format: 'json', role, write: (line) => void written.push(line), now })
    const text = createLog({ format: 'text', role, write: (line) => void texts.push(line), now })
    return (...said: Parameters<typeof json>): void => {
      json(...said)
      text(...said)
    }
  }
  const control = await freePortBase()
  const common = (name: string): string[] => [
    ...['--tee', 'simulate', '--state', join(directory, name), '--port', '0', '--metrics-port', '0', '--log-requests'],
    ...['--otlp-endpoint', collector.url],
  ]
  worker = await startWorker([...common('w'), '--model', 'demo', '--controller', `http://127.0.0.1:${control}`], { report: report('worker') })
  running.push(worker)
  const trusting = ['--policy', join(directory, 'w', 'policy.json'), '--root', join(directory, 'w', 'root.pem')]
  front = await startController([...common('c'), '--control-port', control, ...trusting], { report: report('controller') })
  running.push(front)
  while ((await ask({ method: 'GET', path: '/readyz' })).status !== 200) await new Promise((resolve) => setTimeout(resolve, 20))
})
afterAll(async () => {
  for (const [channel, listener] of channels) unsubscribe(channel, listener)
  for (const one of running.reverse()) await one.close()
  await collector.close()
  await rm(directory, { recursive: true, force: true })
})

async function ask(request: TransportRequest, url = front.ready.url): Promise<{ status: number; headers: { [name: string]: string }; text: string }> {
  const transport = nodeTransport(url)
  try {
    const response = await transport.send(request)
    return { status: response.status, headers: { ...response.headers }, text: new TextDecoder().decode(await readBody(response, 1 << 20)) }
  } finally {
    transport.close()
  }
}

const post = (body: string | Uint8Array, headers: { readonly [name: string]: string } = {}, path = '/v1/chat/completions') =>
  ask({ method: 'POST', path, headers, body: typeof body === 'string' ? new TextEncoder().encode(body) : body })

const finished = (role: string): Line[] =>
  written.map((line) => JSON.parse(line) as Line).filter((line) => line.event === 'request.finished' && line.role === role)

const prompt = (more: object = {}): string =>
  JSON.stringify({ model: 'veritee-demo', messages: [{ role: 'user', content: marker }], max_tokens: 8, temperature: 0, ...more })

describe('logs of requests', () => {
  it.for([false, true])(
    'a line of the controller and one of the worker are spans of the trace that came, with the ids of receipt and session (stream: %s)',
    async (stream) => {
      const before = [finished('controller').length, finished('worker').length] as const
      const body = prompt({ stream })
      const answer = await post(body, { traceparent: `00-${trace}-${parent}-01`, tracestate: `vendor=${marker}`, baggage: `user=${marker}` })
      expect(answer.status).toBe(200)
      await expect.poll(() => [finished('controller').length, finished('worker').length]).toEqual(before.map((count) => count + 1))
      const [of, at] = [finished('controller').at(-1), finished('worker').at(-1)]
      expect(of).toMatchObject({
        ...{ level: 'info', http_route: '/v1/chat/completions', http_status: 200, outcome: 'answered', trace_id: trace, parent_span_id: parent },
        ...{ receipt_id: answer.headers['x-receipt-id'], session_id: expect.stringMatching(/^[0-9a-f]{64}$/), duration_ms: expect.any(Number) },
      })
      expect(at).toMatchObject({ trace_id: trace, parent_span_id: of?.span_id, session_id: null, receipt_id: expect.stringMatching(/^rcpt-/) })
      expect(at?.receipt_id).not.toBe(of?.receipt_id)
      // Only the header with the ids goes on, and neither receipt knows of it.
      expect(seen.at(-1)).toMatchObject({ traceparent: `00-${trace}-${String(of?.span_id)}-01` })
      expect(Object.keys(seen.at(-1) ?? {}).filter((name) => name === 'tracestate' || name === 'baggage')).toEqual([])
      const own = await ask({ method: 'GET', path: `/v1/aci/receipts/${String(of?.receipt_id)}` })
      const upstream = await ask({ method: 'GET', path: `/v1/veritee/receipts/${String(of?.receipt_id)}/upstream` })
      expect([own.status, upstream.status]).toEqual([200, 200])
      for (const { text } of [own, upstream])
        for (const id of [trace, parent, String(of?.span_id), String(at?.span_id)]) expect(text).not.toContain(id)
      expect(own.text).toContain(String(of?.receipt_id))
    },
  )

  it('S6: no prompt, answer, credential or anything else that a requester wrote is in a line, a figure or a status', async () => {
    const before = finished('controller').length
    const whole = await post(prompt({ user: marker, metadata: { note: marker } }), { authorization: `Bearer ${secret}` })
    const answered = (JSON.parse(whole.text) as { choices: [{ message: { content: string } }] }).choices[0].message.content
    expect([whole.status, answered.length > 3]).toEqual([200, true])
    const asked: [Promise<{ status: number }>, number][] = [
      [post(prompt({ stream: true })), 200],
      [post(prompt({ model: marker })), 404],
      [post(prompt({ temperature: marker })), 400],
      [post(prompt({ tools: [{ type: 'function', function: { name: marker } }] })), 400],
      [post(`{"${marker}`), 400],
      [post(prompt(), { 'x-veritee-nonce': marker }), 400],
      [post(prompt(), { traceparent: `00-${marker}`, tracestate: `a=${marker}` }), 200],
      [post(JSON.stringify({ model: 'veritee-demo', prompt: marker, max_tokens: 4 }), {}, '/v1/completions'), 200],
      [post(JSON.stringify({ model: 'veritee-demo', input: marker }), {}, '/v1/embeddings'), 200],
    ]
    for (const [answer, status] of asked) expect((await answer).status).toBe(status)
    await ask({ method: 'GET', path: `/v1/models/${marker}?token=${marker}` })
    await ask({ method: 'GET', path: `/v1/aci/receipts/${marker}` })
    await expect.poll(() => finished('controller').length).toBe(before + 1 + asked.length)
    const told: string[] = [...written, ...texts]
    for (const { ready } of running)
      for (const path of ['/metrics', '/status', '/workers', '/readyz'])
        told.push((await ask({ method: 'GET', path }, String(ready.operations))).text)
    expect(told.length).toBeGreaterThan(40)
    expect(told.filter((text) => text.includes('request.finished') && text.includes('"role":"worker"')).length).toBeGreaterThan(3)
    for (const text of told) {
      expect(text).not.toContain(marker)
      expect(text).not.toContain(secret)
      expect(text).not.toContain(answered)
    }
  })

  it('S6: nor in a span that is exported, which says route, status, times, model, tokens and ids', async () => {
    const asked = finished('controller').length
    const exported = (): OtlpSpan[] => collector.spans().filter(({ service }) => service === 'veritee-controller')
    await expect.poll(() => exported().length, { timeout: 30_000 }).toBe(asked)
    for (const { path, headers, body } of collector.got) {
      expect([path, headers['content-type']]).toEqual(['POST /v1/traces', 'application/json'])
      expect(JSON.stringify(headers) + body).not.toContain(marker)
    }
    for (const line of finished('controller')) expect(exported().map(({ spanId }) => spanId)).toContain(line.span_id)
    const of = exported().find(({ traceId }) => traceId === trace)
    const at = collector.spans().find(({ parentSpanId }) => parentSpanId === of?.spanId)
    expect(of).toMatchObject({
      parentSpanId: parent,
      attributes: { 'gen_ai.request.model': 'veritee-demo', 'veritee.session.id': expect.stringMatching(/^[0-9a-f]{64}$/) },
    })
    expect(at).toMatchObject({ service: 'veritee-worker', attributes: { 'veritee.outcome': expect.stringMatching(/^(complete|length)$/) } })
    for (const name of ['gen_ai.usage.input_tokens', 'gen_ai.usage.output_tokens']) expect(of?.attributes[name]).toBe(at?.attributes[name])
    expect(of?.attributes['gen_ai.usage.output_tokens']).toBeGreaterThan(0)
    for (const { attributes } of collector.spans()) expect(['veritee-demo', undefined]).toContain(attributes['gen_ai.request.model'])
    expect(exported().filter(({ attributes }) => attributes['http.response.status_code'] === 404).length).toBe(1)
  })

  it('a requester that leaves is told as cut off', async () => {
    const before = finished('controller').length
    const transport = nodeTransport(front.ready.url)
    const body = chatBody('veritee-demo', 'Tell me a story', { temperature: 0, maxTokens: 200, stream: true })
    const response = await transport.send({ method: 'POST', path: '/v1/chat/completions', body })
    for await (const _ of response.body) break
    transport.close()
    await expect.poll(() => finished('controller').length).toBe(before + 1)
    expect(finished('controller').at(-1)).toMatchObject({
      outcome: 'cut_off',
      parent_span_id: null,
      trace_id: expect.stringMatching(/^[0-9a-f]{32}$/),
    })
  })

  it('who was admitted is told with the session', () => {
    const admitted = written.map((line) => JSON.parse(line) as Line).filter(({ event, role }) => event === 'worker.admitted' && role === 'controller')
    expect(admitted).toMatchObject([
      { level: 'info', session_id: expect.stringMatching(/^[0-9a-f]{64}$/), message: expect.stringContaining(worker.ready.url) },
    ])
  })
})

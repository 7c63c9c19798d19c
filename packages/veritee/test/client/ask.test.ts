import { describe, expect, it } from 'vitest'
import { fromUtf8, utf8 } from '../../src/bytes/index.ts'
import { ask, chatBody, type Service } from '../../src/client/index.ts'
import { eventOf, parseReceipt, WorkerFault } from '../../src/receipt/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { judgedAt, sha, start } from '../receipt/enclaves.ts'
import { plainAnswer, policyOf, streamEvents } from '../receipt/scenario.ts'
import { apiKey, connected, fakeService, request, streamRequest } from './service.ts'

const path = '/v1/chat/completions'
const posts = (requests: readonly string[]): number => requests.filter((line) => line.startsWith('POST')).length

describe('asking', () => {
  it('gives a plain answer with its proof, and the documents for keeping', async () => {
    const fake = await fakeService()
    const answer = await ask(await connected(fake, { apiKey }), path, request)
    expect([fromUtf8(answer.responseBody), answer.proof.outcome, answer.receiptId]).toEqual([plainAnswer, 'verified', 'rcpt-1'])
    expect([answer.records.session !== null, answer.records.workerReceipt !== null]).toEqual([true, true])
    expect(posts(fake.requests)).toBe(1)
    // Never before verification, and on each request after it.
    expect(fake.credentials.map((value) => value ?? 'none')).toEqual(['none', ...Array.from({ length: 4 }, () => `Bearer ${apiKey}`)])
  })
  it('S21: with an anchor the nonce is made of it, and the receipts echo it', async () => {
    const anchor = { checkpoint: { origin: 'log.example/receipts', size: 7, root: new Uint8Array(32).fill(1) }, salt: new Uint8Array(32).fill(2) }
    const answer = await ask(await connected(await fakeService()), path, request, { anchor })
    // By another implementation of SHA-256, over what the specification says.
    const document = `{"origin":"log.example/receipts","root":"${'01'.repeat(32)}","salt":"${'02'.repeat(32)}","size":7}`
    expect(`sha256:${answer.clientNonce}`).toBe(sha(`veritee.nonce-anchor.v1\n${document}`))
    for (const text of [answer.records.receipt, answer.records.workerReceipt ?? ''])
      expect(eventOf(parseReceipt(text), 'veritee.request')?.client_nonce).toBe(answer.clientNonce)
  })
  it('gives a stream event by event', async () => {
    const fake = await fakeService()
    const events: string[] = []
    const onEvent = (event: Uint8Array): undefined => void events.push(fromUtf8(event))
    const answer = await ask(await connected(fake), path, streamRequest, { onEvent })
    expect([events, answer.proof.outcome]).toEqual([[...streamEvents], 'verified'])
    expect(fromUtf8(answer.responseBody)).toBe(streamEvents.join(''))
  })
  it('S9: a stream left early is verified as a prefix of what came', async () => {
    const fake = await fakeService()
    let seen = 0
    const answer = await ask(await connected(fake), path, streamRequest, { onEvent: () => ++seen < 2 })
    expect([seen, answer.proof.outcome, fromUtf8(answer.responseBody)]).toEqual([2, 'verified-prefix', streamEvents.slice(0, 2).join('')])
  })
  it.each([1, 3])('S9: a stream cut off after %d events is a prefix, never the whole', async (cutAfter) => {
    const answer = await ask(await connected(await fakeService({ cutAfter })), path, streamRequest)
    expect([answer.proof.outcome, fromUtf8(answer.responseBody)]).toEqual(['verified-prefix', streamEvents.slice(0, cutAfter).join('')])
  })
  it('S9: a stream cut off before its first event is service_unavailable', async () => {
    expect(await refusal(async () => ask(await connected(await fakeService({ cutAfter: 0 })), path, streamRequest))).toBe('service_unavailable')
  })
  it('a plain answer cut off is service_unavailable', async () => {
    expect(await refusal(async () => ask(await connected(await fakeService({ cutAfter: 1 })), path, request))).toBe('service_unavailable')
  })
  it('an abort by the caller is a prefix too', async () => {
    const fake = await fakeService({ pauseMs: 50 })
    const abort = new AbortController()
    const answer = await ask(await connected(fake), path, streamRequest, { signal: abort.signal, onEvent: () => void abort.abort() })
    expect(answer.proof.outcome).toBe('verified-prefix')
  })
  it.each([0, 1, 2, 3])('an abort or a stop at event %d of an answer that has come whole ends nothing but that answer', async (at) => {
    const fake = await fakeService()
    const service = await connected(fake)
    const abort = new AbortController()
    let seen = 0
    const stopped = await ask(service, path, streamRequest, { onEvent: () => seen++ < at })
    expect(stopped.proof.outcome).toBe('verified-prefix')
    seen = 0
    const signal = abort.signal
    const aborted = await ask(service, path, streamRequest, { signal, onEvent: () => (seen++ === at ? void abort.abort() : undefined) })
    expect(['verified', 'verified-prefix']).toContain(aborted.proof.outcome)
    expect((await ask(service, path, request)).proof.outcome).toBe('verified')
  })
  it('a failure of the caller’s own callback is the caller’s, not a broken stream', async () => {
    const service = await connected(await fakeService())
    const onEvent = (): never => {
      throw new RangeError('mine')
    }
    await expect(ask(service, path, streamRequest, { onEvent })).rejects.toThrow(new RangeError('mine'))
  })
})

describe('what the service may get wrong', () => {
  const outcome = async (behaviour: Parameters<typeof fakeService>[0], body = request): Promise<string> =>
    refusal(async () => ask(await connected(await fakeService(behaviour)), path, body))
  const error = (message: string): string => JSON.stringify({ error: { message } })

  it('answering under another keyset, or under none', async () => {
    expect(await outcome({ keysetDigest: sha('restarted') })).toBe('keyset_changed')
    expect(await outcome({ keysetDigest: null })).toBe('keyset_changed')
    expect(await outcome({ keysetDigest: 'a\u0009b' })).toBe('keyset_changed')
  })
  it('naming no receipt, or one that is a path', async () => {
    for (const receiptId of [null, '', '../../v1/models', 'a b', 'x'.repeat(129)]) expect(await outcome({ receiptId })).toBe('receipt_missing')
  })
  it.each([401, 404, 500])('answering %d for each of the four documents', async (status) => {
    for (const place of ['/v1/aci/receipts', '/v1/aci/sessions', '/v1/veritee/receipts'])
      expect(await outcome({ answers: { [place]: { status, body: error('no') } } }), place).toBe('receipt_missing')
  })
  it('S9: withholding the proof of a prefix', async () => {
    const fake = await fakeService({ cutAfter: 2 })
    const service = await connected(fake)
    const onEvent = (): undefined => {
      fake.behaviour.answers['/v1/veritee/receipts'] = { status: 404, body: '' }
    }
    const asked = ask(service, path, streamRequest, { onEvent })
    expect(await refusal(() => asked)).toBe('receipt_missing')
  })
  it('a receipt that is none', async () => {
    expect(await outcome({ answers: { '/v1/aci/receipts': { status: 200, body: '{}' } } })).toBe('receipt_malformed')
    expect(await outcome({ answers: { '/v1/aci/receipts': { status: 200, body: ' '.repeat((1 << 18) + 1) } } })).toBe('response_too_large')
    expect(await outcome({ answers: { '/v1/aci/sessions': { status: 200, body: '{}' } } })).toBe('session_mismatch')
  })
  it('another answer than was signed', async () => {
    const fake = await fakeService()
    const service = await connected(fake)
    const tampered: Service = {
      ...service,
      transport: {
        ...service.transport,
        send: async (sent) => {
          const response = await service.transport.send(sent)
          if (sent.method === 'GET') return response
          const body = (async function* (): AsyncGenerator<Uint8Array> {
            for await (const part of response.body) yield utf8(fromUtf8(part).replace('chatcmpl-1', 'chatcmpl-2'))
          })()
          return { ...response, body }
        },
      },
    }
    expect(await refusal(() => ask(tampered, path, request))).toBe('receipt_response_mismatch')
  })
  it('a worker with other weights than the policy lists: the fault names the worker', async () => {
    const fake = await fakeService()
    const service = await connected(fake, { policy: policyOf({ models: { 'demo-model': [sha('other')] } }) })
    const thrown = await ask(service, path, request).catch((error: unknown) => error)
    expect(thrown).toBeInstanceOf(WorkerFault)
    expect(thrown).toMatchObject({ code: 'policy_models', worker: fake.worker.digest })
  })
  it.each([
    ['a message', 400, error('no such model'), /answered 400: no such model$/],
    ['a message without end', 500, error('x'.repeat(100_000)), /answered 500: x{300}$/],
    ['control characters', 500, error('a\u001b]0;owned\u0007\nb'), /answered 500: a \]0;owned b$/],
    ['another shape', 503, '{"detail":"secret"}', /a body that is not an error in OpenAI's shape$/],
    ['a redirect', 307, '', /answered 307: no body$/],
  ])('an error with %s surfaces in bounded form', async (_, status, body, message) => {
    const service = await connected(await fakeService({ answers: { [path]: { status, body } } }))
    const thrown = await ask(service, path, request).catch((error: unknown) => error)
    expect(thrown).toMatchObject({ code: 'service_refused' })
    expect((thrown as Error).message).toMatch(message)
  })
  it('an error that comes as a stream is an error: no event of it reaches the caller', async () => {
    const service = await connected(
      await fakeService({ answers: { [path]: { status: 500, body: 'data: evil\n\n', headers: { 'content-type': 'text/event-stream' } } } }),
    )
    const events: Uint8Array[] = []
    expect(await refusal(() => ask(service, path, streamRequest, { onEvent: (event) => void events.push(event) }))).toBe('service_refused')
    expect(events).toEqual([])
  })
  it('an event without end', async () => {
    expect(await outcome({ stream: ['x'.repeat((1 << 20) + 1)] }, streamRequest)).toBe('response_too_large')
  })
  it('a long stream of small events is verified whole', async () => {
    const stream = Array.from({ length: 2000 }, (_, i) => `data: ${i}\n\n`)
    expect((await ask(await connected(await fakeService({ stream })), path, streamRequest)).proof.outcome).toBe('verified')
  })
  it('bytes after the last whole event are under the hash of the body', async () => {
    const stream = [...streamEvents]
    const fake = await fakeService({ stream })
    const service = await connected(fake)
    const longer: Service = {
      ...service,
      transport: {
        ...service.transport,
        send: async (sent) => {
          const response = await service.transport.send(sent)
          if (sent.method === 'GET') return response
          const body = (async function* (): AsyncGenerator<Uint8Array> {
            yield* response.body
            yield utf8('data: injected')
          })()
          return { ...response, body }
        },
      },
    }
    expect(await refusal(() => ask(longer, path, streamRequest))).toBe('receipt_response_mismatch')
  })
})

describe('nothing is sent', () => {
  it('once the keyset has ended, or the attestation is too old', async () => {
    const fake = await fakeService()
    let now = judgedAt
    const service = await connected(fake, { now: () => now })
    now = new Date(judgedAt.getTime() + 3601_000)
    expect(await refusal(() => ask(service, path, request))).toBe('policy_attestation_age')
    now = new Date(start.getTime() + 86_400_000)
    expect(await refusal(() => ask(service, path, request))).toBe('keyset_expired')
    expect(posts(fake.requests)).toBe(0)
  })
  it('of the API key in any message', async () => {
    const fake = await fakeService({ answers: { [path]: { status: 401, body: 'denied' } } })
    const thrown = await ask(await connected(fake, { apiKey }), path, request).catch((error: unknown) => error)
    expect(fake.credentials.at(-1)).toBe(`Bearer ${apiKey}`)
    expect(`${(thrown as Error).message} ${(thrown as Error).stack}`).not.toContain(apiKey)
  })
})

it('chat bodies are what OpenAI’s API takes, and no more than was asked for', () => {
  expect(fromUtf8(chatBody('m', 'hi "there"\n'))).toBe('{"model":"m","messages":[{"role":"user","content":"hi \\"there\\"\\n"}]}')
  expect(JSON.parse(fromUtf8(chatBody('m', 'p', { stream: true, maxTokens: 1, temperature: 0, seed: 0 })))).toEqual({
    model: 'm',
    messages: [{ role: 'user', content: 'p' }],
    stream: true,
    max_tokens: 1,
    temperature: 0,
    seed: 0,
  })
})

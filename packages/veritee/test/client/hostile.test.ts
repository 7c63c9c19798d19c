import { describe, expect, it } from 'vitest'
import type { Json } from '../../src/bytes/index.ts'
import { type ClientError, fetchText, nodeTransport } from '../../src/client/index.ts'
import type { ReceiptEvent } from '../../src/receipt/index.ts'
import { inferenceEvent } from '../fraud/scenario.ts'
import { createEnclave, nonceOf, resigned, seconds, sha, start } from '../receipt/enclaves.ts'
import { streamEvents } from '../receipt/scenario.ts'
import { ask, editing, open, plain, posts, secret, secure, streamed, thrown } from './asking.ts'
import { serveHttps, tlsIdentity } from './servers.ts'
import type { Behaviour, FakeService } from './service.ts'

/** A real TLS server that misbehaves, and the client in front of it: each case with the code it must give, and when. */

describe('refused before anything is sent', () => {
  it('a TLS key of a certificate authority, or any other, that the quote does not bind: channel_mismatch', async () => {
    const fake = await secure()
    const between = await serveHttps(await tlsIdentity(), async (request, response) => {
      const upstream = nodeTransport(fake.url)
      response.end(await fetchText(upstream, { method: 'GET', path: request.url ?? '/' }, 1 << 20))
      upstream.close()
    })
    expect((await thrown(() => open(between.url))).code).toBe('channel_mismatch')
  })
  it('the TLS key exchanged after verification: channel_mismatch, and the prompt never leaves', async () => {
    const fake = await secure()
    const port = fake.port
    const c = await open(fake.url)
    await fake.close()
    const seen: string[] = []
    const thief = await serveHttps(
      await tlsIdentity(),
      (request, response) => {
        seen.push(`${request.method} ${request.url?.split('?')[0]}`)
        request.resume()
        response.writeHead(404).end()
      },
      port,
    )
    const once = (): Promise<ClientError> => thrown(() => c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body: plain }))
    let error = await once()
    // The old connection may not have noticed yet that it was closed.
    while (error.code === 'service_unavailable') error = await once()
    // The client verifies again, and gets no report.
    expect(error.code).toBe('service_refused')
    expect(seen).toEqual(['GET /v1/aci/attestation'])
    await thief.close()
  })
  it.each<[string, (fake: FakeService) => unknown, string]>([
    [
      'a report that was recorded',
      async (fake) => {
        const recorded = await fake.controller.report(nonceOf('an earlier client'))
        fake.behaviour.report = () => recorded
      },
      'report_nonce_mismatch',
    ],
    [
      'a recorded report that states the new nonce',
      async (fake) => {
        const recorded = await fake.controller.report(nonceOf('an earlier client'))
        fake.behaviour.report = (text) =>
          recorded.replaceAll(
            nonceOf('an earlier client'),
            (JSON.parse(text) as { attestation: { evidence: { nonce: string } } }).attestation.evidence.nonce,
          )
      },
      'report_nonce_mismatch',
    ],
    [
      'the nonce ignored',
      async (fake) => {
        const unchallenged = await fake.controller.report(null)
        fake.behaviour.report = () => unchallenged
      },
      'report_nonce_mismatch',
    ],
    [
      'a keyset with one more receipt key',
      (fake) => {
        fake.behaviour.report = (text) => withKey(text)
      },
      'report_keyset_mismatch',
    ],
    [
      'a keyset with one more key, and the digest that fits it',
      async (fake) => {
        const own = await createEnclave('controller', {
          spki: fake.controller.spki,
          keyset: { ...fake.controller.keyset, receipt_signing_keys: [...fake.controller.keyset.receipt_signing_keys, thiefKey] },
        })
        fake.behaviour.report = (text) => {
          const report = JSON.parse(text) as { workload_keyset_digest: string; attestation: { workload_keyset: Json } }
          report.workload_keyset_digest = own.digest
          report.attestation.workload_keyset = own.keyset as unknown as Json
          return JSON.stringify(report)
        }
      },
      'report_nonce_mismatch',
    ],
    [
      'a keyset that has ended',
      async (fake) => {
        fake.behaviour.reporter = await createEnclave('controller', { spki: fake.controller.spki, keyset: { not_after: seconds(start) + 300 } })
      },
      'keyset_expired',
    ],
    [
      'another program',
      async (fake) => {
        fake.behaviour.reporter = await createEnclave('worker', { spki: fake.controller.spki })
      },
      'policy_identity',
    ],
    [
      'a report that is none',
      (fake) => {
        fake.behaviour.report = () => '{}'
      },
      'report_malformed',
    ],
    [
      'a report without end',
      (fake) => {
        fake.behaviour.report = () => ' '.repeat((1 << 20) + 1)
      },
      'response_too_large',
    ],
  ])('%s: %#', async (_, misbehave, code) => {
    const fake = await secure()
    await misbehave(fake)
    expect((await thrown(() => open(fake.url))).code).toBe(code)
    expect(posts(fake)).toBe(0)
  })
})

const thiefKey = { key_id: 'receipt-2', algo: 'ed25519', public_key: nonceOf('a key of somebody else') }
function withKey(text: string): string {
  const report = JSON.parse(text) as { attestation: { workload_keyset: { receipt_signing_keys: Json[] } } }
  report.attestation.workload_keyset.receipt_signing_keys.push(thiefKey)
  return JSON.stringify(report)
}

const onPath = (part: string, edit: (text: string) => string | null) => ({
  document: (path: string, text: string): string | null => (path.includes(part) ? edit(text) : text),
})

describe('an answer whose receipt is wrong never ends well, and its end is withheld', () => {
  const cases: [string, (fake: FakeService) => Partial<Behaviour> | Promise<Partial<Behaviour>>, string][] = [
    ['receipt missing', () => onPath('/aci/receipts/', () => null), 'receipt_missing'],
    ['receipt that is none', () => onPath('/aci/receipts/', () => '{}'), 'receipt_malformed'],
    [
      'receipt of another request',
      () => ({ sealing: { controllerEvents: editing('request.received', (event) => ({ ...event, body_hash: sha('another') })) } }),
      'receipt_request_mismatch',
    ],
    [
      'S10: receipt of an equal request of somebody else',
      () => ({ sealing: { controllerEvents: editing('veritee.request', (event) => ({ ...event, client_nonce: nonceOf('their nonce') })) } }),
      'receipt_nonce_mismatch',
    ],
    [
      'S10: receipt that echoes no nonce',
      () => ({ sealing: { controllerEvents: editing('veritee.request', () => null) } }),
      'receipt_nonce_mismatch',
    ],
    [
      'receipt with another response hash',
      () => ({ sealing: { controllerEvents: editing('response.returned', (event) => ({ ...event, body_hash: sha('another') })) } }),
      'receipt_response_mismatch',
    ],
    [
      'receipt edited after it was signed',
      () => onPath('/aci/receipts/', (text) => text.replace('"served_at":', '"served_at":1')),
      'receipt_signature_invalid',
    ],
    ['receipt key that the receipt does not commit to', () => ({ receiptKey: 'ab'.repeat(32) }), 'receipt_key_mismatch'],
    ['receipt that names a key outside the keyset', () => ({ sealing: { controllerReceipt: { key_id: 'receipt-2' } } }), 'receipt_key_unknown'],
    [
      'receipt signed by another enclave under the same key id',
      async () => ({ sealing: { signer: await createEnclave('controller') } }),
      'receipt_signature_invalid',
    ],
    ['receipt served after its keyset ended', () => ({ sealing: { controllerReceipt: { served_at: seconds(start) + 90_000 } } }), 'keyset_expired'],
    [
      'receipt that names another keyset',
      () => ({ sealing: { controllerReceipt: { workload_keyset_digest: sha('another keyset') } } }),
      'receipt_keyset_mismatch',
    ],
    [
      'downgrade: the worker failed verification',
      () => ({
        sealing: {
          controllerEvents: editing('upstream.verified', () => ({
            type: 'upstream.verified',
            result: 'failed',
            required: true,
            model_id: 'demo-model',
            reason: 'no evidence',
          })),
        },
      }),
      'policy_receipt',
    ],
    [
      'downgrade: verification was not required',
      () => ({ sealing: { controllerEvents: editing('upstream.verified', (event) => ({ ...event, required: false })) } }),
      'policy_receipt',
    ],
    ['downgrade: no word of a worker', () => ({ sealing: { controllerEvents: editing('upstream.verified', () => null) } }), 'policy_receipt'],
    ['session missing', () => onPath('/aci/sessions/', () => null), 'receipt_missing'],
    [
      'session swapped',
      () => onPath('/aci/sessions/', (text) => text.replace('"verifier_id":"test/1"', '"verifier_id":"test/2"')),
      'session_mismatch',
    ],
    ['session expired', () => ({ sealing: { session: { expires_at: seconds(start) + 120 } } }), 'session_mismatch'],
    ['session not begun', () => ({ sealing: { session: { established_at: seconds(start) + 400 } } }), 'session_mismatch'],
    ['session with edited evidence', () => onPath('/aci/sessions/', (text) => text.replace(/base64,..../, 'base64,AAAA')), 'session_mismatch'],
    ['session of another identity', () => ({ sealing: { session: { identity: { workload_keyset_digest: sha('another') } } } }), 'session_mismatch'],
    [
      'session with a channel to somebody else',
      () => ({
        sealing: { session: { channel_binding: [{ type: 'tls_spki_sha256', origin: 'https://127.0.0.1:1', spki_sha256: nonceOf('their key') }] } },
      }),
      'session_mismatch',
    ],
    ["the worker's receipt missing", () => onPath('/upstream', () => null), 'receipt_missing'],
    [
      "the worker's receipt exchanged",
      (fake) =>
        onPath('/upstream', (text) =>
          resigned(text, fake.worker.receiptKey, (document) => {
            document.served_at = seconds(start) + 301
          }),
        ),
      'receipt_upstream_mismatch',
    ],
    [
      "the worker's receipt over another answer",
      () => ({ sealing: { workerEvents: editing('response.returned', (event) => ({ ...event, body_hash: sha('another') })) } }),
      'receipt_response_mismatch',
    ],
    [
      'S10: the request was changed on its way to the worker',
      () => ({ sealing: { controllerEvents: editing('request.forwarded', (event) => ({ ...event, body_hash: sha('another') })) } }),
      'receipt_request_mismatch',
    ],
    [
      "S10: the controller's own check failed",
      () => ({
        sealing: {
          controllerEvents: editing('veritee.upstream_receipt', (event) => ({ ...event, result: 'mismatch', digest: null, reason: 'bytes' })),
        },
      }),
      'receipt_upstream_mismatch',
    ],
    [
      'other weights than the quote binds',
      () => ({
        sealing: {
          workerEvents: editing('veritee.model', (event) => ({ ...event, files: [{ name: 'demo.gguf', sha256: sha('other weights'), size: 7 }] })),
        },
      }),
      'policy_models',
    ],
  ]
  it.each(cases)('%s', async (_, behaviour, code) => {
    const fake = await secure()
    Object.assign(fake.behaviour, await behaviour(fake))
    const c = await open(fake.url)
    for (const [body, before] of [
      [plain, ''],
      [streamed, streamEvents.slice(0, 3).join('')],
    ] as const) {
      const { code: found, text, proof } = await ask(c, body)
      expect(found).toBe(code)
      // Nothing of a plain answer, and of a stream not what ends it.
      expect(before.startsWith(text)).toBe(true)
      expect([proof.error?.code, proof.model]).toEqual([code, null])
      expect(proof.status).toBe(code === 'receipt_missing' ? 'unproven' : 'rejected')
      expect(JSON.stringify(proof)).not.toContain(secret)
    }
    c.close()
  })
  it('buffered gives nothing before the proof, report everything, and both say the same', async () => {
    const fake = await secure(onPath('/aci/receipts/', () => null))
    for (const [mode, code, text] of [
      ['buffered', 'receipt_missing', ''],
      ['report', null, streamEvents.join('')],
    ] as const) {
      const c = await open(fake.url, { mode })
      expect(await ask(c, streamed)).toMatchObject({ code, text, proof: { status: 'unproven', error: { code: 'receipt_missing' } } })
    }
  })
  it('receipt late: receipt_missing once the time for proofs is over', async () => {
    const { promise: late, resolve: atLast } = Promise.withResolvers<void>()
    const fake = await secure({ document: async (path, text) => (path.includes('/aci/receipts/') ? late.then(() => text) : text) })
    const c = await open(fake.url, { proofTimeoutMs: 200 })
    expect(await ask(c, plain)).toMatchObject({ code: 'receipt_missing', text: '', proof: { status: 'unproven' } })
    atLast()
  })
  it.each<[string, Partial<Behaviour>]>([
    ['an answer that names no receipt', { receiptId: null }],
    ['an answer that names a receipt that cannot be', { receiptId: 'a b' }],
  ])('%s is refused with its headers', async (_, behaviour) => {
    const c = await open((await secure(behaviour)).url)
    expect((await thrown(() => ask(c, plain))).code).toBe('receipt_missing')
  })
})

it.each([204, 205])('S9: status %i, of which no reader sees a body, is no answer in any mode', async (status) => {
  const headers = { 'x-receipt-id': 'rcpt-1' }
  const fake = await secure({ answers: { '/v1/chat/completions': { status, body: '', headers } } })
  for (const mode of ['buffered', 'hold-last', 'report'] as const) {
    const c = await open(fake.url, { mode })
    expect((await thrown(() => ask(c, plain))).code).toBe('receipt_response_mismatch')
  }
})

describe('streams', () => {
  const [a, b, last, done] = streamEvents
  it.each<[string, (events: readonly string[]) => readonly string[], string]>([
    ['cut, and ended as if whole', (events) => events.slice(0, 2), 'receipt_response_mismatch'],
    ['cut before its end mark', (events) => events.slice(0, 3), 'receipt_response_mismatch'],
    ['reordered', () => [b, a, last, done], 'receipt_response_mismatch'],
    ['extended after its end', (events) => [...events, 'data: {"d":4}\n\n'], 'receipt_response_mismatch'],
    ['with an injected event', () => [a, 'data: {"x":0}\n\n', b, last, done], 'receipt_response_mismatch'],
    ['with an injected comment', () => [a, ': ping\n\n', b, last, done], 'receipt_response_mismatch'],
    ['with half an event behind it', (events) => [...events, 'data: {"d'], 'receipt_response_mismatch'],
    ['with its line ends changed', (events) => events.map((event) => event.replace('\n\n', '\r\n\n')), 'receipt_response_mismatch'],
  ])('%s: refused, and the end never shown', async (_, wire, code) => {
    const c = await open((await secure({ wire })).url)
    const { code: found, text, proof } = await ask(c, streamed)
    expect([found, proof.status, proof.error?.code]).toEqual([code, 'rejected', code])
    expect(text).not.toContain('[DONE]')
  })
  it('S9: cut off by the connection: the reader is told, and what came is proven as a prefix', async () => {
    const c = await open((await secure({ cutAfter: 2 })).url)
    expect(await ask(c, streamed)).toMatchObject({
      code: 'service_unavailable',
      text: a + b,
      proof: { status: 'verified-prefix', error: null, bytes: { events: 2, complete: false } },
    })
  })
  it('S9: ended well, though the worker signed that it was aborted: no reader takes the part for the whole', async () => {
    const workerEvents = (events: readonly (ReceiptEvent | Json)[]): readonly (ReceiptEvent | Json)[] => [
      ...events.slice(0, -1),
      inferenceEvent('aborted'),
      ...events.slice(-1),
    ]
    const fake = await secure({ sealing: { workerEvents } })
    for (const [mode, code] of [
      ['buffered', 'service_unavailable'],
      ['hold-last', 'service_unavailable'],
      ['report', null],
    ] as const) {
      const c = await open(fake.url, { mode })
      expect(await ask(c, streamed)).toMatchObject({ code, proof: { status: 'verified-prefix', error: null, bytes: { complete: true } } })
    }
  })
  it('S9: cut off after an injected event: no prefix', async () => {
    const c = await open((await secure({ wire: () => [a, 'data: {"x":0}\n\n', b, last, done], cutAfter: 3 })).url)
    expect(await ask(c, streamed)).toMatchObject({ code: 'receipt_stream_mismatch', proof: { status: 'rejected' } })
  })
  it('S9: the proof of the prefix withheld', async () => {
    const fake = await secure({ cutAfter: 2 })
    const c = await open(fake.url)
    fake.behaviour.document = (_, text) => (text.includes('"prefix"') ? null : text)
    expect(await ask(c, streamed)).toMatchObject({ code: 'receipt_missing', proof: { status: 'unproven' } })
  })
  it('S9: left by its reader after one event', async () => {
    const c = await open((await secure({ pauseMs: 20 })).url)
    const response = await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body: streamed })
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    expect(new TextDecoder().decode((await reader.read()).value)).toBe(a)
    await reader.cancel()
    const proof = await c.proofOf(response)
    expect(proof).toMatchObject({ status: 'verified-prefix', error: null, bytes: { complete: false } })
  })
  it('S9: aborted by its caller: the reader gets the reason, the proof is of the prefix', async () => {
    const c = await open((await secure({ pauseMs: 20 })).url)
    const abort = new AbortController()
    const response = await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body: streamed, signal: abort.signal })
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    await reader.read()
    abort.abort(new Error('enough'))
    await expect(reader.read()).rejects.toThrow('enough')
    expect(await c.proofOf(response)).toMatchObject({ status: 'verified-prefix' })
  })
  it('a plain answer that is cut is unproven', async () => {
    const c = await open((await secure({ wire: ([text = '']) => [text.slice(0, 5), text.slice(5)], cutAfter: 1 })).url)
    expect(await ask(c, plain)).toMatchObject({ code: 'service_unavailable', text: '', proof: { status: 'unproven' } })
  })
})

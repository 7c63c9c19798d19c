import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text as readText } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { fromUtf8, type Json, jcs, utf8 } from 'veritee/bytes'
import { ask, chatBody, connect, nodeTransport } from 'veritee/client'
import type { Policy, Role } from 'veritee/policy'
import {
  parseReceipt,
  type ReceiptEvent,
  receiptDigest,
  requestLimits,
  type ServiceDescriptor,
  type SessionDocument,
  type StreamTree,
  sessionId,
  spliceConstraints,
  WorkerFault,
} from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Registry } from '../../src/controller/registry.ts'
import { type RunningWorker, startWorker } from '../../src/demo/system.ts'
import { createIdentity, type Identity } from '../../src/enclave/runtime/identity.ts'
import { Ledger, prefixProofText } from '../../src/enclave/runtime/ledger.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { admitted, type Network, now, rulesOf, startNetwork } from './network.ts'
import { digest, endpoint, joined, streamText, treeOf, without, withType } from './redteam-bytes.ts'

/**
 * A controller that attests as the genuine one and signs whatever a test wants, over a worker that does too: more than any attacker outside an
 * enclave has. What the client must still refuse, it refuses on its own.
 */

let network: Network
let second: RunningWorker
let registry: Registry
beforeAll(async () => {
  network = await startNetwork()
  second = await startWorker(network.machine, [network.model.served], 0, now)
  registry = new Registry({ rules: rulesOf(network), now, allowLoopback: true })
})
afterAll(async () => {
  await registry.close()
  await second.server.close()
  await network.close()
})

/** What the two of them do with a request. */
interface Play {
  /** Events sent; null sends `plain` as a plain body. */
  readonly sent?: readonly Uint8Array[]
  /** Bytes after the last event. */
  readonly tail?: Uint8Array
  /** The connection is cut instead of ended. */
  readonly cut?: boolean
  /** What the worker's receipt covers; default what is sent. */
  readonly worked?: readonly Uint8Array[]
  /** What the controller's receipt covers; default what is sent. */
  readonly signed?: readonly Uint8Array[]
  readonly outcome?: 'complete' | 'aborted' | 'error'
  readonly workerEvents?: (events: readonly ReceiptEvent[]) => readonly ReceiptEvent[]
  readonly controllerEvents?: (events: readonly ReceiptEvent[]) => readonly ReceiptEvent[]
  /** Edits the answer to a prefix request. */
  readonly proof?: (text: string, prefix: number) => string
  readonly workerReceipt?: (text: string) => string
  readonly session?: (document: SessionDocument) => SessionDocument
  /** Whose session is cited, and who signs the worker's receipt. */
  readonly cites?: RunningWorker
  readonly signs?: RunningWorker
}

async function identityOf(role: Role, enclave: 'controller' | 'worker'): Promise<Identity> {
  const { platform, enclaves } = network.machine
  const descriptor: ServiceDescriptor = {
    version: 'veritee.descriptor.v1',
    role,
    configuration_digest: digest(utf8('{}')),
    models: role === 'controller' ? [] : [network.model.served.described],
    engine: role === 'controller' ? null : network.model.served.describedEngine,
    admission: null,
    operator_key: null,
    release: { version: '0', commit: null },
    extensions: {},
  }
  return createIdentity({
    descriptor,
    quoter: createQuoter(createSimDevice(platform, enclaves[enclave])),
    collateral: () => platform.collateral,
    now,
  })
}

function inference(outcome: string): ReceiptEvent {
  const zero = '0'.repeat(64)
  return {
    type: 'veritee.inference',
    engine: network.model.served.describedEngine,
    profile: 'p',
    prompt_tokens: 1,
    completion_tokens: 1,
    prompt_tokens_hmac: zero,
    completion_tokens_hmac: zero,
    parameters: {},
    seed: null,
    ignored_parameters: [],
    outcome,
  } as ReceiptEvent
}

/** Runs one exchange against the pair; gives the outcome, or the code of the refusal. */
async function outcomeOf(play: Play, options: { policy?: Policy; onEvent?: (event: Uint8Array) => boolean } = {}): Promise<string> {
  return (await exchange(play, options)).outcome
}

async function exchange(
  play: Play,
  { policy = network.policy, onEvent }: { policy?: Policy; onEvent?: (event: Uint8Array) => boolean } = {},
): Promise<{ outcome: string; error: unknown; response: string }> {
  return withPair(play, async (url) => {
    const transport = nodeTransport(url)
    try {
      const service = await connect(transport, network.options({ policy }))
      const answer = await ask(service, endpoint, chatBody('veritee-demo', 'Hi', { stream: true }), onEvent === undefined ? {} : { onEvent })
      return { outcome: answer.proof.outcome, error: null, response: fromUtf8(answer.responseBody) }
    } catch (error) {
      return { outcome: (error as { code?: string }).code ?? `no code: ${String(error)}`, error, response: '' }
    } finally {
      transport.close()
    }
  })
}

async function withPair<T>(play: Play, client: (url: string) => Promise<T>): Promise<T> {
  const identity = await identityOf('controller', 'controller')
  const ledger = new Ledger({ identity, now, waitMs: 500 })
  const cited = await admitted(registry, play.cites ?? network.worker)
  const document = (play.session ?? ((same) => same))(cited.session.document)
  const session = { id: await sessionId(document), text: jcs(document as unknown as Json) }
  const state: { worker: string; tree: StreamTree | null } = { worker: '{}', tree: null }

  const chat = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const parts: Buffer[] = []
    for await (const part of incoming as AsyncIterable<Buffer>) parts.push(part)
    const request = Buffer.concat(parts)
    const client_nonce = String(incoming.headers['x-veritee-nonce'])
    const { forwarded } = spliceConstraints(request, requestLimits)
    const sent = play.sent ?? streamText
    const worked = play.worked ?? sent
    const signed = play.signed ?? sent
    const workerTree = await treeOf(worked)
    const signer = (play.signs ?? play.cites ?? network.worker).worker.ledger
    const workerEvents: ReceiptEvent[] = [
      { type: 'request.received', body_hash: digest(forwarded) },
      { type: 'request.forwarded', body_hash: digest(forwarded) },
      { type: 'veritee.request', client_nonce },
      network.model.served.event,
      inference(play.outcome ?? 'complete'),
      await workerTree.event(),
      { type: 'response.returned', body_hash: digest(joined(worked)) },
    ]
    const facts = { chatId: null, model: 'veritee-demo', endpoint, stream: null, events: (play.workerEvents ?? ((same) => same))(workerEvents) }
    const text = (await signer.open(null).finish(facts)).toString()
    state.worker = (play.workerReceipt ?? ((same) => same))(text)
    state.tree = workerTree
    const receipt = ledger.open(null)
    const tree = await treeOf(signed)
    const events: ReceiptEvent[] = [
      { type: 'request.received', body_hash: digest(request) },
      { type: 'veritee.request', client_nonce },
      { type: 'request.forwarded', body_hash: digest(forwarded) },
      { type: 'upstream.verified', result: 'verified', required: true, model_id: 'veritee-demo', session_id: session.id },
      { type: 'veritee.upstream_receipt', digest: await receiptDigest(parseReceipt(text)), result: 'match', reason: null },
      await tree.event(),
      { type: 'veritee.outcome', outcome: 'complete' },
      { type: 'response.returned', body_hash: digest(joined([...signed, ...(play.tail === undefined || play.cut === true ? [] : [play.tail])])) },
    ]
    await receipt.finish({ chatId: null, model: 'veritee-demo', endpoint, stream: tree, events: (play.controllerEvents ?? ((same) => same))(events) })
    response.writeHead(200, { 'content-type': 'text/event-stream', 'x-receipt-id': receipt.id })
    response.write(joined([...sent, ...(play.tail === undefined ? [] : [play.tail])]))
    // What was written must arrive before the connection goes.
    if (play.cut === true) setTimeout(() => response.destroy(), 50)
    else response.end()
  }

  const serve = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    response.setHeader('x-aci-keyset-digest', identity.keysetDigest)
    const url = new URL(incoming.url ?? '/', 'http://x')
    const prefix = url.searchParams.get('prefix')
    if (incoming.method === 'POST') return chat(incoming, response)
    if (url.pathname === '/v1/aci/attestation') response.end(await identity.report(url.searchParams.get('nonce')))
    else if (url.pathname.startsWith('/v1/aci/sessions/')) response.end(session.text)
    else if (url.pathname.endsWith('/upstream') && prefix === null) response.end(state.worker)
    else {
      const found = await ledger.find(url.pathname.split('/')[4] ?? '', null)
      if (found.kind !== 'found') response.writeHead(404).end()
      else if (prefix === null) response.end(found.text)
      else {
        const tree = url.pathname.endsWith('/upstream') ? state.tree : found.stream
        const text = await prefixProofText(tree, Number(prefix))
        response.end((play.proof ?? ((same) => same))(text ?? '{"prefix":1,"consistency":[]}', Number(prefix)))
      }
    }
  }
  const server: Listening = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }, (incoming, response) => {
    void serve(incoming, response)
  })
  try {
    return await client(server.url)
  } finally {
    await server.close()
  }
}

test('the pair is believed where it does what the genuine ones do', async () => {
  expect(await outcomeOf({})).toBe('verified')
  expect(await outcomeOf({ sent: streamText.slice(0, 2), worked: streamText, signed: streamText, cut: true })).toBe('verified-prefix')
})

describe('S9: an early stop and a whole answer are never taken for each other', () => {
  test('a stream that the worker says was aborted is not a whole answer, however cleanly it ends', async () => {
    expect(await outcomeOf({ sent: streamText.slice(0, 2), outcome: 'aborted' })).toBe('verified-prefix')
  })

  test('a stream that ends early and cleanly, with the controller in on it, is refused by the worker receipt', async () => {
    expect(await outcomeOf({ sent: streamText.slice(0, 2), worked: streamText })).toBe('receipt_response_mismatch')
  })

  test('a stream cut before its first whole event proves nothing', async () => {
    expect(await outcomeOf({ sent: [], tail: utf8('data: on'), worked: streamText, signed: streamText, cut: true })).toBe('service_unavailable')
  })

  test('an empty stream that ends cleanly proves nothing, whoever signs it', async () => {
    expect(await outcomeOf({ sent: [] })).toBe('receipt_stream_mismatch')
  })

  test('bytes of an event that was cut are not part of what is verified', async () => {
    const { outcome, response } = await exchange({
      sent: streamText.slice(0, 2),
      tail: utf8('data: forg'),
      worked: streamText,
      signed: streamText,
      cut: true,
    })
    expect([outcome, response]).toEqual(['verified-prefix', fromUtf8(joined(streamText.slice(0, 2)))])
  })

  test('bytes after the last event of a whole stream must be signed by both', async () => {
    expect(await outcomeOf({ tail: utf8('data: forged') })).toBe('receipt_response_mismatch')
  })

  test('a prefix of another stream, a proof for another count, a proof withheld', async () => {
    const cut: Play = { sent: streamText.slice(0, 2), worked: streamText, signed: streamText, cut: true }
    const other = [utf8('data: eins\n\n'), ...streamText.slice(1)]
    expect(await outcomeOf({ ...cut, sent: other.slice(0, 2) })).toBe('receipt_stream_mismatch')
    expect(await outcomeOf({ ...cut, worked: other })).toBe('receipt_stream_mismatch')
    expect(await outcomeOf({ ...cut, proof: (text) => text.replace('"prefix":2', '"prefix":1') })).toBe('receipt_stream_mismatch')
    expect(await outcomeOf({ ...cut, proof: () => '{"consistency":[],"prefix":2}' })).toBe('receipt_stream_mismatch')
    expect(await outcomeOf({ ...cut, proof: (text) => text.replace('"prefix":2', '"prefix":2,"prefix":2') })).toBe('malformed_json')
  })

  test('a receipt without a tree cannot vouch for a part', async () => {
    const cut: Play = { sent: streamText.slice(0, 2), worked: streamText, signed: streamText, cut: true }
    expect(await outcomeOf({ ...cut, workerEvents: (events) => without(events, 'veritee.stream') })).toBe('receipt_stream_mismatch')
    expect(await outcomeOf({ ...cut, controllerEvents: (events) => without(events, 'veritee.stream') })).toBe('receipt_stream_mismatch')
  })

  test('an exception of the caller is not an early stop', async () => {
    const thrown = new Error('the caller failed')
    const { error } = await exchange(
      {},
      {
        onEvent: () => {
          throw thrown
        },
      },
    )
    expect(error).toBe(thrown)
  })

  test('a server that sends more events than an answer has is left, before its events fill the memory', async () => {
    const flood = Array.from({ length: 140_000 }, () => utf8('\n\n'))
    expect(await outcomeOf({ sent: flood, worked: [], signed: [] })).toBe('response_too_large')
  })
})

describe('S10: each statement of controller and worker is checked against the bytes of this exchange', () => {
  const zero = `sha256:${'0'.repeat(64)}`
  test.for<[string, Play, string]>([
    [
      'the worker echoes another nonce',
      { workerEvents: (e) => withType(e, 'veritee.request', { client_nonce: '1'.repeat(64) }) },
      'receipt_nonce_mismatch',
    ],
    ['the worker echoes no nonce', { workerEvents: (e) => without(e, 'veritee.request') }, 'receipt_nonce_mismatch'],
    ['the controller echoes no nonce', { controllerEvents: (e) => without(e, 'veritee.request') }, 'receipt_nonce_mismatch'],
    ['the worker got another request', { workerEvents: (e) => withType(e, 'request.received', { body_hash: zero }) }, 'receipt_request_mismatch'],
    [
      'the controller forwarded another request',
      { controllerEvents: (e) => withType(e, 'request.forwarded', { body_hash: zero }) },
      'receipt_request_mismatch',
    ],
    ['the controller states no forwarding', { controllerEvents: (e) => without(e, 'request.forwarded') }, 'receipt_request_mismatch'],
    [
      'the worker answered something else',
      { workerEvents: (e) => withType(e, 'response.returned', { body_hash: zero }) },
      'receipt_response_mismatch',
    ],
    ['the trees differ', { workerEvents: (e) => withType(e, 'veritee.stream', { root: zero }) }, 'receipt_stream_mismatch'],
    ['a best-effort verification', { controllerEvents: (e) => withType(e, 'upstream.verified', { required: false }) }, 'policy_receipt'],
    ['no upstream event', { controllerEvents: (e) => without(e, 'upstream.verified') }, 'policy_receipt'],
    ['a mismatch stated', { controllerEvents: (e) => withType(e, 'veritee.upstream_receipt', { result: 'mismatch' }) }, 'receipt_upstream_mismatch'],
    ['an absence stated', { controllerEvents: (e) => withType(e, 'veritee.upstream_receipt', { result: 'absent' }) }, 'receipt_upstream_mismatch'],
    ['no check stated', { controllerEvents: (e) => without(e, 'veritee.upstream_receipt') }, 'receipt_upstream_mismatch'],
    ['a digest of null', { controllerEvents: (e) => withType(e, 'veritee.upstream_receipt', { digest: null }) }, 'receipt_upstream_mismatch'],
    ['another receipt of the worker', { workerReceipt: (text) => text.replace('"served_at":', '"served_at":1') }, 'receipt_upstream_mismatch'],
    ['no weights stated', { workerEvents: (e) => without(e, 'veritee.model') }, 'policy_models'],
    ['weights only asserted', { workerEvents: (e) => withType(e, 'veritee.model', { provenance: 'provider_asserted' }) }, 'policy_models'],
    ['another file', { workerEvents: (e) => withType(e, 'veritee.model', { files: [{ name: 'x', sha256: zero, size: 1 }] }) }, 'policy_models'],
    ['no file', { workerEvents: (e) => withType(e, 'veritee.model', { files: [] }) }, 'policy_models'],
    ['a model the quote does not bind', { workerEvents: (e) => withType(e, 'veritee.model', { name: 'constructor' }) }, 'policy_models'],
    ['another template', { workerEvents: (e) => withType(e, 'veritee.model', { chat_template_digest: null }) }, 'policy_models'],
  ])('%s', async ([, play, code]) => {
    expect(await outcomeOf(play)).toBe(code)
  })

  test('a session of one worker with a receipt of another', async () => {
    expect(await outcomeOf({ signs: second })).toBe('receipt_signature_invalid')
  })

  test.for<[string, (document: SessionDocument) => SessionDocument, string]>([
    ['that names another keyset', (d) => ({ ...d, identity: { workload_keyset_digest: zero } }), 'session_mismatch'],
    ['bound to no channel', (d) => ({ ...d, channel_binding: [] }), 'session_mismatch'],
    [
      'bound to a foreign channel',
      (d) => ({ ...d, channel_binding: [{ type: 'tls_spki_sha256', origin: 'x', spki_sha256: '1'.repeat(64) }] }),
      'session_mismatch',
    ],
    [
      'with one foreign channel besides',
      (d) => ({ ...d, channel_binding: [...d.channel_binding, { type: 'tls_spki_sha256', origin: 'x', spki_sha256: '1'.repeat(64) }] }),
      'session_mismatch',
    ],
    ['that had ended', (d) => ({ ...d, expires_at: d.established_at }), 'session_mismatch'],
    ['that had not begun', (d) => ({ ...d, established_at: d.established_at + 3000 }), 'session_mismatch'],
    ['older than the policy wants', (d) => ({ ...d, established_at: d.established_at - 90_000 }), 'policy_attestation_age'],
    ['whose evidence is other bytes', (d) => ({ ...d, evidence: { ...d.evidence, digest: zero } }), 'session_mismatch'],
  ])('a session %s', async ([, session, code]) => {
    expect(await outcomeOf({ session })).toBe(code)
  })
})

describe('S5, S19: a controller cannot frame a worker that it only names', () => {
  const refusing = (): Policy => {
    const worker = { ...network.policy.roles.worker, models: { other: [`sha256:${'1'.repeat(64)}`] } }
    return { ...network.policy, roles: { ...network.policy.roles, worker } } as Policy
  }

  test('a worker that the policy refuses is at fault only where its own receipt shows that it served', async () => {
    const served = await exchange({}, { policy: refusing() })
    expect(served).toMatchObject({ outcome: 'policy_models', error: { worker: network.worker.worker.identity.keysetDigest } })
    expect(served.error).toBeInstanceOf(WorkerFault)
    const framed = await exchange({ signs: second }, { policy: refusing() })
    expect(framed.outcome).toBe('policy_models')
    expect(framed.error).not.toBeInstanceOf(WorkerFault)
  })
})

test('S7: a broker or validator does not become an answering service by being asked', async () => {
  const identity = await identityOf('broker', 'worker')
  const ledger = new Ledger({ identity, now, waitMs: 500 })
  const serve = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    response.setHeader('x-aci-keyset-digest', identity.keysetDigest)
    const url = new URL(incoming.url ?? '/', 'http://x')
    if (incoming.method === 'GET' && url.pathname === '/v1/aci/attestation') {
      response.end(await identity.report(url.searchParams.get('nonce')))
      return
    }
    if (incoming.method === 'GET') {
      const found = await ledger.find(url.pathname.split('/')[4] ?? '', null)
      response.end(found.kind === 'found' ? found.text : '')
      return
    }
    const parts: Buffer[] = []
    for await (const part of incoming as AsyncIterable<Buffer>) parts.push(part)
    const receipt = ledger.open(null)
    const events: ReceiptEvent[] = [
      { type: 'request.received', body_hash: digest(Buffer.concat(parts)) },
      { type: 'veritee.request', client_nonce: String(incoming.headers['x-veritee-nonce']) },
      network.model.served.event,
      { type: 'response.returned', body_hash: digest(utf8('{}')) },
    ]
    await receipt.finish({ chatId: null, model: null, endpoint, stream: null, events })
    response.writeHead(200, { 'content-type': 'application/json', 'x-receipt-id': receipt.id }).end('{}')
  }
  const server = await listen({ host: '127.0.0.1', port: 0, tls: identity.tls, simulated: true, apiKeys: false }, (incoming, response) => {
    void serve(incoming, response)
  })
  const broker = network.policy.roles.worker
  const policy = { ...network.policy, roles: { ...network.policy.roles, broker } } as Policy
  const transport = nodeTransport(server.url)
  const service = await connect(transport, network.options({ policy, role: 'broker' }))
  await expect(ask(service, endpoint, chatBody('veritee-demo', 'Hi'))).rejects.toMatchObject({ code: 'policy_role' })
  transport.close()
  await server.close()
})

describe('the command line', () => {
  const main = fileURLToPath(new URL('../../../veritee/src/bin/veritee.ts', import.meta.url))
  let directory = ''
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'veritee-redteam-'))
    await writeFile(join(directory, 'policy.json'), JSON.stringify(network.policy))
    await writeFile(join(directory, 'root.der'), network.machine.platform.root)
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  async function run(...args: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
    const child = spawn(process.execPath, ['--conditions=@veritee/source', main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    const [out, err, [code]] = await Promise.all([readText(child.stdout), readText(child.stderr), once(child, 'close') as Promise<[number | null]>])
    return { code, out, err }
  }
  const files = (): string[] => ['--policy', join(directory, 'policy.json'), '--root', join(directory, 'root.der')]
  const chat = (play: Play, ...more: string[]): ReturnType<typeof run> =>
    withPair(play, (url) => run('chat', '--url', url, ...files(), '--model', 'veritee-demo', ...more, 'Hi'))

  test('S9: an answer that breaks off does not exit 0', async () => {
    expect(await chat({})).toMatchObject({ code: 0, err: expect.not.stringContaining('INCOMPLETE') as string })
    for (const play of [
      { sent: streamText.slice(0, 2), worked: streamText, signed: streamText, cut: true },
      { sent: streamText.slice(0, 2), outcome: 'aborted' },
      { outcome: 'error' },
    ] as const) {
      const plain = await chat(play)
      expect([plain.code, plain.err.includes('INCOMPLETE')]).toEqual([3, true])
      expect((await chat(play, '--json')).code).toBe(3)
    }
  })

  test('S15: every successful output over simulated evidence says so', async () => {
    expect((await chat({})).err).toContain('SIMULATED')
    expect(JSON.parse((await chat({}, '--json')).out)).toMatchObject({ simulated: true })
  })

  test('a prompt that looks like an option is a prompt after --', async () => {
    const { code, out } = await run('chat', '--url', 'http://127.0.0.1:1', ...files(), '--model', 'm', '--', '--help')
    expect([code, out]).toEqual([3, ''])
  })

  test('S14: a receipt is judged by what it says of the worker, and a nonce does not make an old report young', async () => {
    const worker = await identityOf('worker', 'worker')
    const ledger = new Ledger({ identity: worker, now, waitMs: 500 })
    const base: ReceiptEvent[] = [
      { type: 'request.received', body_hash: digest(utf8('{}')) },
      { type: 'veritee.request', client_nonce: null },
      { ...network.model.served.event },
      { type: 'response.returned', body_hash: digest(utf8('{}')) },
    ]
    const nonce = 'ab'.repeat(32)
    const report = join(directory, 'report.json')
    await writeFile(report, await worker.report(nonce))
    const verify = async (
      events: readonly ReceiptEvent[],
      policy: Policy,
      edit: (receipt: string) => string = (same) => same,
    ): ReturnType<typeof run> => {
      const receipt = await ledger.open(null).finish({ chatId: null, model: null, endpoint, stream: null, events })
      await writeFile(join(directory, 'receipt.json'), edit(receipt.toString()))
      await writeFile(join(directory, 'edited.json'), JSON.stringify(policy))
      return run(
        ...['receipt', 'verify', join(directory, 'receipt.json'), '--report', report, '--policy', join(directory, 'edited.json')],
        ...['--root', join(directory, 'root.der'), '--role', 'worker', '--nonce', nonce],
      )
    }
    expect(await verify(base, network.policy)).toMatchObject({ code: 0, out: expect.stringContaining('SIMULATED') as string })
    expect(await verify(without(base, 'veritee.model'), network.policy)).toMatchObject({
      code: 1,
      out: expect.stringContaining('policy_models') as string,
    })
    const asserted = withType(base, 'veritee.model', { provenance: 'provider_asserted' })
    expect(await verify(asserted, network.policy)).toMatchObject({ code: 1, out: expect.stringContaining('policy_models') as string })
    // The keyset has lived for a moment only; one second is less than what is known.
    await new Promise((resolve) => setTimeout(resolve, 2100))
    const young = {
      ...network.policy,
      roles: { ...network.policy.roles, worker: { ...network.policy.roles.worker, maxAttestationAge: 1 } },
    } as Policy
    expect(await verify(base, young)).toMatchObject({ code: 1, out: expect.stringContaining('policy_attestation_age') as string })
    // Words of the receipt are data: no escape sequence and no second line of them reaches the terminal.
    const hostile = (receipt: string): string => receipt.replace(/"receipt_id":"[^"]*"/, '"receipt_id":"x\\u001b[2J\\u009b2K\\nACCEPTED"')
    const { code, out } = await verify(base, network.policy, hostile)
    expect(code).toBe(1)
    expect(out).not.toMatch(/[\u001b\u009b]|^ACCEPTED/m)
  })
})

import { createSimPlatform } from 'veritee/attestation/sim'
import { utf8 } from 'veritee/bytes'
import { connect, type Service, type Transport } from 'veritee/client'
import type { Policy, Role, Verdict } from 'veritee/policy'
import { type ReceiptEvent, type ServiceDescriptor, StreamTree, sessionId } from 'veritee/receipt'
import { streamEvents } from '../../packages/services/src/controller/relay.ts'
import { sessionDocument } from '../../packages/services/src/controller/session.ts'
import { demoPolicy } from '../../packages/services/src/demo/policy.ts'
import { createIdentity, type Identity } from '../../packages/services/src/enclave/runtime/identity.ts'
import { Ledger } from '../../packages/services/src/enclave/runtime/ledger.ts'
import { createQuoter } from '../../packages/services/src/enclave/runtime/quote.ts'
import { createSimDevice } from '../../packages/services/src/enclave/runtime/sim-device.ts'
import { inferenceEvent, type ServedModel } from '../../packages/services/src/enclave/worker/served-model.ts'

/** One of each document, made by the code that makes them in service; only the language model is left out. */
export interface Documents {
  readonly policy: Policy
  readonly descriptors: { readonly controller: ServiceDescriptor; readonly worker: ServiceDescriptor }
  /** Exact texts as served. */
  readonly reports: { readonly controller: string; readonly worker: string }
  readonly session: { readonly id: string; readonly document: object }
  readonly receipts: {
    readonly worker: string
    readonly external: string
    readonly controller: string
    readonly broken: string
    readonly refusal: string
  }
  /** Made with `connect`, as a client judges a worker. */
  readonly verdict: Verdict
}

export const digestOf = (digit: string): string => `sha256:${digit.repeat(64)}`
const now = (): Date => new Date('2026-11-01T12:00:00Z')
const nonce = 'ab'.repeat(32)
const endpoint = '/v1/chat/completions'

const model: ServedModel['described'] = {
  name: 'some-model',
  files: [{ name: 'some-model.gguf', sha256: digestOf('a'), size: 1234 }],
  format: 'gguf',
  sealed: false,
  chat_template_digest: digestOf('b'),
}
const engine = { name: 'llama.cpp', version: '1', build: digestOf('c'), cpu_variant: 'haswell' }

function descriptor(role: Role): ServiceDescriptor {
  const runs = role === 'worker'
  return {
    version: 'veritee.descriptor.v1',
    role,
    configuration_digest: digestOf('d'),
    models: runs ? [model] : [],
    engine: runs ? engine : null,
    admission: runs ? { version: 3, digest: digestOf('e'), keys: ['0'.repeat(64)] } : null,
    operator_key: runs ? '1'.repeat(64) : null,
    release: { version: '0.1.0', commit: null },
    extensions: runs ? { note: { depth: 1 } } : {},
  }
}

export async function makeDocuments(): Promise<Documents> {
  const platform = await createSimPlatform({ at: now() })
  const enclave = (digit: string) => ({ mrenclave: digit.repeat(64), mrsigner: '9'.repeat(64), isvProdId: 1, isvSvn: 1 })
  const enclaves = { controller: enclave('1'), worker: enclave('2') }
  const policy = demoPolicy(enclaves, { [model.name]: model.files.map((file) => file.sha256) })
  const identityOf = (role: 'controller' | 'worker'): Promise<Identity> =>
    createIdentity({
      descriptor: descriptor(role),
      quoter: createQuoter(createSimDevice(platform, enclaves[role])),
      collateral: () => platform.collateral,
      now,
    })
  const [controller, worker] = [await identityOf('controller'), await identityOf('worker')]
  const service = await connect(transportTo(worker), { policy, trust: { roots: [platform.root] }, role: 'worker', now })
  const session = await sessionDocument(service, 'worker https://127.0.0.1:1')
  const id = await sessionId(session)
  return {
    policy,
    descriptors: { controller: controller.descriptor, worker: worker.descriptor },
    reports: { controller: await controller.report(nonce), worker: await worker.report(null) },
    session: { id, document: session },
    receipts: await makeReceipts(controller, worker, id),
    verdict: service.verdict,
  }
}

/** Hands a client the identity's own reports, as if over TLS to the identity's key. */
function transportTo(identity: Identity): Transport {
  return {
    origin: 'https://127.0.0.1:1',
    loopback: false,
    spki: identity.keyset.tls_public_keys[0]?.spki_sha256 ?? null,
    close: () => undefined,
    send: async ({ path }): Promise<Service['transport'] extends { send(request: never): Promise<infer R> } ? R : never> => {
      const text = await identity.report(new URL(path, 'https://127.0.0.1').searchParams.get('nonce'))
      return {
        status: 200,
        headers: {},
        body: (async function* () {
          yield utf8(text)
        })(),
      }
    },
  }
}

async function makeReceipts(controller: Identity, worker: Identity, session: string): Promise<Documents['receipts']> {
  const stream = new StreamTree()
  for (const event of ['data: {"id":"chatcmpl-1"}\n\n', 'data: [DONE]\n\n']) await stream.append(utf8(event))
  const request: readonly ReceiptEvent[] = [
    { type: 'request.received', body_hash: digestOf('1') },
    { type: 'request.forwarded', body_hash: digestOf('2') },
    { type: 'veritee.request', client_nonce: nonce },
  ]
  const inference = inferenceEvent({
    model: { name: model.name, described: model, describedEngine: engine, engine: { facts: { profile: 'canonical' } } } as unknown as ServedModel,
    promptTokens: [1, 2, 3],
    parameters: {
      temperature: '0.7',
      top_p: '1',
      min_p: '0',
      top_k: 40,
      max_tokens: 64,
      stop: ['\n'],
      seed: '000000000000002a',
      seed_source: 'client',
    },
    result: {
      outcome: 'length',
      finishReason: 'length',
      text: 'a',
      usage: { promptTokens: 3, completionTokens: 2, totalTokens: 5 },
      completionTokens: [4, 5],
      choices: [],
    },
    outcome: 'length',
    ignored: ['user'],
    receiptKey: new Uint8Array(32),
  })
  const returned: ReceiptEvent = { type: 'response.returned', body_hash: digestOf('3') }
  const atWorker = new Ledger({ identity: worker, now })
  const atController = new Ledger({ identity: controller, now })
  const sign = async (ledger: Ledger, events: readonly ReceiptEvent[]): Promise<string> =>
    (await ledger.open(null).finish({ chatId: 'chatcmpl-1', model: model.name, endpoint, events, stream: null })).toString()
  const upstream: readonly ReceiptEvent[] = [
    ...request,
    { type: 'upstream.verified', result: 'verified', required: true, model_id: model.name, session_id: session },
  ]
  const longer = stream.fork()
  await longer.append(utf8('data: {"error":{}}\n\n'))
  const relayed = { receivedHash: digestOf('4'), received: stream, returnedHash: digestOf('5'), held: null, chatId: null, last: null }
  return {
    worker: await sign(atWorker, [
      ...request,
      { type: 'veritee.model', ...model, provenance: 'hashed_while_loading' },
      inference,
      await stream.event(),
      returned,
      {
        type: 'veritee.choices',
        choices: [
          { completion_tokens: 1, completion_tokens_hmac: '0'.repeat(64), outcome: 'complete' },
          { completion_tokens: 1, completion_tokens_hmac: '1'.repeat(64), outcome: 'length' },
        ],
      },
    ]),
    external: await sign(atWorker, [
      ...request,
      {
        type: 'veritee.rewrite',
        patch: [
          { op: 'add', path: '/seed', value: 7 },
          { op: 'add', path: '/stream_options', value: { include_usage: true } },
        ],
        body_hash: digestOf('7'),
      },
      { type: 'veritee.model', ...model, files: [], format: 'unknown', provenance: 'provider_asserted' },
      {
        type: 'veritee.external_engine',
        engine: { name: 'vllm', version: '0.11.0', build: digestOf('8'), cpu_variant: 'external' },
        engine_provenance: 'provider_asserted',
        weights_provenance: 'provider_asserted',
        placement: 'simulation',
        transport: 'unix',
        capabilities: ['logprobs', 'tokenIds'],
        replayable: false,
        prompt_tokens: 3,
        completion_tokens: null,
        prompt_tokens_hmac: '0'.repeat(64),
        completion_tokens_hmac: null,
        parameters: { temperature: '0.7', seed_source: 'enclave' },
        passed_parameters: ['user'],
        seed: '0000000000000007',
        outcome: 'complete',
      },
      returned,
    ]),
    controller: await sign(atController, [
      ...upstream,
      { type: 'veritee.upstream_receipt', digest: digestOf('6'), result: 'match', reason: null },
      ...(await streamEvents({ ...relayed, complete: true, returned: stream, appended: false, outcome: 'complete' })),
    ]),
    broken: await sign(atController, [
      ...upstream,
      { type: 'veritee.upstream_receipt', digest: null, result: 'absent', reason: 'the worker announced no receipt' },
      ...(await streamEvents({ ...relayed, complete: false, returned: longer, appended: true, outcome: 'error' })),
    ]),
    refusal: await sign(atController, [
      { type: 'request.received', body_hash: digestOf('1') },
      { type: 'veritee.request', client_nonce: null },
      { type: 'upstream.verified', result: 'failed', required: true, model_id: model.name, reason: 'no verified worker' },
      { type: 'veritee.outcome', outcome: 'refused' },
      returned,
    ]),
  }
}

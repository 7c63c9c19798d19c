import { createSimPlatform, type SimPlatform } from 'veritee/attestation/sim'
import { utf8 } from 'veritee/bytes'
import { type Answer, ask, type ConnectOptions, connect, nodeTransport, type Service } from 'veritee/client'
import type { EvidencePolicy, Policy } from 'veritee/policy'
import { eventOf, parseReceipt, type Receipt } from 'veritee/receipt'
import { demoPolicy } from '../../src/demo/policy.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { createSimTdDevice } from '../../src/enclave/runtime/sim-device.ts'
import { openUpstreamModel, type UpstreamOptions } from '../../src/enclave/worker/upstream/index.ts'
import { createWorker, type Worker } from '../../src/enclave/worker/worker.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import type { FakeEngine } from './fake-engine.ts'

export const now = (): Date => new Date()
export const td = { mrtd: 'ab'.repeat(48) }
export const digest = `sha256:${'cd'.repeat(32)}`
const enclave = { mrenclave: '11'.repeat(32), mrsigner: '22'.repeat(32), isvProdId: 1, isvSvn: 1 }

let shared: Promise<SimPlatform> | null = null
export function machine(): Promise<SimPlatform> {
  shared ??= createSimPlatform({ at: now() })
  return shared
}

export interface UpstreamWorker {
  readonly worker: Worker
  readonly url: string
  options(demands?: Partial<EvidencePolicy>): ConnectOptions
  connect(demands?: Partial<EvidencePolicy>): Promise<Service>
  close(): Promise<void>
}

/** A worker in a simulated TD, listening, whose one model `m` an engine runs. */
export async function upstreamWorker(
  engine: Pick<FakeEngine, 'address'>,
  kind: UpstreamOptions['kind'],
  changes: Partial<UpstreamOptions> = {},
  heartbeatMs?: number,
): Promise<UpstreamWorker> {
  const platform = await machine()
  const model = await openUpstreamModel({ name: 'm', kind, address: engine.address, engineModel: 'org/model-7b', digest, ...changes })
  const worker = await createWorker({
    callers: 'anybody',
    quoter: createQuoter(createSimTdDevice(platform, td)),
    collateral: () => platform.tdxCollateral,
    models: [],
    upstream: [model],
    configuration: {},
    now,
    ...(heartbeatMs !== undefined && { heartbeatMs }),
  })
  const server: Listening = await listen({ host: '127.0.0.1', port: 0, tls: worker.identity.tls, simulated: true, apiKeys: false }, worker.handler)
  const options = (demands: Partial<EvidencePolicy> = {}): ConnectOptions => ({
    policy: policyOf(demands),
    trust: { roots: [platform.root] },
    role: 'worker',
    now,
  })
  return {
    worker,
    url: server.url,
    options,
    connect: (demands) => connect(nodeTransport(server.url), options(demands)),
    close: () => server.close(),
  }
}

/** A client that accepts this TD, and an external engine. */
export function policyOf(demands: Partial<EvidencePolicy>): Policy {
  const { roles } = demoPolicy({ controller: enclave, worker: enclave }, {})
  const identity = [{ mrtd: td.mrtd, rtmr0: 'any', rtmr1: 'any', rtmr2: 'any', rtmr3: 'any', mrseam: 'any' }] as const
  const worker = { ...(roles.worker as EvidencePolicy), tee: ['tdx'], identity, models: 'any', externalEngine: 'any', ...demands } as const
  return { version: 'veritee.policy.v1', roles: { worker } }
}

export const message = { role: 'user', content: 'Say hello' }

export function askFor(service: Service, body: object, options?: Parameters<typeof ask>[3]): Promise<Answer> {
  return ask(service, '/v1/chat/completions', utf8(JSON.stringify({ model: 'm', messages: [message], ...body })), options)
}

/** The same for a response. */
export function askResponse(service: Service, body: object, options?: Parameters<typeof ask>[3]): Promise<Answer> {
  return ask(service, '/v1/responses', utf8(JSON.stringify({ model: 'm', input: 'Say hello', ...body })), options)
}

/** A request without a verifying client, for answers that are errors. */
export async function post(
  url: string,
  body: string | object,
  signal?: AbortSignal,
  path = '/v1/chat/completions',
): Promise<{ status: number; headers: Headers; text: string }> {
  const transport = nodeTransport(url)
  try {
    const response = await transport.send({
      method: 'POST',
      path,
      headers: { 'content-type': 'application/json' },
      body: utf8(
        typeof body === 'string' ? body : JSON.stringify({ model: 'm', ...(path === '/v1/chat/completions' && { messages: [message] }), ...body }),
      ),
      ...(signal && { signal }),
    })
    const parts: Uint8Array[] = []
    for await (const part of response.body) parts.push(part)
    return { status: response.status, headers: new Headers(response.headers as Record<string, string>), text: Buffer.concat(parts).toString('utf8') }
  } finally {
    transport.close()
  }
}

export async function receiptOf({ worker }: UpstreamWorker, id: string | null): Promise<Receipt> {
  const found = await worker.ledger.find(id ?? '', null)
  if (found.kind !== 'found') throw new Error(`no receipt ${id}`)
  return parseReceipt(found.text)
}

export function outcomeIn(receipt: Receipt): string | undefined {
  return eventOf(receipt, 'veritee.external_engine')?.outcome
}

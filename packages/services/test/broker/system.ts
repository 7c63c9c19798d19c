import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { type CollateralJson, collateralToJson } from 'veritee/attestation'
import { createSimPlatform, type SimEnclave, type SimPlatform } from 'veritee/attestation/sim'
import { type Json, jcs, toBase64 } from 'veritee/bytes'
import { nodeTransport, readBody, type TransportResponse } from 'veritee/client'
import type { EvidencePolicy, Role } from 'veritee/policy'
import type { ServiceDescriptor } from 'veritee/receipt'
import { type Broker, type BrokerOptions, type BrokerStore, createBroker, createMemoryStore } from '../../src/enclave/broker/index.ts'
import { type ResourceRequest, requestResource, teePubkeyOf } from '../../src/enclave/runtime/kbs/index.ts'
import { createQuoter, type QuotePurpose, type Quoter } from '../../src/enclave/runtime/quote.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import { type Listening, listen } from '../../src/http/listen.ts'

/** A broker in a simulated enclave, enclaves that ask it, and both ends of the wire. */

export const adminToken = 'test-credential-of-the-admin-interface-0001'
export const secret = Uint8Array.from({ length: 32 }, (_, i) => i + 1)

export const enclaves = {
  worker: enclave('worker'),
  other: enclave('some other program'),
  broker: enclave('broker'),
} as const

function enclave(name: string): SimEnclave {
  return { mrenclave: createHash('sha256').update(name).digest('hex'), mrsigner: '5e'.repeat(32), isvProdId: 1, isvSvn: 1 }
}

export function descriptorOf(role: Role, changes: Partial<ServiceDescriptor> = {}): ServiceDescriptor {
  return {
    version: 'veritee.descriptor.v1',
    role,
    configuration_digest: `sha256:${'c0'.repeat(32)}`,
    models: [],
    engine: null,
    admission: null,
    operator_key: null,
    release: { version: '0.0.0', commit: null },
    extensions: {},
    ...changes,
  }
}

/** A policy text with one section for workers (or another role). */
export function policyText(changes: Partial<EvidencePolicy> = {}, role: Role = 'worker', of: SimEnclave = enclaves.worker): string {
  const section: EvidencePolicy = {
    tee: ['sgx'],
    simulated: 'allow',
    physical: 'any',
    debug: 'refuse',
    identity: [{ mrenclave: of.mrenclave }],
    attributes: 'any',
    tdx: 'any',
    tcb: { statuses: ['UpToDate'], advisories: [], minTcbEvaluationDataNumber: 'any', gracePeriod: 0 },
    platform: { fmspc: { allow: 'any', deny: [] }, ppid: { allow: 'any', deny: [] }, dynamicPlatform: 'any', cachedKeys: 'any', smt: 'any' },
    maxCollateralAge: 30 * 86_400,
    maxAttestationAge: 600,
    models: 'any',
    engine: 'any',
    operator: 'any',
    release: 'any',
    log: 'any',
    channel: 'attested',
    ...changes,
  }
  return JSON.stringify({ version: 'veritee.policy.v1', roles: { [role]: section } })
}

/** A clock that tests move. */
export interface Clock {
  readonly now: () => Date
  forward(seconds: number): void
}

export function clockFrom(start: Date): Clock {
  let at = start.getTime()
  return {
    now: () => new Date(at),
    forward: (seconds) => {
      at += seconds * 1000
    },
  }
}

export interface RunningBroker {
  readonly broker: Broker
  readonly store: BrokerStore
  readonly platform: SimPlatform
  readonly clock: Clock
  readonly kbs: Listening
  readonly admin: Listening
  /** Puts a resource, and gives its version. */
  put(resource: string, changes?: { policy?: string; evidence?: 'veritee' | 'quote'; value?: Uint8Array }): Promise<number>
  tell(method: 'GET' | 'POST', path: string, body?: Json, token?: string): Promise<Reply>
  close(): Promise<void>
}

export async function startBroker(
  changes: Omit<Partial<BrokerOptions>, 'clock'> & { readonly platform?: SimPlatform; readonly clock?: Clock } = {},
): Promise<RunningBroker> {
  const { platform: shared, clock = clockFrom(new Date()), ...options } = changes
  const platform = shared ?? (await createSimPlatform({ at: clock.now() }))
  const store = options.store ?? createMemoryStore()
  const broker = await createBroker({
    quoter: createQuoter(createSimDevice(platform, enclaves.broker)),
    collateral: () => platform.collateral,
    trust: { roots: [platform.root] },
    peerCollateral: null,
    store,
    adminToken,
    configuration: { test: true },
    now: clock.now,
    rateLimit: { perSecond: 1000, burst: 1000 },
    // Tests move the other clock.
    elapsedMs: () => 0,
    ...options,
  })
  const bind = { host: '127.0.0.1', port: 0, tls: broker.identity.tls, simulated: true, apiKeys: true }
  const kbs = await listen(bind, broker.kbs)
  const admin = await listen(bind, broker.admin ?? broker.kbs)
  const tell: RunningBroker['tell'] = (method, path, body, token = adminToken) =>
    send(admin.url, {
      method,
      path: `/admin/v1/${path}`,
      headers: { authorization: `Bearer ${token}` },
      ...(body === undefined ? {} : { json: body }),
    })
  return {
    broker,
    store,
    platform,
    clock,
    kbs,
    admin,
    tell,
    put: async (resource, { policy = policyText(), evidence = 'veritee', value = secret } = {}) => {
      const reply = await tell('POST', 'resources', { resource, value: toBase64(value), policy, evidence })
      if (reply.status !== 201) throw new Error(`put: ${reply.status} ${reply.text}`)
      return (reply.json as { version: number }).version
    },
    close: async () => {
      await kbs.close()
      await admin.close()
    },
  }
}

export interface Reply {
  readonly status: number
  readonly headers: TransportResponse['headers']
  readonly text: string
  readonly json: unknown
}

export async function send(
  url: string,
  request: { method: 'GET' | 'POST'; path: string; headers?: { readonly [name: string]: string }; json?: Json; body?: Uint8Array },
): Promise<Reply> {
  const { json, ...rest } = request
  const transport = nodeTransport(url)
  try {
    const body = rest.body ?? (json === undefined ? undefined : Buffer.from(JSON.stringify(json)))
    const response = await transport.send({ ...rest, ...(body === undefined ? {} : { body }) })
    const text = new TextDecoder().decode(await readBody(response, 1 << 22))
    let parsed: unknown = null
    try {
      parsed = JSON.parse(text)
    } catch {
      // Not JSON; the text says what it was.
    }
    return { status: response.status, headers: response.headers, text, json: parsed }
  } finally {
    transport.close()
  }
}

export function quoterOf(platform: SimPlatform, of: SimEnclave = enclaves.worker): Quoter {
  return createQuoter(createSimDevice(platform, of))
}

/** What a worker of this platform asks with; changed as told. */
export function askOf(
  running: RunningBroker,
  resource: string,
  changes: Partial<ResourceRequest> & { readonly of?: SimEnclave } = {},
): ResourceRequest {
  const { of = enclaves.worker, ...rest } = changes
  return {
    url: running.kbs.url,
    resource,
    quoter: quoterOf(running.platform, of),
    tee: 'sgx',
    descriptor: descriptorOf('worker'),
    collateral: () => running.platform.collateral,
    ...rest,
  }
}

/** The code of a refusal, the broker's own where there is one; `released` for a success. */
export async function outcomeOf(asked: ResourceRequest): Promise<string> {
  try {
    await requestResource(asked)
    return 'released'
  } catch (error) {
    const { code, reason } = error as { code?: string; reason?: string | null }
    return reason ?? code ?? String(error)
  }
}

/** One step after the other, each of which a test may change: an attacker's client. */
export interface Handshake {
  readonly nonce: string
  readonly cookie: string
  readonly teeKey: KeyObject
}

export async function authenticate(url: string, changes: { readonly [name: string]: Json } = {}): Promise<Handshake> {
  const reply = await send(url, { method: 'POST', path: '/kbs/v0/auth', json: { version: '0.4.0', tee: 'sgx', 'extra-params': {}, ...changes } })
  if (reply.status !== 200) throw new Error(`auth: ${reply.status} ${reply.text}`)
  const { nonce } = reply.json as { nonce: string }
  return { nonce, cookie: cookieIn(reply), teeKey: newTeeKey() }
}

export function newTeeKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
}

export function cookieIn(reply: Reply): string {
  return /kbs-session-id=[^;]+/.exec(reply.headers['set-cookie'] ?? '')?.[0] ?? ''
}

export interface EvidenceParts {
  readonly nonce: string
  readonly pubkey: Json
  readonly quote: Uint8Array
  readonly descriptor: ServiceDescriptor | null
  readonly additional: string
  readonly collateral: CollateralJson
}

/** The evidence of an honest enclave over a handshake; a test changes the parts. */
export async function evidenceOf(
  running: RunningBroker,
  { nonce, teeKey }: Handshake,
  of: SimEnclave = enclaves.worker,
  role: Role = 'worker',
): Promise<EvidenceParts> {
  const descriptor = descriptorOf(role)
  const descriptorDigest = digestOf(descriptor)
  const purpose: QuotePurpose = { purpose: 'kbs.rcar.v0', nonce, teeKey, descriptorDigest }
  return {
    nonce,
    pubkey: teePubkeyOf(teeKey) as unknown as Json,
    quote: await quoterOf(running.platform, of).quote(purpose),
    descriptor,
    additional: `{"veritee":{"descriptor":"${descriptorDigest}"}}`,
    collateral: collateralToJson(running.platform.collateral),
  }
}

export function digestOf(descriptor: ServiceDescriptor): string {
  return `sha256:${createHash('sha256')
    .update(jcs(descriptor as unknown as Json))
    .digest('hex')}`
}

export function attestationBody({ nonce, pubkey, quote, descriptor, additional, collateral }: EvidenceParts): Json {
  return {
    'init-data': null,
    'runtime-data': { nonce, 'tee-pubkey': pubkey },
    'tee-evidence': {
      primary_evidence: {
        quote: toBase64(quote),
        ...(descriptor === null ? {} : { veritee: { collateral: { ...collateral }, descriptor: descriptor as unknown as Json } }),
      },
      additional_evidence: additional,
    },
  }
}

export function attest(url: string, cookie: string, body: Json): Promise<Reply> {
  return send(url, { method: 'POST', path: '/kbs/v0/attest', headers: { cookie, 'content-type': 'application/json' }, json: body })
}

export function get(url: string, resource: string, headers: { readonly [name: string]: string }): Promise<Reply> {
  return send(url, { method: 'GET', path: `/kbs/v0/resource/${resource}`, headers })
}

/** What an answer says: `200`, or the status and the code. */
export function said({ status, json }: Reply): string {
  return status === 200 ? '200' : `${status} ${(json as { code?: string } | null)?.code ?? 'no code'}`
}

import { randomBytes } from 'node:crypto'
import type { SimEnclave } from 'veritee/attestation/sim'
import type { Json } from 'veritee/bytes'
import type { ErrorCode } from 'veritee/errors'
import type { Policy } from 'veritee/policy'
import { type Broker, createBroker, createMemoryStore, type Decision } from '../enclave/broker/index.ts'
import { KbsRefusedError } from '../enclave/runtime/kbs/index.ts'
import { createQuoter } from '../enclave/runtime/quote.ts'
import { createSimDevice } from '../enclave/runtime/sim-device.ts'
import { modelKeyFrom } from '../enclave/worker/model-key.ts'
import { type Listening, listen } from '../http/listen.ts'
import { type BrokerAdmin, openBrokerAdmin, type ResourceSummary } from '../owner/broker-admin.ts'
import { brokerPolicy, releasePolicy } from './policy.ts'
import type { SealedDemoModel } from './sealed-model.ts'
import type { SimulatedMachine } from './system.ts'

/** The key broker of the demo: its enclave, the model owner who gives it the key, and enclaves that ask for it. */

export interface RunningBroker {
  readonly broker: Broker
  readonly kbs: Listening
  readonly admin: Listening
  /** The credential of the admin interface, made for this run. */
  readonly token: string
  /** What the broker decided, the oldest first. */
  readonly decisions: readonly Decision[]
}

/** The admin interface gets a port that was free, on a listener of its own, and is closed once the owner is done with it. */
export async function startBroker({ platform, enclaves, trust }: SimulatedMachine, port: number, now: () => Date): Promise<RunningBroker> {
  const decisions: Decision[] = []
  const token = randomBytes(32).toString('base64url')
  const broker = await createBroker({
    quoter: createQuoter(createSimDevice(platform, enclaves.broker)),
    collateral: () => platform.collateral,
    trust,
    peerCollateral: null,
    store: createMemoryStore(),
    adminToken: token,
    configuration: { store: 'memory' },
    now,
    onDecision: (decision) => decisions.push(decision),
  })
  const bind = { host: '127.0.0.1', tls: broker.identity.tls, simulated: true, apiKeys: true }
  const kbs = await listen({ ...bind, port }, broker.kbs)
  try {
    return { broker, kbs, admin: await listen({ ...bind, port: 0 }, broker.admin ?? broker.kbs), token, decisions }
  } catch (error) {
    await kbs.close()
    throw error
  }
}

export interface Upload {
  readonly admin: BrokerAdmin
  readonly resource: ResourceSummary
  /** The terms of release: the object, and the text that was put. */
  readonly policy: Policy
  readonly policyText: string
}

/** What the model owner does: verifies the broker, then puts the key with its terms, and forgets it (rule S13). */
export async function uploadKey(machine: SimulatedMachine, running: RunningBroker, model: SealedDemoModel, now: () => Date): Promise<Upload> {
  const { enclaves, trust } = machine
  const admin = await openBrokerAdmin({ url: running.admin.url, policy: brokerPolicy(enclaves.broker), trust, token: running.token, now })
  try {
    const policy = releasePolicy(enclaves.worker)
    const policyText = JSON.stringify(policy)
    const offer = { resource: model.manifest.key_id, value: model.modelKey, policy: policyText, evidence: 'veritee' } as const
    return { admin, resource: await admin.put(offer), policy, policyText }
  } catch (error) {
    admin.close()
    throw error
  } finally {
    model.modelKey.fill(0)
  }
}

/** How one enclave of this machine asks for keys. */
export function keysFor(
  { platform }: SimulatedMachine,
  enclave: SimEnclave,
  url: string,
  configuration: Json,
): (keyId: string) => Promise<Uint8Array> {
  const quoter = createQuoter(createSimDevice(platform, enclave))
  return modelKeyFrom({ url, quoter, tee: 'sgx', collateral: () => platform.collateral, configuration })
}

/** What came of the request of an enclave that the policy does not list: the broker's code. Throws where it was given the key. */
export async function refusedTo(requestKey: (keyId: string) => Promise<Uint8Array>, keyId: string): Promise<ErrorCode> {
  try {
    const key = await requestKey(keyId)
    key.fill(0)
  } catch (error) {
    if (error instanceof KbsRefusedError && error.reason !== null) return error.reason
    throw error
  }
  throw new Error('the broker released the model key to an enclave that its policy does not list')
}
